"""The only place that starts programs: a list of arguments, an explicit directory, a time limit, no survivors."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import time
from functools import partial, wraps
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from releaser.errors import SandboxError, ToolError, error_line
from releaser.system import signals
from releaser.system.environment import SECRETS, kind_of, without
from releaser.system.files import LARGEST, sync_file_system
from releaser.system.frozen import Frozen, Mutable, field
from releaser.system.later import Later, LaterLogger
from releaser.system.venv_environment import neutral
from releaser.system.words import Redactor

if TYPE_CHECKING:
    import ctypes
    import logging
    import selectors
    import socket
    import subprocess
    import tempfile
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    logger: logging.Logger
else:
    ctypes, selectors, subprocess, tempfile = map(Later, ("ctypes", "selectors", "subprocess", "tempfile"))
    logger = LaterLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PR_SET_PDEATHSIG = 1  # prctl(2)
GRACE, DRAIN = 5.0, 0.5  # seconds between SIGTERM and SIGKILL; for the last output of an ended program
NICE = 10  # for builds and tests (nice(2))
LONGEST_POLL = 86400.0  # seconds; epoll takes no more than some 24 days
KEPT_HEAD = 256 * 1024  # bytes of each stream that are kept from its beginning ...
KEPT_TAIL = 512 * 1024  # ... and from its end
_LONGEST_LINE = 8192  # bytes of a partial line next to a cut, which are dropped as well
_LONGEST, _LONGEST_LOGGED = 120, 600  # characters of a command in a report, and in the log
LOGGED = 100_000  # characters that are logged of each end of the output


class Sandbox(Frozen):
    """The arguments in front of a command, and the variables, that shut a program in; without any, nothing is shut in.

    The arguments are those of `prefix`, those that `view` returns at each start, and those of `suffix`.
    """

    prefix: tuple[str, ...] = ()
    view: Callable[[], Sequence[str]] = field(default=tuple, repr=False, compare=False)
    suffix: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    #: The path, outside the sandbox, of its private temporary directory; empty without one.
    outside: str = ""
    #: Runs in the child before it becomes the program; it may print an error and end the child.
    begin: Callable[[], None] | None = field(default=None, repr=False, compare=False)

    def enter(self, status: int) -> tuple[str, ...]:
        """Return the arguments in front of a command that starts now; bubblewrap writes to the descriptor `status`."""
        reports = ("--json-status-fd", str(status)) if self.outside else ()
        return *self.prefix[:1], *reports, *self.prefix[1:], *self.view(), *self.suffix

    def descriptors(self, status: int) -> tuple[int, ...]:
        """Return the descriptors that the arguments of `enter` use."""
        return (status,) if self.outside else ()

    @contextlib.contextmanager
    def shared_directory(self) -> Iterator[tuple[Path, str]]:
        """Yield a directory that programs in the sandbox reach, and its path for them. Raises OSError."""
        if self.outside:
            # Deleted with the sandbox. Hidden, as tests may look for files that they have left.
            place = Path(tempfile.mkdtemp(prefix=".releaser-", dir=self.outside))
            yield place, os.path.join(dict(self.variables)["TMPDIR"], place.name)
            return
        from releaser.system.temporary import temporary_directory

        with temporary_directory() as place:
            yield place, str(place)

    def check_start(self, finished: Finished, status: bytes) -> None:
        """Raise SandboxError if the command that `enter` began did not start, by the `status` from bubblewrap.

        bubblewrap reports an exit code only for a command that it started, and programs in the sandbox cannot reach its
        status (bwrap(1)). A negative exit status means that a signal ended bubblewrap itself.
        """
        if self.outside and finished.returncode > 0 and b'"exit-code"' not in status:
            message = f"the sandbox could not be started: {error_line(finished.output)}"
            advice = "Run `releaser check --sandbox` to test the sandbox, then run the command again."
            raise SandboxError(message, advice, returncode=finished.returncode, output=finished.output)


NO_SANDBOX = Sandbox()


class Attempt(Frozen):
    """An access that a program in a sandbox tried, and whether it succeeded."""

    #: `network`, `sockets`, `files`, `processes`, `terminals` or `memory`.
    kind: str
    what: str
    reached: bool


def in_new_sandbox(run: Callable[[], R]) -> R:
    """Call `run`, which opens a sandbox and runs a program in it; call it once more if that sandbox did not start.

    A mount of the host may vanish after a sandbox has listed it; a new one lists the mounts again. `run` must not do
    harm the second time. Raises the errors of `run`, and SandboxError if the second sandbox does not start.
    """
    try:
        return run()
    except SandboxError as error:
        logger.warning("%s; trying a new sandbox", error.message)
        return run()


class Process(Protocol):
    """A program that runs: one of `subprocess`, or a fork of another process."""

    pid: int
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    returncode: int

    def wait(self, timeout: float | None = None) -> int:
        """Return the status, negative for a signal. Raises subprocess.TimeoutExpired."""
        ...


class Forked(Mutable):
    """A process that another process has forked, which sends its status, 4 bytes, to `reply`.

    Its number stays its own until `reply` is closed.
    """

    pid: int
    reply: socket.socket
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    returncode: int = 0

    def wait(self, timeout: float | None = None) -> int:
        """Return the status. If the other process has gone, that is SIGTERM, which this one then got."""
        self.reply.settimeout(timeout)
        try:
            status = self.reply.recv(4)
        except TimeoutError as error:
            raise subprocess.TimeoutExpired(["releaser"], timeout or 0) from error
        except OSError:
            status = b""
        self.reply.close()
        self.returncode = int.from_bytes(status, "big", signed=True) if status else -signal.SIGTERM
        return self.returncode


class Finished(Frozen):
    """A program that ended: its decoded output, and its duration in seconds.

    `stdout` and `stderr` are for the caller to parse, and may hold secrets. `output` is for people, without secrets and
    control characters: both streams, standard error last, because the cause of a failure is usually there.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    output: str
    seconds: float


def _repeat_without_start(run: Callable[P, R]) -> Callable[P, R]:
    """Run a program once more if the sandbox did not start it: a socket that it covers may have gone meanwhile."""

    @wraps(run)
    def repeat(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return run(*args, **kwargs)
        except SandboxError as error:
            logger.warning("%s; once more", error.message)
            return run(*args, **kwargs)

    return repeat


class Runner(Mutable):
    """Starts programs with `environ` and `marks`, and cleans their output.

    By the variables `marks`, the next run finds processes that a killed run left. Programs of the site also get
    `site_variables`; `passes` names the secrets that they get. `remembered` holds answers of programs that cannot
    change while releaser runs. `ended` holds a sentence about each process that a program left running.
    """

    environ: Mapping[str, str]
    site_variables: Mapping[str, str] = field(default_factory=dict)
    passes: Collection[str] = ()
    redactor: Redactor = field(default_factory=Redactor)
    #: Returns why no program of a venv may be started; usually empty.
    distrust: Callable[[str], str] = field(default=lambda _: "", repr=False)
    marks: dict[str, str] = field(default_factory=dict)
    remembered: dict[tuple[object, ...], str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    #: Called at once with the output of programs; must not raise.
    watch: Callable[[bytes], None] = field(default=lambda _: None, repr=False)
    _running: set[Process] = field(default_factory=set)
    _is_stopped: bool = False

    @property
    def neutral(self) -> dict[str, str]:
        """The environment of programs that must get no secrets and no misleading variables."""
        return neutral(without(self.environ, *SECRETS, passes=self.passes))

    @property
    def site_environ(self) -> dict[str, str]:
        """The environment of the site's own programs that test or query a candidate."""
        return {**without(self.environ, *SECRETS, passes=self.passes), **self.site_variables}

    @property
    def live_environ(self) -> dict[str, str]:
        """The environment of the site's own programs that work on the live site, which may need its tokens."""
        return {**without(self.environ, "own", "index", "agent", passes=self.passes), **self.site_variables}

    @_repeat_without_start
    def run(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        timeout: float,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        merge: bool = False,
        may_leave_service: bool = False,
        daemons: bool = False,
        death_signal: signal.Signals | None = signal.SIGKILL,
        in_background: bool = False,
        input: bytes = b"",  # noqa: A002 - the name that subprocess gives it
        whole: bool = False,
        most: int = LARGEST,
        umask: int = -1,
        sandbox: Sandbox = NO_SANDBOX,
        start: Callable[[], Process] | None = None,
    ) -> Finished:
        """Run a program to its end, within `timeout` seconds.

        `env` replaces the whole environment; `merge` sends standard error to standard output. Processes that the
        program leaves running are ended, and recorded in `ended`; with `daemons`, only those in its process group are
        ended. With `may_leave_service` they are a service, which no run ends. If releaser itself dies, the program gets
        `death_signal`. None makes the start five times as fast, for a query that only reads and answers at once. The
        program reads `input`. With `in_background`, it leaves the processors to the site. With `whole`, all of its
        output is kept, up to `most` bytes of each stream. A `umask` of -1 is that of releaser. The program runs in
        `sandbox`, which no message mentions. `start` starts it in another way, and raises its own errors.

        Raises ToolError if the program cannot be started, exceeds the time limit, prints more than `most` with `whole`
        or, with `check`, ends with another status than 0; and SandboxError if the sandbox does not start it, twice.
        """
        from releaser.system.temporary import file_of  # `list` starts no program

        words = tuple(os.fspath(word) for word in argv)
        given = self.environ if env is None else env
        marked = {name: value for name, value in given.items() if name not in self.marks}
        marked |= {} if may_leave_service else self.marks  # a service gets no marks, not even inherited ones
        self._refuse_distrusted(words[0], given.get("VIRTUAL_ENV"))
        logger.debug("run %s in %s", self.redactor.clean(shlex.join(words))[:_LONGEST_LOGGED], cwd)
        started = time.monotonic()
        tail = most - KEPT_HEAD if whole else KEPT_TAIL
        kept = (_HeadAndTail(tail, self.watch), _HeadAndTail(tail, self.watch))
        with contextlib.ExitStack() as stack:
            # A service may continue to write: a file stays open, but a closed pipe would end the service with SIGPIPE.
            file = stack.enter_context(tempfile.TemporaryFile()) if may_leave_service else None
            process: Process | None = None
            status, writer = _open_pipe(stack)
            if not (may_leave_service or daemons):
                stack.enter_context(signals.Adoption.lasting(partial(self.note_ended, shlex.join(words))))
            try:
                if self._is_stopped:
                    message = f"{words[0]} was not started, as the run was interrupted"
                    raise ToolError(message)
                # An interrupt during the start would leave the program running, because its process id is not known
                # yet.
                with signals.Adoption.starting() as own:
                    begin = start or partial(
                        self._start,
                        (*sandbox.enter(writer.fileno()), *words),
                        pass_fds=sandbox.descriptors(writer.fileno()),
                        cwd=cwd,
                        env=marked,
                        stdin=stack.enter_context(file_of(input)) if input else subprocess.DEVNULL,
                        stdout=file or subprocess.PIPE,
                        stderr=subprocess.STDOUT if merge or may_leave_service else subprocess.PIPE,
                        umask=umask,
                        preexec_fn=_prepare(
                            None if may_leave_service else death_signal, sandbox.begin, in_background=in_background
                        ),
                    )
                    process = begin()
                    own.add(process.pid)
                self._running.add(process)
                timed_out = not _follow(process, kept, deadline=started + timeout)
                if not (timed_out or may_leave_service or daemons):
                    signals.Adoption.name_group(process.pid, partial(self.note_ended, shlex.join(words)))
            finally:
                if process is not None:
                    self._running.discard(process)
                    _end(process, kept, spare_group=may_leave_service)
            reported = status.read(1 << 16) or b""
            if file is not None:
                file.seek(0)
                kept[0].add(file.read(KEPT_TAIL))
        if whole and any(part.is_cut for part in kept):
            message = f"{words[0].rpartition('/')[2]} printed more than {most >> 20} MiB, the most that releaser reads"
            raise ToolError(message)
        stdout, stderr = (part.take() for part in kept)
        explanation = "" if process.returncode == 0 else self._explain_missing((stdout, stderr), env)
        shown = "\n".join(filter(None, (stdout.strip(), stderr.strip(), explanation)))
        finished = Finished(
            argv=words,
            returncode=process.returncode,
            stdout=stdout,
            stderr=stderr,
            output=shown and self.redactor.shown(shown),
            seconds=time.monotonic() - started,
        )
        logger.debug("status %s after %.2f s\n%s", finished.returncode, finished.seconds, _abridge(finished.output))
        sandbox.check_start(finished, reported)
        _raise_on_failure(finished, limit=timeout if timed_out else None, check=check)
        return finished

    @contextlib.contextmanager
    def serving(self, argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> Iterator[Server]:
        """Run a program during the block, such as a server, and end it after the block, with all of its descendants.

        If releaser itself dies, the kernel ends the program, and the next run its descendants. Raises ToolError if
        the program cannot be started.
        """
        words = tuple(os.fspath(word) for word in argv)
        self._refuse_distrusted(words[0], env.get("VIRTUAL_ENV"))
        logger.debug("start %s in %s", self.redactor.clean(shlex.join(words))[:_LONGEST_LOGGED], cwd)
        with tempfile.TemporaryFile() as file, signals.Adoption.lasting(_forget):
            with signals.Adoption.starting() as own:
                process = self._start(
                    words,
                    cwd=cwd,
                    env={**env, **self.marks},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    preexec_fn=_prepare(signal.SIGTERM, None),
                )
                own.add(process.pid)
            server = Server(process, file, self.redactor)
            try:
                yield server
            finally:
                _end(process, (_HeadAndTail(0, self.watch), _HeadAndTail(0, self.watch)), spare_group=False)
                logger.debug("%s ended\n%s", words[0], _abridge(server.output()))

    def note_ended(self, command: str, name: str, has_ended: bool = True) -> None:  # noqa: FBT001, FBT002 - for `lasting`
        """Record a process that a command left running, and whether it was ended."""
        program, space, others = command.partition(" ")
        clean, command = self.redactor.clean, os.path.basename(program) + space + others
        end = "was" if has_ended else "could not be"
        self.ended.append(f"`{clean(command)[:_LONGEST]}` left {clean(name)} running; it {end} ended")
        logger.warning("%s", self.ended[-1])

    def _explain_missing(self, outputs: tuple[str, ...], env: Mapping[str, str] | None) -> str:
        """Return a hint about secret variables that the output mentions but the program did not get; mostly empty."""
        secrets = {name for name, value in self.environ.items() if kind_of(name, value)}
        # findall takes 100 bytes a word.
        printed = (match[0] for output in outputs for match in re.finditer(r"\w+", output))
        named = " and ".join(sorted(secrets.intersection(printed).difference(env or secrets)))
        return named and f"releaser did not pass it {named}; name allowed variables in `test_environment`"

    def _refuse_distrusted(self, program: str, active: str | None) -> None:
        for venv in dict.fromkeys(filter(None, (os.path.dirname(os.path.dirname(program)), active))):
            if why := self.distrust(venv):
                message = f"{program} was not started, as {why}"
                raise ToolError(message, "Run `releaser rebuild` to replace the release, and check who changed it.")

    @contextlib.contextmanager
    def connected(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> Iterator[socket.socket]:
        """Run a program during the block, and yield the other end of its standard input, a socket.

        It should end at the end of its standard input, and ends if this thread does. Raises ToolError.
        """
        import socket  # slow to import, and few runs talk to a process

        own, other = socket.socketpair()
        with own:
            with other:
                process = self._start(
                    tuple(argv), cwd=cwd, env=env, stdin=other, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    preexec_fn=_prepare(signal.SIGTERM, None),
                )  # fmt: skip
            try:
                yield own
            finally:
                own.close()
                try:
                    process.wait(timeout=GRACE)
                except subprocess.TimeoutExpired:
                    _end(process, (_HeadAndTail(0, self.watch), _HeadAndTail(0, self.watch)), spare_group=False)

    def stop(self) -> None:
        """End the programs that other threads run with this runner, and start no more; those calls raise ToolError."""
        self._is_stopped = True
        for process in tuple(self._running):
            _signal_group(process.pid, signal.SIGTERM)  # `terminate` would take its status from the other thread

    def _start(self, words: tuple[str, ...], **options: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(words, start_new_session=True, **options)
        except (OSError, ValueError, subprocess.SubprocessError) as error:  # ValueError: a NUL in a word
            message = f"{words[0]} cannot be started: {getattr(error, 'strerror', None) or error}"
            raise ToolError(message, "Check that the program is installed and executable.") from error


class Server:
    """A program that runs in the background."""

    def __init__(self, process: subprocess.Popen[bytes], file: IO[bytes], redactor: Redactor) -> None:
        self._process, self._file, self._redactor = process, file, redactor

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def end(self) -> str:
        """Return in words how it ended; empty while it runs."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return ""
        return describe_status(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)

    def output(self) -> str:
        """Return the last part of its output so far, without secrets and control characters."""
        size = os.fstat(self._file.fileno()).st_size
        data = os.pread(self._file.fileno(), KEPT_TAIL, max(0, size - KEPT_TAIL))
        return self._redactor.shown(data.decode("utf-8", errors="replace").strip())


def _forget(name: str, has_ended: bool) -> None:  # noqa: FBT001 - for `lasting`
    """Log a process that a background program left running: its workers end with it."""
    logger.debug("%s was %sended with its server", name, "" if has_ended else "not ")


def _open_pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """Return the ends of a pipe: the reading end, and the writing end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    return stack.enter_context(FileIO(read, "rb")), stack.enter_context(FileIO(write, "wb"))


def write_out(directory: Path) -> None:
    """Flush the file system of `directory`, so that programs' files survive a power cut. Raises ToolError."""
    try:
        sync_file_system(directory)
    except OSError as error:
        message = f"files in {directory} cannot be written to the disk: {error}"
        raise ToolError(message, "Check free space (`df`) and the disk (`dmesg`).") from error


def _abridge(output: str) -> str:
    """Shorten long output for the log; 30 logs are kept."""
    cut = len(output) - 2 * LOGGED
    return output if cut <= 0 else f"{output[:LOGGED]}\n[... {cut} characters cut ...]\n{output[-LOGGED:]}"


def _raise_on_failure(finished: Finished, *, limit: float | None, check: bool) -> None:
    name = finished.argv[0].rpartition("/")[2]
    if limit is not None:
        message = f"{name} was still running after {limit:g} s and was ended"
        raise ToolError(message, timed_out=True, output=finished.output)
    if check and finished.returncode != 0:
        message = f"{name} failed ({describe_status(finished.returncode)})"
        raise ToolError(message, returncode=finished.returncode, output=finished.output)


def describe_status(returncode: int) -> str:
    """Say in words how a program ended."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"ended by signal {-returncode}"


class _HeadAndTail:
    """The beginning and the end of a stream, in bounded memory."""

    def __init__(self, tail: int, watch: Callable[[bytes], None]) -> None:
        self._longest, self._watch = tail, watch  # `_longest` is in bytes
        self._head, self._tail = bytearray(), bytearray()
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        self._watch(chunk)
        room = KEPT_HEAD - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:] if room > 0 else chunk
        if len(self._tail) > self._longest + KEPT_HEAD:
            cut = len(self._tail) - self._longest
            self._dropped += cut
            del self._tail[:cut]

    @property
    def is_cut(self) -> bool:
        """True if the stream was longer than the kept part."""
        return self._dropped > 0 or len(self._tail) > self._longest

    def take(self) -> str:
        """Return the kept output, and forget it."""
        head, tail, self._head, self._tail = self._head, self._tail, bytearray(), bytearray()
        if self._dropped:
            # A secret that is cut in two is no longer recognized, so the rest of its line is dropped, too.
            length = len(head) + len(tail)
            del head[max(head.rfind(b"\n"), len(head) - _LONGEST_LINE) :]
            del tail[: min(tail.find(b"\n") % (len(tail) + 1), _LONGEST_LINE)]
            tail = tail.removeprefix(b"\n")
            head += b"\n[... %d bytes cut ...]\n" % (self._dropped + length - len(head) - len(tail))
        head += tail
        del tail
        return head.decode("utf-8", errors="replace")


def _step_back() -> None:
    """Lower the priority of this process, also against other sessions, which the kernel groups (sched(7))."""
    os.nice(NICE)
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/autogroup", os.O_WRONLY)
        os.write(descriptor, b"%d" % NICE)
        os.close(descriptor)


def _prepare(
    death_signal: signal.Signals | None, begin: Callable[[], None] | None, *, in_background: bool = False
) -> Callable[[], None] | None:
    """Return the function that runs in the child before exec: it prepares a sandbox, and requests `death_signal`."""
    if death_signal is None:
        return begin
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl  # looked up here: the child should do as little as possible

    def prepare() -> None:
        if in_background:
            _step_back()
        if begin is not None:
            begin()  # first, as entering a user namespace makes the kernel forget the signal
        prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:  # the parent has died meanwhile, so the signal will never come
            os._exit(1)

    return prepare


def _follow(process: Process, kept: tuple[_HeadAndTail, _HeadAndTail], *, deadline: float) -> bool:
    """Collect output until the program ends; False if the deadline comes first."""
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        descriptor = os.pidfd_open(process.pid)  # becomes readable when the process ends (Linux 5.3)
        stack.callback(os.close, descriptor)
        selector.register(descriptor, selectors.EVENT_READ, None)
        for pipe, stream in zip((process.stdout, process.stderr), kept, strict=True):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, stream)
        ended = False
        while not ended or selector.get_map():
            if (left := deadline - time.monotonic()) <= 0:
                return ended
            for key, _ in selector.select(min(left, LONGEST_POLL)):
                if key.data is None:
                    ended = True
                    selector.unregister(key.fileobj)
                    deadline = min(deadline, time.monotonic() + DRAIN)
                elif chunk := os.read(key.fd, 65536):
                    key.data.add(chunk)
                else:
                    selector.unregister(key.fileobj)
        return True


def _end(process: Process, kept: tuple[_HeadAndTail, _HeadAndTail], *, spare_group: bool) -> None:
    """End the program and its process group, and collect its status. Raises ToolError if it cannot be ended."""
    running = _is_running(process.pid)
    if running:
        _signal_group(process.pid, signal.SIGTERM)
        _follow(process, kept, deadline=time.monotonic() + GRACE)
    if not spare_group or running:
        _signal_group(process.pid, signal.SIGKILL)  # until the leader is reaped, its number is not reused
    for pipe in filter(None, (process.stdout, process.stderr)):
        pipe.close()
    try:
        process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired as error:
        process.returncode = -signal.SIGKILL  # so that nothing waits for the process
        message = f"{error.cmd[0]} (pid {process.pid}) cannot be ended: it now runs as another user, or hangs"
        if error.__context__ is None or isinstance(error.__context__, Exception):
            raise ToolError(message, f"Run `kill -9 {process.pid}` as root.", timed_out=True) from error
        logger.warning("%s", message)  # an interrupt of the run is no failure of the program


def _is_running(pid: int) -> bool:
    """True if a process that nothing has reaped yet has not ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
