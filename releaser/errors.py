"""The errors that end a run, each with its exit code and its advice."""

from __future__ import annotations

import os
import re
from typing import ClassVar

_VERDICT = re.compile(r"^\s*(?:error|fatal): (.+)", re.IGNORECASE)
_CAUSE = re.compile(r"^\s*cause(?:d by)?: (.+)", re.IGNORECASE)


def gist(output: str) -> str:
    """Return why a program failed, in one line out of what it printed; empty when it printed nothing.

    git and uv mark the line, and uv the causes below it, the deepest last; of most other programs, a Python traceback
    included, it is the last one.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if found := _VERDICT.match(line):
            causes = [cause.group(1) for below in lines[number + 1 :] if (cause := _CAUSE.match(below))]
            return ": ".join(dict.fromkeys([found.group(1), *causes[:1], *causes[-1:]]))
    return lines[-1] if lines else ""


def os_reason(error: OSError) -> str:
    """Return what the system refused, and for which file, in words."""
    reason = error.strerror or str(error)
    return (
        f"{reason} ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes | os.PathLike) else reason
    )


class ReleaserError(Exception):
    """Base of every error that releaser raises on purpose.

    `message` says what failed, `advice` what to do next, `output` is the end of what a failing program printed.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, advice: str = "", output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.output = output


class UsageError(ReleaserError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class PreflightError(ReleaserError):
    """The project or the configuration is not fit for the run; `problems` lists everything that was found."""

    exit_code = 3

    def __init__(self, problems: tuple[ReleaserError, ...]) -> None:
        count = len(problems)
        super().__init__(
            problems[0].message if count == 1 else f"{count} problems found",
            advice=problems[0].advice if count == 1 else "",
            output=problems[0].output if count == 1 else "",
        )
        self.problems = problems


class Unfit(ReleaserError):  # noqa: N818 - a finding, of which there may be many
    """One thing that makes the project or the configuration unfit; preflight collects them."""

    exit_code = 3


class ResolutionError(ReleaserError):
    """No upgraded lock could be made: no solution, or the index could not be reached."""

    exit_code = 4


class BuildError(ReleaserError):
    """The candidate could not be built."""

    exit_code = 4


class TestsFailedError(ReleaserError):
    """The project's tests failed against the candidate; `blame` tells whose fault it is, `fault` what went wrong."""

    exit_code = 5
    __test__ = False  # pytest would collect it

    def __init__(self, message: str, *, blame: str, advice: str = "", output: str = "", fault: str = "") -> None:
        super().__init__(message, advice=advice, output=output)
        self.blame = blame
        self.fault = fault


class MigrationsError(ReleaserError):
    """The candidate passes its tests, but brings migrations that are not applied, and the project refuses that."""

    exit_code = 5


class ActivationError(ReleaserError):
    """The release went live and then collectstatic, the restart or the health check failed.

    `step` is which of these, empty for anything else. A `blameless` release has nothing to do with it: the system
    refused something, such as room on the disk.
    """

    exit_code = 6
    blameless = False
    step = ""


class IncompleteReturnError(ActivationError):
    """As `ActivationError`, but going back did not work out whole; the next run goes on with it."""


class FollowUpError(ReleaserError):
    """The release is live and good, but commit, push, export, prune or mail failed."""

    exit_code = 7


class MailError(ReleaserError):
    """A mail could not be handed to the server.

    `refused` tells that the server was well and did not want this very mail; another one may pass.
    """

    exit_code = 7

    def __init__(self, message: str, *, advice: str = "", output: str = "", refused: bool = False) -> None:
        super().__init__(message, advice=advice, output=output)
        self.refused = refused


class LockedError(ReleaserError):
    """Another run holds the project's lock."""

    exit_code = 8


class NoSuchReleaseError(ReleaserError):
    """There is no such release, or nothing to roll back to."""

    exit_code = 9


class ToolError(ReleaserError):
    """A program that releaser drives failed; the caller turns it into the error of the step it was doing."""

    def __init__(
        self,
        message: str,
        *,
        returncode: int | None = None,
        timed_out: bool = False,
        advice: str = "",
        output: str = "",
    ) -> None:
        super().__init__(message, advice=advice, output=output)
        self.returncode = returncode
        self.timed_out = timed_out


class VulnerableError(ReleaserError):
    """The packages that were asked about have known vulnerabilities."""

    exit_code = 10


class UnsoundError(ReleaserError):
    """The releases that were asked about are not what was sealed, or do not work."""

    exit_code = 10


class AuditError(ReleaserError):
    """It could not be found out whether packages have known vulnerabilities."""

    exit_code = 4


class Interrupted(BaseException):
    """SIGTERM or SIGHUP arrived; like KeyboardInterrupt, it passes every `except Exception`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number
