"""Services that are started by `uv run`: at each start, it puts the lock of the checkout into the live release."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from releaser.errors import Problem, require
from releaser.packages.changes import compare_locks, describe_changes
from releaser.packages.lock import Lock
from releaser.releases.release import Release
from releaser.releases.verify import find_damage
from releaser.site.django import list_units
from releaser.site.site import Site
from releaser.system import proc
from releaser.system.files import LARGEST_STATE
from releaser.system.text import redact

#: `uv run`, also after options of uv with their values.
_UV_RUN = re.compile(r"(?<![\w./-])(?:[\w./~-]*/)?uv(?:\s+-\S+(?:\s+(?!run\s|tool\s)[^\s-]\S*)?)*\s+run(?=\s)")
_VARIABLE = re.compile(r"\bUV_NO_SYNC=(?:[1ty]|on)", re.IGNORECASE)
_VENV = re.compile("(?:^|\0)UV_PROJECT_ENVIRONMENT=([^\0]+)")
_HARMLESS = re.compile(r"\s--(?:no-sync|no-project|isolated|script)(?=\s)")


def replace_uv_run(line: str) -> str:
    """Return a line that starts the same from the live release as it is; empty if no `uv run` syncs in it."""
    instead = _UV_RUN.sub(r"\g<0> --no-sync", line)
    return "" if instead == line or _VARIABLE.search(line) or _HARMLESS.search(line) else instead


def list_uv_runs(site: Site) -> list[Problem]:
    """Return a problem for each `uv run` that starts the site, in a unit, in a script of `restart`, or as a process."""
    return _find_uv_runs(_list_lines(site))


def _find_uv_runs(lines: Iterable[tuple[str, str]]) -> list[Problem]:
    problems = list[Problem]()
    for place, line in lines:
        if (instead := replace_uv_run(line)) and not line.lstrip().startswith("#"):
            message = f"{place} starts the site by `uv run`, which puts the lock of the checkout into the live release."
            is_secret = redact(instead) != instead
            advice = "Write `uv run --no-sync` there." if is_secret else f"Write instead: `{instead.strip()}`."
            problems.append(Problem("uv-run", message, advice))
    return problems


def require_no_sync(site: Site, tree: Path, lock: Lock, checkout_lock: Lock) -> None:
    """Raise PreflightError if a `uv run` would put another lock than its own, that of the checkout, into a release.

    Scripts are read in `tree`. A process counts only if no script has `uv run`: else an earlier script has started it.
    """
    if not (changes := describe_changes(compare_locks(lock, checkout_lock))):
        return
    lines = [*_list_unit_lines(site), *_list_script_lines(site, tree)]
    if not any(_UV_RUN.search(line) for _, line in lines):
        lines = [*_list_processes(site, has_terminal=False)]
    problems = _find_uv_runs(lines)
    require([msgspec.structs.replace(each, message=f"{each.message[:-1]}: {changes}.") for each in problems])


def _list_lines(site: Site) -> Iterator[tuple[str, str]]:
    """Yield the lines that may start the site, each after where it stands."""
    return itertools.chain(_list_unit_lines(site), _list_script_lines(site, site.paths.project), _list_processes(site))


def _list_unit_lines(site: Site) -> Iterator[tuple[str, str]]:
    for path, text in list_units(site):
        lines = [] if _VARIABLE.search(text) else text.splitlines()
        yield from ((str(path), line) for line in lines if line.startswith(("ExecStart=", "ExecStartPre=")))


def _list_script_lines(site: Site, tree: Path) -> Iterator[tuple[str, str]]:
    live = site.settings.live
    for path in (tree / word for word in (*live.restart, *live.restart_workers)):
        with contextlib.suppress(OSError):
            if os.path.isfile(path) and os.path.getsize(path) < LARGEST_STATE:
                text = path.read_text(encoding="utf-8", errors="replace")
                place = site.paths.project / path.relative_to(tree) if path.is_relative_to(tree) else path
                yield from ((str(place), line) for line in text.replace("\\\n", " ").splitlines())


def _list_processes(site: Site, *, has_terminal: bool = True) -> Iterator[tuple[str, str]]:
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            process = Path(entry.path)
            if not entry.name.isdigit() or not Path(os.readlink(process / "cwd")).is_relative_to(site.paths.project):
                continue
            words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").rstrip("\0").split("\0")
            if not has_terminal and proc.has_terminal(int(entry.name)):
                continue
            if Path(words[0]).name != "uv":
                continue
            environ = (process / "environ").read_text(errors="replace")
            if not (_VARIABLE.search(environ) or _is_elsewhere(site, environ)):
                yield f"Process {entry.name}", shlex.join(words)


def _is_elsewhere(site: Site, environ: str) -> bool:
    """Return True if a process has another venv for the project, as developers do: it changes no release."""
    name = next(iter(_VENV.findall(environ)), str(site.paths.link))
    place = Path(os.path.realpath(site.paths.project / name))
    venv = Path(os.path.realpath(site.paths.link))
    return place != venv and not place.is_relative_to(os.path.realpath(site.paths.releases))


def find_changed_release(site: Site, release: Release) -> list[Problem]:
    """Return a problem for each `uv run` if the live release is not as it was sealed."""
    problems = list_uv_runs(site)
    return problems if problems and find_damage(release, most=1) else []
