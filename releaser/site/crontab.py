"""The line of the user's crontab that updates a site. All other lines stay as they are, byte for byte."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from itertools import dropwhile
from pathlib import Path

from releaser.errors import refuse
from releaser.site.site import Site
from releaser.system import process

_TIMEOUT = 30.0  # seconds
_JOB = re.compile(r"[ \t]*(@[a-z]+|[^\s#]\S*(?:[ \t]+\S+){4})[ \t]+(.+)")
_OWN_VARIABLE = re.compile(r"(LANG|PATH)=[^`]*")


def make_line(site: Site) -> str:
    """Return the line for a site, at a time of the night that follows from its path. Raises PreflightError."""
    program, project = Path(os.path.abspath(sys.argv[0])), site.paths.project
    if program.name != "releaser":  # `python -m releaser`
        program = Path(sys.executable).with_name("releaser")
    if not os.access(program, os.X_OK):
        raise refuse("no-program", f"`{program}` does not exist.", "Run `uv tool install releaser`.")
    # cron sets no language, and a PATH without the places of programs that people install.
    git = shutil.which("git", path=site.environ.get("PATH")) or ""
    places = dict.fromkeys(("/usr/local/bin", os.path.dirname(git), str(site.uv.parent)))
    without = ("", "/usr/bin", "/bin", os.path.dirname(sys.executable))
    more = "".join(f":{shlex.quote(place)}" for place in places if place not in without)
    words = shlex.join([str(program), "update", "--project", str(project)])
    command = f'LANG=C.UTF-8 PATH="$PATH"{more} {words}'
    if re.search(r"[\n\r]|\\%", command):
        message = f"A crontab cannot name `{project}`: it has a line break, or a backslash before `%`."
        raise refuse("odd-path", message, "Rename the directory.")
    number = int(hashlib.sha256(os.fsencode(project)).hexdigest(), 16)
    escaped = command.replace("%", r"\%")  # a bare % ends the command
    return f"{number % 60} {1 + number // 60 % 4} * * * {escaped}"


def install_line(site: Site, line: str) -> tuple[str, str]:
    """Put a line into the crontab of this user; return what was done, and the line as it is there.

    An earlier line of releaser for the site keeps its time. Raises PreflightError.
    """
    lines = _run_crontab(site, line, "-l").split("\n")
    result, installed, command = "unchanged", "", _split_job(line)[1]
    for number, other in enumerate(lines):
        time, old = _split_job(other)
        if not _updates(old, site.paths.project):
            continue
        if not _is_own(old):
            message = f"Your crontab updates this project already, by a line that releaser did not write: {other}"
            raise refuse("other-line", message, "Keep it; or remove it with `crontab -e`, and run this again.")
        if old != command:
            lines[number], result = f"{time} {command}", "replaced"
        installed = installed or lines[number]
    if not installed:
        lines[-1:] = [*filter(None, lines[-1:]), line, ""]
        installed, result = line, "added"
    if result != "unchanged":
        _run_crontab(site, line, "-", "\n".join(lines))
    return result, installed


def _split_job(line: str) -> tuple[str, str]:
    match = _JOB.fullmatch(line)
    return (match[1], match[2]) if match else ("", "")


def _split_words(command: str) -> list[str]:
    try:
        return shlex.split(command.replace(r"\%", "%"))
    except ValueError:  # such as a quote that is not closed
        return command.split()


def _updates(command: str, project: Path) -> bool:
    words = _split_words(command)
    paths = [word.removeprefix("--project=") for word in words]
    is_named = any(path.startswith("/") and os.path.realpath(path) == str(project) for path in paths)
    return is_named and "update" in words and any(Path(word).name == "releaser" for word in words)


def _is_own(command: str) -> bool:
    """Return True for a command as releaser writes it: anything else would be lost if the line were replaced."""
    program, *rest = dropwhile(_OWN_VARIABLE.fullmatch, _split_words(command))
    return program.endswith("/releaser") and rest[:-1] == ["update", "--project"]


def _run_crontab(site: Site, line: str, argument: str, content: str = "") -> str:
    """Return what crontab prints; empty if the user has none. Raises PreflightError, with the line to add by hand."""
    env, data = site.tool_environment() | {"LC_ALL": "C"}, content.encode(errors="surrogateescape")
    if not shutil.which("crontab", path=env["PATH"]):
        advice = f"Run `sudo apt install cron`, or let another scheduler run this line:\n{line}"
        raise refuse("no-crontab", "This host has no program `crontab`.", advice)
    words = ["crontab", argument]
    finished = process.run(words, cwd=Path("/"), env=env, timeout=_TIMEOUT, check=False, is_answer=True, stdin=data)
    if finished.status != 0 and "no crontab for" not in finished.stderr:
        message = f"Your crontab is unchanged: {process.failure(finished).message}"
        raise refuse("crontab", message, f"See `man crontab`, or add this line yourself:\n{line}")
    return finished.stdout
