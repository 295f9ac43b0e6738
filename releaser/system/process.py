"""The only place that starts programs: an argument list, an explicit directory and environment, a time limit."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pickle
import resource
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import msgspec

from releaser.errors import ReleaserError, ToolError, explain_error
from releaser.system import proc, signals
from releaser.system.text import find_error_line, format_bytes, format_seconds, keep_end, redact

T = TypeVar("T")
logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
KEPT = 256 * 1024  # bytes of output that are kept, from the end
_LOGGED = 16 * 1024  # characters of an answer in the log
LONGEST_ANSWER = 64 << 20  # bytes
LARGEST_CHILD = 256 << 20  # bytes of memory for what `call_in_child` calls
PUNCH_HOLE = 0x01 | 0x02  # fallocate(2): with FALLOC_FL_KEEP_SIZE
_FOR_EVER = 30 * 86400.0  # seconds: what is called has its own limits
_TICK = 0.1  # seconds between two looks at such a file
_NICE = 5  # nice(2): of builds and tests, a third of the weight of a site's processes
_ROUNDS = 64  # reads of what a program has left in a pipe
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
        """The end of both streams for people: standard error last, since the reason of a failure is usually there."""
        text = "\n".join(filter(None, (keep_end(self.stdout, 2 * KEPT).rstrip(), self.stderr.rstrip())))
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


#: What shows the output of programs while they run, if something does.
_watchers: list[Callable[[bytes], None]] = []


def watch_output(show: Callable[[bytes], None] | None) -> None:
    """Let a function see what programs print for people, as they print it; None ends that."""
    _watchers[:] = [show] if show is not None else []


class _Output:
    """What a program prints: the end of it, or all of an answer.

    A pipe is read while the program runs, so memory has a limit. But a service that a program leaves may keep its
    output open, which needs a file in memory; all but the end of that is freed now and then.
    """

    def __init__(self, *, is_answer: bool, is_file: bool, longest: int = LONGEST_ANSWER) -> None:
        self._is_answer, self.is_file, self._longest = is_answer, is_file, longest
        self._start, self._data = 0, bytearray()
        if is_file:
            self.reader = self.writer = os.memfd_create("output")
        else:
            self.reader, self.writer = os.pipe()
            os.set_blocking(self.reader, False)

    def close(self) -> None:
        """Close what is open."""
        for descriptor in {self.reader, self.writer}:
            os.close(descriptor)

    @property
    def is_too_long(self) -> bool:
        """True for an answer that is longer than any that releaser asks for."""
        return self._is_answer and len(self._data) > self._longest

    def read(self) -> bool:
        """Take what is there; False if nothing is. All but the end is forgotten."""
        if self.is_file:
            self._start = max(0, os.fstat(self.reader).st_size - KEPT)
            size = ctypes.c_long(self._start)
            ctypes.CDLL(None).fallocate(self.reader, PUNCH_HOLE, ctypes.c_long(0), size)
            self._data[:] = os.pread(self.reader, KEPT, self._start)
            return False
        try:
            part = os.read(self.reader, KEPT)
        except BlockingIOError:
            return False
        if not self.is_too_long:
            self._data += part
        if part and _watchers and not self._is_answer:
            _watchers[0](part)
        if not self._is_answer and len(self._data) > 2 * KEPT:
            self._start += len(self._data) - KEPT
            del self._data[:-KEPT]
        return bool(part)

    def decode(self) -> str:
        """Return the text, with what is left of a pipe; of bytes that are no UTF-8, an answer has surrogates."""
        for _ in range(_ROUNDS):  # a daemon may write for ever
            if not self.read():
                break
        if self._is_answer:
            return self._data.decode(errors="surrogateescape")
        start = self._start + max(0, len(self._data) - KEPT)
        text = self._data[-KEPT:].decode(errors="replace")
        return f"[… {start} bytes …]\n{text}" if start else text


def run(  # noqa: PLR0913 - as many as a program can be run with
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    check: bool = True,
    may_leave_service: bool = False,
    is_answer: bool = False,
    longest: int = LONGEST_ANSWER,
    is_question: bool = False,
    gives_way: bool = False,
    may_have_secrets: bool = False,
    stdin: int = subprocess.DEVNULL,
    ends_with: signal.Signals = signal.SIGTERM,
    grace: float = GRACE,
) -> Finished:
    """Run a program to its end, and end every process that it leaves in its group.

    The end of its output is kept, or all of an answer (`is_answer`), with bytes that are no UTF-8 as surrogates, up to
    `longest` bytes. What has to end gets the signal `ends_with`, and SIGKILL `grace` seconds later.
    `may_leave_service` keeps what a program that ended by itself has left running: a restart may start a daemon. The
    program reads `stdin` and has no terminal. If releaser dies, so does it, but for a quick `is_question`: that
    changes nothing, and starts in a fifth of the time. What `gives_way` gets the processor after the site's processes.
    Of a command that `may_have_secrets` in its arguments, and of a restart, the log has the first word alone.
    `timeout` is in seconds. Raises ToolError if the program cannot be started, or, with `check`, if it exceeds its
    limit or its status is not 0; and Interrupted, once it has ended.
    """
    signals.check_signals()
    words = tuple(os.fspath(word) for word in arguments)
    shown = words[:1] if may_have_secrets or may_leave_service else words
    logger.debug("run %s in %s", redact(shlex.join(shown)), cwd)
    began = time.monotonic()
    out = _Output(is_answer=is_answer, is_file=may_leave_service, longest=longest)
    err = _Output(is_answer=False, is_file=may_leave_service)
    with contextlib.closing(out), contextlib.closing(err):
        try:
            process = subprocess.Popen(
                words,
                cwd=cwd,
                env=dict(env),
                stdin=stdin,
                stdout=out.writer,
                stderr=err.writer,
                start_new_session=True,
                preexec_fn=None if is_question else _die_with_parent(gives_way=gives_way),
            )
        except OSError as error:
            message = f"`{words[0]}` could not be started: {error.strerror}."
            raise ToolError(message, "Check that it is installed and executable.", output=str(error)) from error
        ended = False
        try:
            ended = _wait(process.pid, timeout, out, err)
        finally:
            with signals.defer_signals():
                if not (ended and may_leave_service):
                    _end_group(process.pid, out, err, ends_with=ends_with, grace=grace)
                process.wait()
        finished = Finished(words, process.returncode, out.decode(), err.decode(), time.monotonic() - began, not ended)
    if out.is_too_long:
        message = f"`{words[0]}` printed more than {format_bytes(longest)}, and was ended."
        raise ToolError(message, output=finished.stderr)
    if logger.isEnabledFor(logging.DEBUG):
        kept = keep_end(finished.stdout, _LOGGED) if is_answer else finished.stdout
        printed = msgspec.structs.replace(finished, stdout=kept)
        logger.debug("%s after %s\n%s", finished.ending, format_seconds(finished.seconds), printed.output)
    if check and (not ended or finished.status != 0):
        raise failure(finished)
    return finished


def run_at_terminal(arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a program of a person at their terminal, and return its exit status once it has ended. Raises OSError."""
    process = subprocess.Popen(arguments, cwd=cwd, env=dict(env))
    signal.signal(signal.SIGINT, lambda number, frame: None)  # that of a Ctrl-C reaches the program, too
    status = process.wait()
    return status if status >= 0 else 128 - status


def failure(finished: Finished) -> ToolError:
    """Return the error for a program that failed, with the line of its output that says why."""
    name = Path(finished.arguments[0]).name
    reason = find_error_line(finished.output)
    message = f"`{name}` failed ({finished.ending})" + (f": {reason}" if reason else ".")
    error = ToolError(message, output=finished.output)
    error.is_killed = finished.timed_out or finished.status < 0
    return error


def _die_with_parent(*, gives_way: bool = False) -> Callable[[], None]:
    """Return what a child does before exec, so that it dies when this process does; fork clears that request.

    One that `gives_way` gets the processor after others. Linux weighs sessions before processes (sched(7)).
    """
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        if gives_way:
            os.nice(_NICE)
            with contextlib.suppress(OSError):
                Path("/proc/self/autogroup").write_text(str(_NICE), encoding="ascii")

    return prepare


def _wait(pid: int, timeout: float, *outputs: _Output) -> bool:
    """Wait until a child ends, without reaping it, and read its outputs; False after `timeout` seconds, or too much."""
    descriptor, deadline = os.pidfd_open(pid), time.monotonic() + timeout
    waited = [descriptor, *(output.reader for output in outputs if not output.is_file)]
    tick = _TICK if any(output.is_file for output in outputs) else timeout
    try:
        while True:
            left = max(0.0, signals.limit(deadline) - time.monotonic())
            ready = signals.wait(min(left, tick), *waited)
            for output in outputs:
                if output.is_file or output.reader in ready:
                    output.read()
            if descriptor in ready or not left or any(output.is_too_long for output in outputs):
                return descriptor in ready
    finally:
        os.close(descriptor)


def _end_group(pid: int, *outputs: _Output, ends_with: signal.Signals = signal.SIGTERM, grace: float = GRACE) -> None:
    """End a program and its group; the group's number is still its own, since the program was not reaped."""
    if not _wait(pid, 0):
        _signal_group(pid, ends_with)
        _wait(pid, grace, *outputs)
    _signal_group(pid, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class NoAnswer(msgspec.Struct, frozen=True):
    """The reason why a call has returned nothing, in a sentence."""

    reason: str


def call_in_child(function: Callable[[], T], timeout: float) -> T | None:
    """Return what a talk with a server returns; None if it took more than `timeout` seconds, much memory, or failed."""

    def call() -> T:
        resource.setrlimit(resource.RLIMIT_DATA, (LARGEST_CHILD, LARGEST_CHILD))
        return function()

    with _call(call, grace=0) as child:
        answer = _wait_for_answer(*child, timeout)
    return None if isinstance(answer, NoAnswer) else cast("T", answer)


def call_at_once(functions: Sequence[Callable[[], T]], grace: float = 2 * GRACE) -> list[T | NoAnswer]:
    """Return what functions return, each called in a child of its own, all at once; one alone is called here.

    It is NoAnswer if that raises an error, or the child dies. What they change in memory is lost. A signal ends the
    children, and all that they run; they are killed if that takes more than `grace` seconds.
    """
    if len(functions) == 1:
        return [_try(functions[0])]
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(_call(function, grace)) for function in functions]
        for pid, _ in children:  # asked to end all at once, before the first is waited for
            stack.callback(os.kill, pid, signal.SIGTERM)
        return [_wait_for_answer(*child) for child in children]


def _try(function: Callable[[], T]) -> T | NoAnswer:
    try:
        return function()
    except (ReleaserError, OSError) as error:
        logger.warning("no answer: %s", error)
        return NoAnswer(explain_error(error))


def _wait_for_answer(pid: int, file: BinaryIO, timeout: float = _FOR_EVER) -> Any:
    _wait(pid, timeout)
    file.seek(0)
    with contextlib.suppress(EOFError, pickle.UnpicklingError):
        return pickle.load(file)  # noqa: S301 - of our own
    return NoAnswer("It was killed.")


@contextlib.contextmanager
def _call(function: Callable[[], object], grace: float) -> Iterator[tuple[int, BinaryIO]]:
    """Call a function in a child, which ends with the block; its answer is in the file."""
    prepare = _die_with_parent()
    with open(os.memfd_create("answer"), "w+b") as file:  # a disk may be full
        if (pid := os.fork()) == 0:
            prepare()
            try:
                with signals.raise_on_signals():
                    file.write(pickle.dumps(_try(function)))
                    file.flush()
            except BaseException:
                logger.exception("a child failed")
            finally:
                os._exit(0)
        try:
            yield pid, file
        finally:
            with signals.defer_signals():
                os.kill(pid, signal.SIGTERM)
                _wait(pid, grace)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@contextlib.contextmanager
def end_orphans() -> Iterator[None]:
    """Kill whatever programs of the block leave behind: daemons that have no group, mark or terminal in common."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        with signals.defer_signals():
            deadline, foreign = time.monotonic() + GRACE, set[int]()
            while (children := _list_children() - foreign) and time.monotonic() < deadline:  # theirs come next
                for pid in children:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except PermissionError:  # `sudo` has started it
                        logger.warning("process %d of another user goes on", pid)
                        foreign.add(pid)
                    else:
                        os.waitpid(pid, 0)
            prctl(PR_SET_CHILD_SUBREAPER, 0)


def _list_children() -> set[int]:
    """Return the children of this process, also those that ended."""
    return {pid for pid in proc.list_processes() if proc.find_parent(pid) == os.getpid()}


def end_marked(prefix: str) -> list[int]:
    """Kill each process whose mark begins with `prefix`; return their ids. They are children of a run that died."""
    ended = []
    for pid in proc.list_processes():
        if pid != os.getpid() and _has_mark(pid, prefix):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)
    deadline = time.monotonic() + GRACE
    while any(_has_mark(pid, prefix) for pid in ended) and time.monotonic() < deadline:
        signals.wait(0.01)
    return ended


def _has_mark(pid: int, prefix: str) -> bool:
    return any(word.startswith(f"{MARK}={prefix}") for word in proc.read_environment(pid))
