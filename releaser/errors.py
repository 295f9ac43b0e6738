"""Every error that ends a command, with its exit code, and the problems that a command reports."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Problem(msgspec.Struct, frozen=True, rename={"name": "code"}):
    """A sentence about what is wrong, and the advice that goes with it; `name` is for programs, in JSON `code`."""

    name: str
    message: str
    advice: str = ""


class ReleaserError(Exception):
    """The base of every error that releaser raises on purpose.

    `message` says what happened, `advice` what to do, as a command that can be pasted where there is one. `output` is
    the end of what a program printed.
    """

    exit_code: ClassVar[int] = 1
    name: ClassVar[str] = "bug"
    #: False if the person at the terminal alone has to hear of it.
    is_news: ClassVar[bool] = True

    def __init__(self, message: str, advice: str = "", *, output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.output = output

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The error as problems; most errors are a single one."""
        return (Problem(self.name, self.message, self.advice),)


class PreflightError(ReleaserError):
    """The project or its configuration is not fit; nothing was changed."""

    exit_code = 3
    name = "preflight"

    def __init__(self, *problems: Problem) -> None:
        count = len(problems)
        super().__init__(
            problems[0].message if count == 1 else f"{count} problems were found.",
            problems[0].advice if count == 1 else "",
        )
        self._problems = problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems that were found."""
        return self._problems


def refuse(name: str, message: str, advice: str = "") -> PreflightError:
    """Return the error for a single problem of preflight."""
    return PreflightError(Problem(name, message, advice))


def require(problems: Sequence[Problem]) -> None:
    """Raise PreflightError with all problems, if there are any."""
    if problems:
        raise PreflightError(*problems)


class BuildError(ReleaserError):
    """The candidate could not be resolved or built."""

    exit_code = 4
    name = "build"


class GateError(ReleaserError):
    """The candidate was built, and failed: its tests, for example."""

    exit_code = 5
    name = "tests"


class HookError(GateError):
    """The hook `before_live` refused that a ready release goes live."""

    name = "before_live"


class AuditError(GateError):
    """A release would bring known vulnerabilities."""

    name = "audit"


class ChangeError(ReleaserError):
    """A step after the flip failed: static files, restart or health."""

    exit_code = 6
    name = "change"
    #: True if the workers did not restart; the site has.
    is_of_workers = False


class HostError(ChangeError):
    """A step after the flip failed because of the host, so that nothing of the release is put on hold."""


class LockedError(ReleaserError):
    """Another run holds the lock of the project."""

    exit_code = 8
    name = "locked"
    is_news = False


class NoSuchReleaseError(ReleaserError):
    """No such release exists, or no release to roll back to."""

    exit_code = 9
    name = "no-such-release"
    is_news = False


class ToolError(ReleaserError):
    """A program that releaser started failed; the caller turns this into the error of its step."""

    exit_code = 4
    name = "program"
    #: True if a signal ended it, or its time limit: it may have done a part of its work.
    is_killed = False


class Interrupted(BaseException):
    """A signal asked the run to end; like KeyboardInterrupt, it passes every `except Exception`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.exit_code = 128 + number
        super().__init__(f"ended by {signal.Signals(number).name}")


def explain_error(error: ReleaserError | OSError) -> str:
    """Return what an error says, in a sentence; of one of the system, what it refused, and for which path."""
    if isinstance(error, ReleaserError):
        return error.message
    reason = error.strerror or str(error)
    if isinstance(error.filename, str | bytes | os.PathLike):
        reason = f"{os.fsdecode(error.filename)}: {reason}"
    return f"{reason.rstrip('.')}."
