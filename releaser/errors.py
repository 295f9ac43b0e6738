"""Findings, the errors that end a run, and their exit codes."""

from __future__ import annotations

import os
import re
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, NoReturn, ParamSpec, TypeVar

from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_ERROR = r"(?i)^\s*(?:(?:error|fatal): |× )(.+)"
_CAUSE = r"(?i)^\s*(?:cause(?:d by)?:|[├╰]─▶) (.+)"  # as uv 0.13 and uv 0.12.0 mark causes
_LONGEST_REASON = 600  # characters


PROBLEMS_FOUND = "problems found"  # after a number, the headline of a report with several problems


class ExitCode(IntEnum):
    """The exit codes; docs/reference/exit-codes-and-json.md says what each means for the live release."""

    OK = 0
    BUG = 1
    USAGE = 2
    PREFLIGHT = 3
    BUILD = 4
    TESTS = 5
    ROLLED_BACK = 6
    FOLLOW_UP = 7
    LOCKED = 8
    NO_RELEASE = 9
    FOUND = 10
    #: This plus the number of the signal that ended the run.
    SIGNALLED = 128


def error_line(output: str) -> str:
    """Return the line of the output that says why a program failed; empty without output.

    git and uv mark the line, and uv the causes below it, the deepest last. Other programs and Python tracebacks mostly
    have it at the end.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if found := re.match(_ERROR, line):
            causes = [cause.group(1) for below in lines[number + 1 :] if (cause := re.match(_CAUSE, below))]
            return ": ".join(dict.fromkeys([found.group(1), *causes[:1], *causes[-1:]]))
    return lines[-1] if lines else ""


def is_out_of_space(output: str) -> bool:
    """True if the output of a program says that a disk is full, or that a quota is used up."""
    return any(text in output for text in ("No space left", "Disk quota exceeded", "Out of diskspace"))


def os_reason(error: OSError) -> str:
    """Return the system's reason, and the file, as text."""
    reason = error.strerror or str(error)
    return (
        f"{reason} ({os.fsdecode(error.filename)})" if isinstance(error.filename, str | bytes | os.PathLike) else reason
    )


def explain_unreadable(path: object, error: OSError | ValueError) -> tuple[str, str]:
    """Say why a text file cannot be read, and what to do about it."""
    if isinstance(error, PermissionError):
        user = os.geteuid()
        has_file = os.access(str(path), os.F_OK) and os.stat(str(path)).st_uid == user
        command = f"chmod u+r {path}" if has_file else f"sudo chown {user} {path}"
        return f"{path} cannot be read by this user (uid {user}): {error.strerror}", f"Run `{command}`."
    why = os_reason(error) if isinstance(error, OSError) else "it is not UTF-8 text"
    return f"{path} cannot be read: {why}", "Restore the file, as UTF-8 text."


def how_to_set(setting: str, value: str = "...") -> str:
    """Return the end of an advice: how to set a setting, by hand and by a command."""
    line = f"RELEASER_{setting.upper()}={value}"
    return f"set `{setting}` in `../.env`: `{line}`, or run `releaser setup --set {setting}={value}`"


def reason_of(error: ReleaserError | OSError) -> str:
    """Return the message of an error."""
    return error.message if isinstance(error, ReleaserError) else os_reason(error)


class Finding(Frozen):
    """One thing that is wrong."""

    #: Names the kind of problem, the same in every version; docs/reference/findings.md lists all.
    code: str
    message: str
    #: The next step, if any.
    advice: str = ""
    #: The end of what a failing program printed.
    output: str = ""

    def __init__(self, code: str, message: str, advice: str = "", output: str = "") -> None:
        super().__init__(code=code, message=message, advice=advice, output=output)

    def __str__(self) -> str:
        message, advice = self.message.strip(), self.advice.strip()
        if not message or not advice:
            return message or advice
        return f"{message} {advice}" if message.endswith((".", "!", "?", "…", ":", ";")) else f"{message}. {advice}"

    def explain(self) -> Finding:
        """Return the finding with the reason of the program in its message, and without the output."""
        reason = error_line(self.output)
        if len(reason) > _LONGEST_REASON:  # the decisive part is mostly at the end
            reason = f"{reason[: _LONGEST_REASON // 2]} ... {reason[-_LONGEST_REASON // 2 :]}"
        message = self.message if not reason or reason in self.message else f"{self.message}: {reason}"
        return replace(self, message=message, output="")


class ReleaserError(Exception):
    """Base of every error that releaser raises on purpose; an error never changes after it was raised."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    #: The code of its finding.
    code: ClassVar[str] = "failed"

    def __init__(self, message: str, advice: str = "", *, output: str = "") -> None:
        super().__init__(message)
        self._finding = Finding(self.code, message, advice, output=output)
        #: Everything that went wrong.
        self.findings: tuple[Finding, ...] = (self._finding,)

    @property
    def finding(self) -> Finding:
        """The finding of the error."""
        return self._finding

    @property
    def message(self) -> str:
        """The sentence about the failure."""
        return self._finding.message

    @property
    def advice(self) -> str:
        """The next thing to do."""
        return self._finding.advice

    @property
    def output(self) -> str:
        """The end of what a failing program printed."""
        return self._finding.output


class UsageError(ReleaserError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE
    code = "usage"


class PreflightError(ReleaserError):
    """The project or the configuration is not fit for the run."""

    exit_code = ExitCode.PREFLIGHT
    code = "several"

    def __init__(self, *findings: Finding) -> None:
        """Take all findings."""
        only = findings[0] if len(findings) == 1 else Finding(self.code, f"{len(findings)} {PROBLEMS_FOUND}")
        super().__init__(only.message, advice=only.advice, output=only.output)
        self._finding = only
        self.findings = findings


def refuse_any(*findings: Finding | None) -> None:
    """Raise a PreflightError with the findings, if there are any."""
    if found := tuple(filter(None, findings)):
        raise PreflightError(*found)


def refuse(code: str, message: str, advice: str) -> NoReturn:
    """Raise a PreflightError with one finding; within an `except`, the caught error becomes its context."""
    raise PreflightError(Finding(code, message, advice))


class ResolutionError(ReleaserError):
    """No upgraded lock could be made: no solution, or the index could not be reached."""

    exit_code = ExitCode.BUILD
    code = "not-resolved"


class BuildError(ReleaserError):
    """The candidate could not be built."""

    exit_code = ExitCode.BUILD
    code = "not-built"


class AuditError(ReleaserError):
    """Known vulnerabilities could not be determined."""

    exit_code = ExitCode.BUILD
    code = "not-audited"


class TestsFailedError(ReleaserError):
    """The project's tests failed with the candidate; `blame` names the cause, `fault` the kind of failure."""

    exit_code = ExitCode.TESTS
    code = "tests-failed"
    __test__ = False  # pytest would collect it

    def __init__(self, message: str, *, blame: str, advice: str = "", output: str = "", fault: str = "") -> None:
        super().__init__(message, advice=advice, output=output)
        self.blame = blame
        self.fault = fault


class MigrationsError(ReleaserError):
    """The candidate passed its tests, but has unapplied migrations, and the project refuses such candidates."""

    exit_code = ExitCode.TESTS
    code = "migrations-refused"


class HookError(ReleaserError):
    """The candidate passed its tests, but `before_live` refused it."""

    exit_code = ExitCode.TESTS
    code = "hook-refused"


class ActivationError(ReleaserError):
    """The release went live and then collectstatic, the restart or the health check failed.

    `step` names that step, empty for any other. `not_the_release`: the system refused something, such as
    disk space. `fails_before`: the previous release fails as well.
    """

    exit_code = ExitCode.ROLLED_BACK
    code = "post-flip-failed"

    def __init__(  # noqa: PLR0913 - the fields of the error
        self,
        message: str,
        advice: str = "",
        *,
        output: str = "",
        step: str = "",
        not_the_release: bool = False,
        fails_before: bool = False,
    ) -> None:
        super().__init__(message, advice=advice, output=output)
        self.step = step
        self.not_the_release = not_the_release
        self.fails_before = fails_before


class IncompleteReturnError(ActivationError):
    """Like `ActivationError`, but the rollback is incomplete; the next run continues it."""

    code = "rollback-incomplete"


class FollowUpError(ReleaserError):
    """The release is live and good, but commit, push, export, prune or mail failed."""

    exit_code = ExitCode.FOLLOW_UP
    code = "follow-up-failed"


class MailError(ReleaserError):
    """A mail could not be handed to the server.

    `refused`: the server works and rejected this mail; another one may pass.
    """

    exit_code = ExitCode.FOLLOW_UP
    code = "mail-failed"

    def __init__(self, message: str, advice: str = "", *, output: str = "", refused: bool = False) -> None:
        super().__init__(message, advice=advice, output=output)
        self.refused = refused


class LockedError(ReleaserError):
    """Another run holds the project's lock."""

    exit_code = ExitCode.LOCKED
    code = "locked"


class NoSuchReleaseError(ReleaserError):
    """There is no such release, or nothing to roll back to."""

    exit_code = ExitCode.NO_RELEASE
    code = "no-such-release"


class VulnerableError(ReleaserError):
    """The packages of the release have known vulnerabilities."""

    exit_code = ExitCode.FOUND
    code = "vulnerable"


class UnsoundError(ReleaserError):
    """A release was changed after it was sealed, or does not work."""

    exit_code = ExitCode.FOUND
    code = "unsound"


class RequirementError(ReleaserError):
    """The release in which a program runs lacks a package that it requires."""

    exit_code = ExitCode.FOUND
    code = "requirement-missing"


class ToolError(ReleaserError):
    """A program that releaser drives failed; the caller turns it into the error of the step it was doing."""

    code = "program-failed"

    def __init__(
        self,
        message: str,
        advice: str = "",
        *,
        returncode: int | None = None,
        timed_out: bool = False,
        output: str = "",
    ) -> None:
        super().__init__(message, advice=advice, output=output)
        self.returncode = returncode
        self.timed_out = timed_out

    @property
    def reason(self) -> str:
        """The message, with the line of the output that says why."""
        return ": ".join(filter(None, (self.message, error_line(self.output))))


class SandboxError(ToolError):
    """The sandbox could not be made, for example on a full disk: no program in it has run."""

    code = "sandbox-not-made"


class RefusedPushError(ToolError):
    """git did not push, as the remote has other commits, or got some during the push."""


class Interrupted(BaseException):
    """SIGTERM or SIGHUP arrived; like KeyboardInterrupt, it passes every `except Exception`.

    `is_orphan` says that the process which had started this one ended before: the kernel may have sent the signal.
    """

    def __init__(self, signal_number: int, *, is_orphan: bool = False) -> None:
        super().__init__(f"signal {signal_number}")
        self.signal_number = signal_number
        self.is_orphan = is_orphan


class Findings(list[Finding]):
    """Collects findings, so that all are reported at once."""

    def attempt(self, find: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return the result of `find`; if it raises PreflightError or ToolError, add the findings and return None."""
        try:
            return find(*args, **kwargs)
        except PreflightError as error:
            self.extend(error.findings)
        except ToolError as error:
            self.append(Finding(error.code, error.reason, error.advice, output=error.output))
        return None
