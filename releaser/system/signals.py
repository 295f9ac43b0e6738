"""Ending processes: signals that end a run, processes that a killed run left, and a deadline for a conversation."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from _thread import RLock
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from releaser.errors import Interrupted
from releaser.system.later import Later, LaterLogger

if TYPE_CHECKING:
    import ctypes
    import logging
    import socket
    import threading
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    logger: logging.Logger
else:
    ctypes, threading = map(Later, ("ctypes", "threading"))
    logger = LaterLogger(__name__)

T = TypeVar("T")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the block as Ctrl-C does, by an exception: Interrupted."""
    parent = os.getppid()

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number, is_orphan=os.getppid() != parent)

    with _handle((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Delay interrupts until the end of the block, where the first one arrives.

    Blocking the signals is not enough: the kernel would deliver them to another thread, such as that of a spinner, and
    Python would still run the handler in the main thread.
    """
    received: list[int] = []
    try:
        with _handle(INTERRUPTS, lambda number, _: received.append(number)):
            yield
    finally:
        if received:
            signal.raise_signal(received[0])


@contextlib.contextmanager
def _handle(numbers: Sequence[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle signals by `handler` in the block; ignored signals stay ignored, as under nohup(1)."""
    try:
        heard = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        earlier = {number: signal.signal(number, handler) for number in heard}
    except ValueError:  # not in the main thread: signals do not arrive here anyway
        yield
        return
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


MARK = "_RELEASER_RUN"  # an environment variable
SERVICE_MARK = "_RELEASER_SERVICE"  # another: for programs started by a restart command, which no run ends
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GRACE = 5.0  # seconds between SIGTERM and SIGKILL, in which git removes its lock files
_LONGEST_NAME = 120  # bytes
LAST = 5.0  # seconds after SIGKILL; a process that hangs in the kernel takes longer
POLL = 0.02  # seconds
_FIRST_POLL = 0.0005  # seconds; the first pause for a process that usually ends at once, then doubled each time
MOMENT = 0.1  # seconds in which a process may end by itself; bubblewrap's first process ends after its program


def end_orphans(mark: str) -> bool:
    """End every process with the mark of a run, except those of other users; return whether there was any."""

    variable = f"{MARK}={mark}"

    def find_marked() -> set[int]:
        return {pid for pid in _pids() if pid != os.getpid() and _has(pid, variable)}

    return bool(_end(find_marked, lambda pid, number: _log_end(pid, variable, number)))


def name_services(mark: str) -> list[str]:
    """Name the processes with the mark of a restart command, except their children, after a moment.

    In that moment a process may end by itself.
    """
    variable = f"{SERVICE_MARK}={mark}"
    if not any(_has(pid, variable) for pid in _pids()):
        return []
    time.sleep(MOMENT)
    found = {pid for pid in _pids() if _has(pid, variable)}
    return [_name(pid) for pid in sorted(found) if found.isdisjoint(map(int, _stat(pid)[1:2]))]


def _end(find: Callable[[], set[int]], send: Callable[[int, signal.Signals], object]) -> dict[str, bool]:
    """End the found processes, and those found meanwhile, by SIGTERM and then SIGKILL.

    `send` sends a signal to a process. Returns the name of each process that got one, and whether it ended.
    """
    names: dict[int, str] = {}
    refused: set[int] = set()  # processes of other users, as with sudo
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, LAST)):
        known: set[int] = set()
        ends_at = time.monotonic() + seconds
        while (orphans := find() - refused) and time.monotonic() < ends_at:
            for pid in orphans - known:
                names.setdefault(pid, _name(pid))
                try:
                    send(pid, number)
                except ProcessLookupError:
                    pass
                except PermissionError:
                    refused.add(pid)
            known |= orphans
            time.sleep(POLL)
    return {name: pid not in refused | orphans for pid, name in names.items()}


class Adoption:
    """While it lasts, orphaned descendants become children of this process, and are ended at its end.

    No process escapes, whatever group or session it makes. Adoptions nest: the outermost one ends the processes.
    """

    _lock = RLock()
    _own: ClassVar[set[int]] = set()  # earlier children, and those that a caller waits for
    _count = 0

    @classmethod
    @contextlib.contextmanager
    def starting(cls) -> Iterator[set[int]]:
        """Defer interrupts while a program is started; its process id goes into the yielded set, and is not adopted."""
        with defer_interrupts(), cls._lock:
            yield cls._own

    @classmethod
    @contextlib.contextmanager
    def lasting(cls, on_ended: Callable[[str, bool], None]) -> Iterator[None]:
        """Adopt orphans in the block, and end them after it.

        `on_ended` gets the name of each process that was still running, and whether it ended. The first process of a
        container gets all orphans anyway, including unrelated ones, so it ends none.
        """
        with cls._lock:
            cls._count += 1
            if cls._count == 1 and os.getpid() != 1:
                cls._own |= _children()
                ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            yield
        finally:
            for name, has_ended in cls._end().items():
                on_ended(name, has_ended)

    @classmethod
    def _end(cls) -> dict[str, bool]:
        with cls._lock:
            try:
                if cls._count > 1 or os.getpid() == 1:
                    return {}
                _find_lasting(cls._adopted)
                return _end(cls._adopted, os.kill)
            finally:
                cls._count -= 1
                if not cls._count:
                    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)
                    cls._own &= _children()

    @classmethod
    def name_group(cls, group: int, on_ended: Callable[[str], None]) -> None:
        """Call `on_ended` with the name of each process left in a group that is about to be killed."""
        with cls._lock:
            left = _find_lasting(lambda: {pid for pid in cls._adopted() if _is_in(group, pid)})
        for pid in left:
            on_ended(_name(pid))

    @classmethod
    def _adopted(cls) -> set[int]:
        """Return the adopted processes that are alive, and reap the others, whose numbers are not reused until then."""
        adopted = _children() - cls._own
        for pid in {pid for pid in adopted if not is_alive(pid)}:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            adopted.discard(pid)
        return adopted


def _find_lasting(find: Callable[[], set[int]]) -> set[int]:
    """Return the processes that are still found after a moment in which they may end by themselves."""
    ends_at, pause = time.monotonic() + MOMENT, _FIRST_POLL
    while (found := find()) and time.monotonic() < ends_at:
        time.sleep(pause)
        pause = min(2 * pause, POLL)
    return found


def _children() -> set[int]:
    """List the children of this process (proc(5), of Linux with CONFIG_PROC_CHILDREN)."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children", "rb") as file:
            found.update(map(int, file.read().split()))
    return found


def _name(pid: int) -> str:
    """Describe a process by its command line and its number."""
    words = b""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read(_LONGEST_NAME).replace(b"\0", b" ").strip()
    return f"{words.decode(errors='replace') or 'a process'} (pid {pid})"


def is_alive(pid: int) -> bool:
    """True if a process exists and has not ended."""
    return _stat(pid)[:1] not in ([], [b"Z"], [b"X"])


def is_own(pid: int) -> bool:
    """True if a process runs as this user."""
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    return False


def _is_in(group: int, pid: int) -> bool:
    """True if a process is in a group and may be ended by this user; those of other users are reported later."""
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return os.getpgid(pid) == group
    return False


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[bytes]:
    """Return the fields of stat after the name, state and parent first (proc(5)); none if the process is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
    return []


def may_be_running(program: str, places: Collection[Path]) -> bool:
    """True if a program of this user may be running in or below any of these places.

    Its process has that name, or a name that begins with it and a hyphen.
    """
    return any(_may_be(program, pid, places) for pid in _pids())


def _may_be(program: str, pid: int, places: Collection[Path]) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return False
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
        if name != program and not name.startswith(f"{program}-"):
            return False
        place = os.readlink(f"/proc/{pid}/cwd")
    except PermissionError:
        return True
    except OSError:  # it has just ended
        return False
    return any(f"{place}/".startswith(f"{path}/") for path in places)


def _has(pid: int, variable: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return variable.encode() in file.read().split(b"\0")
    except OSError:  # the process has just ended, or belongs to another user
        return False


def _log_end(pid: int, variable: str, number: signal.Signals) -> None:
    """Signal a process, whose number may have been reused since it was found."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if _has(pid, variable):
                logger.warning("%s to process %d, which a killed run has left", number.name, pid)
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


# A blocking conversation with a server, with one overall deadline


class Connection(Protocol):
    """A connection of `http.client` or `smtplib`."""

    sock: socket.socket | None


class Deadline:
    """State shared by a conversation and its caller."""

    def __init__(self) -> None:
        #: True if the caller has stopped waiting; the conversation then sends nothing more.
        self.is_over = False
        #: Shut down at the deadline, which ends any wait of the conversation.
        self.connections: list[Connection] = []

    def end(self) -> None:
        """Make the conversation stop."""
        self.is_over = True
        for connection in self.connections:
            if connection.sock is not None:
                from socket import SHUT_RDWR  # slow to import

                with contextlib.suppress(OSError):
                    connection.sock.shutdown(SHUT_RDWR)


def call_within(seconds: float, call: Callable[[Deadline], T], *, grace: float = 0.0) -> T:
    """Return the result of `call`; TimeoutError after `seconds`, and `grace` more in which it can still succeed.

    The call runs in a thread: a socket's timeout limits neither name resolution nor a server that sends a byte at a
    time. The thread is a daemon, which never keeps the process from ending.
    """
    from concurrent.futures import Future, wait  # slow to import

    result: Future[T] = Future()
    deadline = Deadline()

    def run() -> None:
        try:
            result.set_result(call(deadline))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            result.set_exception(error)

    thread = threading.Thread(target=run, name="releaser-call", daemon=True)
    thread.start()
    try:
        wait([result], timeout=seconds)
        in_time = result.done()
    finally:
        deadline.end()
        thread.join(grace)
    if in_time or (result.done() and result.exception() is None):
        return result.result()
    raise TimeoutError
