"""The only place that starts programs: an argument list, an explicit directory and environment, a time limit."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from releaser.errors import ToolError
from releaser.system.text import find_error_line, format_seconds, redact

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # prctl(2)
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
KEPT = 512 * 1024  # bytes of output that are kept, from the end
MARK = "_RELEASER_RUN"  # the variable by which the next run finds the children of a dead one


class Finished(msgspec.Struct, frozen=True):
    """A program that ended: its exit status (negative for a signal), its output, and its duration in seconds."""

    arguments: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False

    @property
    def output(self) -> str:
        """Both streams for people: standard error last, since the reason of a failure is usually there."""
        text = "\n".join(filter(None, (self.stdout.rstrip(), self.stderr.rstrip())))
        return redact(text.encode(errors="surrogateescape").decode(errors="replace"))

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.timed_out:
            return f"still running after {format_seconds(self.seconds)}, and ended"
        if self.status < 0:
            return f"killed by {_name_signal(-self.status)}"
        return f"exit status {self.status}"


def _name_signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run(  # noqa: PLR0913 - as many as a program can be run with
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    check: bool = True,
    may_leave_service: bool = False,
    is_answer: bool = False,
    is_question: bool = False,
    stdin: int = subprocess.DEVNULL,
) -> Finished:
    """Run a program to its end, and end every process that it leaves in its group.

    The end of its output is kept, or all of an answer (`is_answer`), with bytes that are no UTF-8 as surrogates.
    `may_leave_service` keeps what a program that ended by itself has left running: a restart may start a daemon. The
    program reads `stdin` and has no terminal. If releaser dies, so does it, but for a quick `is_question`: that
    changes nothing, and starts in a fifth of the time. `timeout` is in seconds. Raises ToolError if the program cannot
    be started, or, with `check`, if it exceeds its limit or its status is not 0.
    """
    words = tuple(os.fspath(word) for word in arguments)
    logger.debug("run %s in %s", redact(shlex.join(words)), cwd)
    began = time.monotonic()
    # In memory: a rollback works on a full disk, and a service may keep its output open, unlike a pipe.
    with os.fdopen(os.memfd_create("stdout"), "r+b") as out, os.fdopen(os.memfd_create("stderr"), "r+b") as err:
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=dict(env),
                stdin=stdin,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=None if is_question else _die_with_parent(),
            )
        except OSError as error:
            message = f"`{words[0]}` could not be started: {error.strerror}."
            raise ToolError(message, "Check that it is installed and executable.", output=str(error)) from error
        ended = False
        try:
            ended = _wait(process, timeout)
        finally:
            if not (ended and may_leave_service):
                _end_group(process)
            process.wait()
        stdout, stderr = _read_output(out.fileno(), is_answer), _read_output(err.fileno(), is_answer=False)
        finished = Finished(words, process.returncode, stdout, stderr, time.monotonic() - began, not ended)
    logger.debug("%s after %s\n%s", finished.ending, format_seconds(finished.seconds), finished.output)
    if check and (not ended or finished.status != 0):
        raise failure(finished)
    return finished


def failure(finished: Finished) -> ToolError:
    """Return the error for a program that failed, with the line of its output that says why."""
    name = Path(finished.arguments[0]).name
    reason = find_error_line(finished.output)
    message = f"`{name}` failed ({finished.ending})" + (f": {reason}" if reason else ".")
    error = ToolError(message, output=finished.output)
    error.is_killed = finished.timed_out or finished.status < 0
    return error


def _die_with_parent() -> Callable[[], None]:
    """Return what a child does before exec, so that it dies when this process does; fork clears that request."""
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _wait(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait until a program ends, without reaping it; False if it is still running after `timeout` seconds."""
    descriptor = os.pidfd_open(process.pid)
    try:
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program and its group; the group's number is still its own, since the program was not reaped."""
    if not _wait(process, 0):
        _signal_group(process.pid, signal.SIGTERM)
        _wait(process, GRACE)
    _signal_group(process.pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _read_output(descriptor: int, is_answer: bool) -> str:
    size = os.fstat(descriptor).st_size
    if is_answer:
        return os.pread(descriptor, size, 0).decode(errors="surrogateescape")
    start = max(0, size - KEPT)
    text = os.pread(descriptor, KEPT, start).decode(errors="replace")
    return f"[… {start} bytes …]\n{text}" if start else text


def end_marked(prefix: str) -> list[int]:
    """Kill each process whose mark begins with `prefix`; return their ids. They are children of a run that died."""
    ended = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and entry.name != str(os.getpid()) and _has_mark(entry.path, prefix):
            with contextlib.suppress(OSError):
                os.kill(int(entry.name), signal.SIGKILL)
                ended.append(int(entry.name))
    deadline = time.monotonic() + GRACE
    while any(_has_mark(f"/proc/{pid}", prefix) for pid in ended) and time.monotonic() < deadline:
        time.sleep(0.01)
    return ended


def _has_mark(place: str, prefix: str) -> bool:
    try:
        with open(f"{place}/environ", "rb") as file:
            return any(word.startswith(f"{MARK}={prefix}".encode()) for word in file.read().split(b"\0"))
    except OSError:
        return False
