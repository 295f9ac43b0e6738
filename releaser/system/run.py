"""The record of a run: its command, its id, its steps with their times, its log, and what it has to say."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from releaser.errors import Problem
from releaser.system.files import make_private_directory, private_mode
from releaser.system.signals import check_signals
from releaser.system.text import LONGEST_SENTENCE, clip, escape, escape_lines, redact

logger = logging.getLogger(__name__)

KEPT_LOGS = 50  # one for each run


class Command(msgspec.Struct, frozen=True):
    """The facts about a command that its run, its mail and the status ask for."""

    name: str
    #: `all` outcomes are mailed if they are news, or those alone that `changed` the live release, or none.
    mailed: Literal["never", "changed", "all"] = "never"
    #: True if the command takes releases live: `status` shows its runs, and the hook `on_failure` follows a failure.
    takes_live: bool = False
    #: True if a rollback may end a run that has not changed the live release.
    may_be_ended: bool = False
    #: True if a run is a night's update: sites without one for a week need attention.
    is_nightly: bool = False
    #: True if a monitor is pinged at its beginning and end.
    is_pinged: bool = False
    #: True if it makes pyproject.toml: the project may have none.
    makes_project: bool = False
    #: False if releases come by hand after it, so that no nightly update is missed.
    has_nights: bool = True
    #: The word of a mail about a success; by default that of the result.
    done: str = ""


UPDATE = Command("update", mailed="all", takes_live=True, may_be_ended=True, is_nightly=True, is_pinged=True)
ROLLBACK = Command("rollback", mailed="changed", takes_live=True, is_pinged=True, done="Rollback done")
INIT = Command("init", takes_live=True)
REBUILD = Command("rebuild", mailed="changed", takes_live=True, may_be_ended=True, done="Rebuilt")
INSTALL = Command(
    "bundle install", mailed="changed", takes_live=True, may_be_ended=True, has_nights=False, done="Installed"
)
INIT_LOCK = Command("init", makes_project=True)
CHECK = Command("check", may_be_ended=True)
OVERRIDE = Command("update --override", may_be_ended=True)
_COMMANDS = {command.name: command for command in (UPDATE, ROLLBACK, INIT, REBUILD, INSTALL, CHECK)}


def find_command(name: str) -> Command:
    """Return the facts about a command that the history names."""
    return _COMMANDS.get(name, Command(name))


class Step(msgspec.Struct, frozen=True):
    """A step of a run; `seconds` is its duration."""

    step: str
    status: Literal["done", "failed"]
    seconds: float
    detail: str = ""


class StepDetail(list[str]):
    """Words about the result of a step; `has_failed` says that it failed without ending the run."""

    has_failed = False


class Run:
    """One run of a command. `listeners` are told of each step that begins (None as its value) and ends."""

    def __init__(self, id: str, command: Command, *listeners: Callable[[str, Step | None], None]) -> None:
        self.id = id
        self.command = command
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.problems: list[Problem] = []
        self.listeners = list(listeners)
        #: The sentences of which people hear by the news of an earlier run, which this one finished.
        self.told: list[str] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[StepDetail]:
        """Record what happens inside as a step. The list takes words about its result."""
        check_signals()
        began, detail = time.monotonic(), StepDetail()
        logger.info("step %s", name)
        for listener in self.listeners:
            listener(name, None)
        status: Literal["done", "failed"] = "failed"
        try:
            yield detail
            status = "failed" if detail.has_failed else "done"
        finally:
            words = clip(escape(redact("; ".join(detail))), LONGEST_SENTENCE)
            step = Step(name, status, round(time.monotonic() - began, 3), words)
            self.steps.append(step)
            logger.info("%s %s (%.2f s) %s", name, status, step.seconds, step.detail)
            for listener in self.listeners:
                listener(name, step)

    def note(self, sentence: str) -> None:
        """Say something that is news, but no problem; once, also if a second attempt has the same news."""
        logger.info("%s", sentence)
        note = redact(sentence)
        if note not in self.notes:
            self.notes.append(note)

    def add_problem(self, name: str, message: str, advice: str = "") -> None:
        """Record a problem that does not end the run."""
        logger.warning("%s: %s %s", name, message, advice)
        problem = Problem(name, redact(message), redact(advice))
        self.problems += [problem] if problem not in self.problems else []  # each is said once

    def add(self, *problems: Problem | None) -> None:
        """Record problems that other parts have found; None is no problem."""
        for problem in filter(None, problems):
            self.add_problem(problem.name, problem.message, problem.advice)


#: A moment with its time zone: one without, by a person's hand, is no moment.
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def now() -> datetime:
    """Return the time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def make_id(moment: datetime) -> str:
    """Return the id of a run or release that begins at this moment."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def format_time_id(id: str) -> str:
    """Return the time of an id for people: `2026-11-20 06:12:00 UTC`."""
    return f"{id[:4]}-{id[4:6]}-{id[6:8]} {id[9:11]}:{id[11:13]}:{id[13:15]} UTC"


@contextlib.contextmanager
def write_log(directory: Path, run: Run) -> Iterator[None]:
    """Write the log of the package `releaser` to `logs/<run id>.log`; a disk that takes no log does not end a run."""
    handler: logging.Handler = logging.NullHandler()
    logging.raiseExceptions, file = False, None  # a full disk takes no log
    with contextlib.suppress(OSError):
        make_private_directory(directory)
        path, flags = directory / f"{run.id}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        descriptor = os.open(path, flags, private_mode(directory))
        file = os.fdopen(descriptor, "a", encoding="utf-8", errors="replace")
        handler = logging.StreamHandler(file)
        for old in sorted(directory.glob("*.log"))[:-KEPT_LOGS]:
            old.unlink()
    handler.setFormatter(_RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("releaser")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with contextlib.suppress(OSError):
            file.close() if file else None


class _RedactingFormatter(logging.Formatter):
    """Writes no secret, and no line of a program as one of the log's own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record; its further lines are indented."""
        return escape_lines(redact(super().format(record))).replace("\n", "\n  | ")
