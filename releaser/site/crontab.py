"""The line of the user's crontab that updates a site. All other lines stay as they are, byte for byte."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from releaser.errors import refuse
from releaser.site.site import Site
from releaser.system import process
from releaser.system.text import word

_JOB = re.compile(r"[ \t]*(@[a-z]+|[^\s#]\S*(?:[ \t]+\S+){4})[ \t]+(.+)")
_PLAIN = "[^=|;&<>`]+"


def find_program(scheduler: str) -> Path:
    """Return the path of the program `releaser`, for a scheduler. Raises PreflightError for `python -m releaser`."""
    program = Path(os.path.abspath(sys.argv[0]))
    if program.name != "releaser":
        message = f"{scheduler} needs the program `releaser`."
        raise refuse("no-program", message, f"Run `releaser schedule {scheduler}`.")
    return program


def choose_time(site: Site) -> tuple[int, int]:
    """Return the hour and the minute of the nightly update, which follow from the path of the site."""
    number = int(hashlib.sha256(os.fsencode(site.paths.project)).hexdigest(), 16)
    return 1 + number // 60 % 4, number % 60


def make_line(site: Site) -> str:
    """Return the line for a site, at a time of the night that follows from its path. Raises PreflightError."""
    program, project = find_program("cron"), site.paths.project
    # cron sets no language, and a PATH without the places of programs that people install.
    path = f'"$PATH":/usr/local/bin:{word(site.uv.parent)}'
    command = f"LANG=C.UTF-8 PATH={path} {shlex.join([str(program), 'update', '--project', str(project)])}"
    command = command.replace("%", r"\%")  # a bare % ends the command
    if r"\\%" in command:
        raise refuse("odd-path", f"A crontab cannot name `{project}`: a backslash before `%`.", "Rename the directory.")
    hour, minute = choose_time(site)
    return f"{minute} {hour} * * * {command}"


def install_line(site: Site, line: str) -> tuple[str, str]:
    """Put a line into the crontab of this user; return `added`, `replaced` or `unchanged`, and the line in it.

    An earlier line of releaser for the site keeps its time. Raises PreflightError.
    """
    lines = _run_crontab(site, line, "-l").split("\n")
    result, installed, command, place = "unchanged", "", line.split(" ", 5)[5], _make_pattern(site)
    for number, other in enumerate(lines):
        job = _JOB.fullmatch(other)
        if not job or not is_update(job[2], place):
            continue
        if job[2] != command and not is_own_line(site, other):  # anything else in it would be lost
            message = f"Your crontab updates this project already, by a line that releaser did not write: {other}"
            raise refuse("other-line", message, "Keep it; or remove it with `crontab -e`, and run this again.")
        if job[2] != command:
            lines[number], result = f"{job[1]} {command}", "replaced"
        installed = installed or lines[number]
    if not installed:
        lines[-1:] = [*filter(None, lines[-1:]), line, ""]
        installed, result = line, "added"
    if result != "unchanged":
        _run_crontab(site, line, "-", "\n".join(lines))
    return result, installed


def remove_lines(site: Site) -> list[str]:
    """Take the lines that `install_line` has written out of the crontab, and return them. Raises PreflightError."""
    own = list_lines(site)
    if own:
        lines = _run_crontab(site, "", "-l").split("\n")
        _run_crontab(site, "", "-", "\n".join(line for line in lines if line not in own))
    return own


def list_lines(site: Site) -> list[str]:
    """Return the lines that `install_line` has written. Raises PreflightError."""
    return [line for line in _run_crontab(site, "", "-l").split("\n") if is_own_line(site, line)]


def is_own_line(site: Site, line: str) -> bool:
    """Return True for a line that `install_line`, also an earlier one, may have written for the site."""
    job = _JOB.fullmatch(line)
    own = rf"(LANG=\S+ )?(PATH={_PLAIN} )?{_PLAIN}/releaser'? update --project {_make_pattern(site)}"
    return bool(job and re.fullmatch(own, job[2]))


def _make_pattern(site: Site) -> str:
    """Return the pattern of the path of a site, as lines have it."""
    return re.escape(word(site.paths.project).replace("%", r"\%"))


def is_update(command: str, place: str) -> bool:
    """Return True if a command of a crontab updates the project whose path the pattern `place` matches."""
    program = re.search(r"\breleaser\b", command)
    has_words = program is not None and re.search(r"\bupdate\b", command[program.end() :])
    return bool(has_words and re.search(rf"{place}(?![\w./-])", command))


def _run_crontab(site: Site, line: str, argument: str, content: str = "") -> str:
    """Return what crontab prints; empty if the user has none. Raises PreflightError, with the line to add by hand."""
    env = site.tool_environment() | {"LC_ALL": "C"}
    if not shutil.which("crontab", path=env["PATH"]):
        advice = f"Run `sudo apt install cron`, or let another scheduler run this line: {line}"
        raise refuse("no-crontab", "This host has no program `crontab`.", advice)
    with tempfile.TemporaryFile() as file:
        file.write(content.encode(errors="surrogateescape"))
        file.seek(0)
        finished = process.run(
            ["crontab", argument], cwd=Path("/"), env=env, timeout=30, check=False, is_answer=True, stdin=file.fileno()
        )
    if finished.status != 0 and "no crontab for" not in finished.stderr:
        message = f"Your crontab is unchanged: {process.failure(finished).message}"
        raise refuse("crontab", message, f"See `man crontab`, or add this line yourself: {line}")
    return finished.stdout
