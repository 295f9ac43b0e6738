"""Drives crontab: the line that updates a site. All other lines stay unchanged, byte for byte."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, refuse
from releaser.system.environment import own_path
from releaser.system.expression import expression
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from releaser.system.process import Finished, Runner

_LINE = expression(r"[ \t]*(?P<when>@[a-z]+|[^\s#]\S*(?:[ \t]+\S+){4})[ \t]+(?P<command>.+)")
_ASSIGNMENT = expression(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = expression(r"[ \t]*(?P<name>[A-Za-z_]\w*|\"[^\"]+\"|'[^']+')[ \t]*=[ \t]*(?P<value>.*?)[ \t\r]*")
_TIMEOUT = 30.0  # seconds
_IF_DUE = "--if-due"  # people add it to the line when they change its time
_BY_HAND = "Change it with `crontab -e`."


class Job(Frozen):
    """One line of a crontab: its number from 0, its schedule, and its words."""

    number: int
    when: str
    words: tuple[str, ...]

    @property
    def variables(self) -> dict[str, str]:
        """The variables that the line itself sets for its command."""
        found = (_ASSIGNMENT.fullmatch(word) for word in self.words[: len(self.words) - len(self.command)])
        return {match[1]: match[2] for match in found if match}

    @property
    def command(self) -> tuple[str, ...]:
        """The words without assignments of variables and without env(1)."""
        rest = self.words[1:] if self.words[:1] and self.words[0].rpartition("/")[2] == "env" else self.words
        return tuple(itertools.dropwhile(_ASSIGNMENT.fullmatch, rest))


def format_line(when: str, words: Sequence[str]) -> str:
    """Return the line for a command, quoted for the shell, and with `%` escaped, which ends a line for cron."""
    return f"{when} {shlex.join(words)}".replace("%", "\\%")


def find_jobs(crontab: str, project: Path) -> list[Job]:
    """Return the jobs that update the project, whoever wrote them."""
    found = []
    for number, line in enumerate(crontab.split("\n")):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        try:
            words = tuple(shlex.split(match["command"].replace("\\%", "%")))
        except ValueError:  # such as an unclosed quote
            words = tuple(match["command"].split())
        programs = {word.rpartition("/")[2] for word in words}
        named = (word.removeprefix("--project=") for word in words)
        if {"releaser", "update"} <= programs and any(_is_same(word, project) for word in named):
            found.append(Job(number=number, when=match["when"], words=words))
    return found


def _is_same(word: str, project: Path) -> bool:
    try:
        return word.startswith("/") and (Path(word) == project or Path(word).resolve() == project)
    except (OSError, RuntimeError, ValueError):
        return False


def find_variables(crontab: str, project: Path) -> dict[str, str]:
    """Return the variables of the project's job (crontab(5)); none if there are no or several jobs."""
    jobs = find_jobs(crontab, project)
    if len(jobs) != 1:
        return {}
    above = (_VARIABLE.fullmatch(line) for line in crontab.split("\n")[: jobs[0].number])
    found = {_unquoted(match["name"]): _unquoted(match["value"]) for match in above if match}
    return {**found, **jobs[0].variables}


def _unquoted(text: str) -> str:
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if is_quoted else text


def _is_own(job: Job, movable: Collection[str] = ()) -> bool:
    """True if a job is exactly the line that releaser writes, apart from `--if-due` and `movable` variables."""
    is_plain = not re.search(r"[$`]", "".join(job.variables.values()))  # else the shell would expand the values
    words = job.command if is_plain and job.variables.keys() <= {*movable} else job.words
    if len(words) < len(("releaser", "update", "--project", "/")):
        return False
    *program, update, option, _ = [word for word in words if word != _IF_DUE]
    is_releaser = program[-1:] == ["releaser"] if len(program) == 3 else "".join(program).endswith("/releaser")
    is_once = words.count(_IF_DUE) <= 1 and _IF_DUE not in words[: len(program)]
    return len(program) in (1, 3) and is_releaser and is_once and (update, option) == ("update", "--project")


def with_job(  # noqa: PLR0913 - the parts of the line
    crontab: str, project: Path, words: Sequence[str], when: str | None, otherwise: str, movable: Collection[str] = ()
) -> str:
    """Return the crontab with one line that updates the project.

    An existing line gets the time `when`, or keeps its time if that is None; a new line gets `otherwise`. The line
    keeps `--if-due`; `movable` variables are dropped. Raises PreflightError if a line that releaser did not write
    updates the project.
    """
    jobs = find_jobs(crontab, project)
    if len(jobs) > 1 or not all(_is_own(other_job, movable) for other_job in jobs):
        lines = crontab.split("\n")
        refuse(
            "schedule-foreign",
            f"the crontab already updates {project}, by a line that releaser did not write: {lines[jobs[-1].number]}",
            "Keep the line, or remove it with `crontab -e` and run the command again.",
        )
    if not jobs:
        return (
            f"{crontab}{'' if not crontab or crontab.endswith(chr(10)) else chr(10)}{format_line(otherwise, words)}\n"
        )
    job, lines = jobs[0], crontab.split("\n")
    known = [word for word in job.words if word != _IF_DUE]
    if (when or job.when, list(words)) != (job.when, known):
        lines[job.number] = format_line(when or job.when, [*words, *([_IF_DUE] if _IF_DUE in job.words else [])])
    return "\n".join(lines)


def without_job(crontab: str, project: Path) -> str:
    """Return the crontab without the line that releaser wrote for the project."""
    removed = {job.number for job in find_jobs(crontab, project) if _is_own(job)}
    return "\n".join(line for number, line in enumerate(crontab.split("\n")) if number not in removed)


class Crontab(Frozen):
    """The crontab of this user."""

    runner: Runner

    def read(self) -> str:
        """Return the crontab; empty without one. Raises PreflightError."""
        try:
            finished = self._run("-l", check=False)
        except ToolError as error:
            refuse("crontab-unusable", error.message, "Install cron, or use `releaser schedule systemd`.")
        if finished.returncode:
            if "no crontab for" in finished.stderr:
                return ""
            refuse(
                "crontab-unusable",
                f"the crontab cannot be read: {finished.output}",
                "Allow this user to use crontab: see /etc/cron.allow and /etc/cron.deny, and crontab(1).",
            )
        if "\ufffd" in finished.stdout:
            refuse("crontab-unusable", "the crontab is not UTF-8 text, so it was not changed", _BY_HAND)
        return finished.stdout

    def replace(self, before: str, after: str) -> None:
        """Install `after`, unless the crontab has changed since `before` was read. Raises PreflightError."""
        if self.read() != before:
            message = "the crontab was changed at the same time, so releaser did not write it"
            refuse("crontab-changed", message, "Run the command again.")
        try:
            self._run("-", text=after) if after else self._run("-r")
        except ToolError as error:
            refuse("crontab-unusable", f"the crontab was not changed: {error.reason}", _BY_HAND)
        if self.read() != after:
            refuse("crontab-unusable", "crontab accepted the line, but did not store it", _BY_HAND)

    def _run(self, option: str, *, check: bool = True, text: str = "") -> Finished:
        env = {**self.runner.neutral, "LC_ALL": "C", "PATH": own_path(self.runner.environ)}
        words, root = ["crontab", option], Path("/")
        return self.runner.run(words, cwd=root, timeout=_TIMEOUT, env=env, whole=True, check=check, input=text.encode())
