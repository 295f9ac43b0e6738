"""Services that are started by `uv run`: at each start, it puts the lock of the checkout into the live release."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from releaser.errors import Problem
from releaser.releases.release import Release
from releaser.releases.verify import find_damage
from releaser.site.django import list_units
from releaser.site.site import Site
from releaser.system.text import word

_BEGIN = re.compile(r"(?<![\w./-])(?:[\w./~-]*/)?uv(?:\s+-\S+)*\s+run(?=\s)")
_WORD = re.compile(r"\s+(\S+)")
#: The options of `uv run` (0.13) that take the next word as their value.
_WITH_VALUE = re.compile(
    r"-[wifPCp]|--(?:(?:no-|only-)?group|(?:no-)?extra|env-file|with(?:-editable|-requirements)?|package|python|"
    r"python-platform|(?:default-)?index|(?:extra-)?index-url|index-strategy|keyring-provider|find-links|color|"
    r"(?:upgrade|refresh|reinstall)-package|resolution|prerelease|fork-strategy|exclude-newer|link-mode|cache-dir|"
    r"no-(?:editable|sources|build-isolation|build|binary)-package|config-setting|config-file|directory|project|"
    r"allow-insecure-host)"
)
_HARMLESS = {"--no-sync", "--no-project", "--isolated"}


def replace_uv_run(line: str, programs: str) -> str:
    """Return a line that starts the same by the `programs` of the live release; empty if no `uv run` syncs in it.

    The rest of the line stays as it is, with its quotes. What only uv reads, such as `--env-file`, is left out.
    """
    begin = _BEGIN.search(line)
    if begin is None or "UV_NO_SYNC=1" in line:
        return ""
    place, is_module = begin.end(), False
    while match := _WORD.match(line, place):
        option, before, place = match[1], match.start(1), match.end()
        if option in _HARMLESS:
            return ""
        if option in ("-m", "--module"):
            is_module = True
        elif option == "--":
            continue
        elif not option.startswith("-"):
            script = option.rstrip("'\"").endswith(".py")
            way = "python -m " if is_module else "python " if script else ""
            name = "" if "/" in option and not way else f"{programs}/{way}"
            return f"{line[: begin.start()]}{name}{line[before:]}"
        elif _WITH_VALUE.fullmatch(option) and (value := _WORD.match(line, place)):
            place = value.end()
    return ""


def list_uv_runs(site: Site) -> list[Problem]:
    """Return a problem for each `uv run` that starts the site: a process, or a unit of systemd."""
    programs, problems = word(site.paths.link / "bin"), list[Problem]()
    for source, line in _list_lines(site):
        if instead := replace_uv_run(line, programs):
            message = (
                f"{source} starts the site by `uv run`, which puts the lock of the checkout into the live release."
            )
            problems.append(Problem("uv-run", message, f"Write instead: `{instead.strip()}`."))
    return problems


def _list_lines(site: Site) -> Iterator[tuple[str, str]]:
    """Yield the lines that may start the site, each after where it stands."""
    for path, text in list_units(site):
        yield from ((str(path), line) for line in text.splitlines() if line.startswith("ExecStart="))
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            process = Path(entry.path)
            if not entry.name.isdigit() or not Path(os.readlink(process / "cwd")).is_relative_to(site.paths.project):
                continue
            words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").rstrip("\0").split("\0")
            if Path(words[0]).name == "uv" and b"UV_NO_SYNC=1" not in (process / "environ").read_bytes():
                yield f"Process {entry.name}", shlex.join(words)


def find_changed_release(site: Site, release: Release) -> list[Problem]:
    """Return a problem for each `uv run` if the live release is not as it was sealed."""
    problems = list_uv_runs(site)
    return problems if problems and find_damage(release, most=1) else []
