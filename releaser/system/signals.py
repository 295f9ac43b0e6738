"""What ends things: signals that end a run, or what a killed run has left; and a deadline for a conversation."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from releaser.errors import Interrupted

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

T = TypeVar("T")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does: by an exception, Interrupted."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handle((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextlib.contextmanager
def defer_interrupts() -> Iterator[None]:
    """Let interrupts wait until the end of the block, where the first of them arrives.

    Blocking the signals would not do: the kernel then gives them to another thread, such as that of a spinner, and
    Python still runs the handler in the main thread.
    """
    came: list[int] = []
    try:
        with _handle(INTERRUPTS, lambda number, _: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def _handle(numbers: Sequence[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle signals in another way for a while; what is ignored stays so, as under nohup(1)."""
    try:
        heard = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        earlier = {number: signal.signal(number, handler) for number in heard}
    except ValueError:  # not in the main thread, where signals do not arrive anyway
        yield
        return
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)


logger = logging.getLogger(__name__)

MARK = "_RELEASER_RUN"  # an environment variable
SERVICE_MARK = "_RELEASER_SERVICE"  # another: of what a restart command starts, which no run ends
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GRACE = 5.0  # seconds between SIGTERM and SIGKILL, in which git takes its lock files away
_LONGEST_NAME = 120  # bytes
LAST = 5.0  # seconds after SIGKILL; a process that hangs in the kernel takes longer
POLL = 0.02  # seconds
_FIRST_POLL = 0.0005  # the same at first of what mostly ends at once, then twice as long each time
MOMENT = 0.1  # seconds in which a process may end by itself; the first one in bubblewrap ends after its program


def end_orphans(mark: str) -> bool:
    """End every process that carries the mark of a run; whether there was any. Those of other users are left alone."""

    variable = f"{MARK}={mark}"

    def find_marked() -> set[int]:
        return {pid for pid in _pids() if pid != os.getpid() and _has(pid, variable)}

    return bool(_end(find_marked, lambda pid, number: _tell(pid, variable, number)))


def name_services(mark: str) -> list[str]:
    """Name what carries the mark of a restart command, but not its children; it has a moment in which it may end."""
    variable = f"{SERVICE_MARK}={mark}"
    if not any(_has(pid, variable) for pid in _pids()):
        return []
    time.sleep(MOMENT)
    found = {pid for pid in _pids() if _has(pid, variable)}
    return [_name(pid) for pid in sorted(found) if found.isdisjoint(map(int, _stat(pid)[1:2]))]


def _end(find: Callable[[], set[int]], tell: Callable[[int, signal.Signals], object]) -> dict[str, bool]:
    """End what is found, and what is found then, politely first; return what was told to end, and whether it did."""
    names: dict[int, str] = {}
    refused: set[int] = set()  # those of other users, as by sudo
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, LAST)):
        told: set[int] = set()
        ends_at = time.monotonic() + seconds
        while (orphans := find() - refused) and time.monotonic() < ends_at:
            for pid in orphans - told:
                names.setdefault(pid, _name(pid))
                try:
                    tell(pid, number)
                except ProcessLookupError:
                    pass
                except PermissionError:
                    refused.add(pid)
            told |= orphans
            time.sleep(POLL)
    return {name: pid not in refused | orphans for pid, name in names.items()}


class Adoption:
    """While it lasts, programs whose parents end become children of this process, and are ended with it.

    No process leaves it, whatever group or session it makes. One that lasted before goes on, and ends them.
    """

    _lock = threading.RLock()
    _own: ClassVar[set[int]] = set()  # children that have been here before, or that somebody waits for
    _count = 0

    @classmethod
    @contextlib.contextmanager
    def starting(cls) -> Iterator[set[int]]:
        """Let interrupts wait while a program is started; its number goes into the set, as it is nobody else's."""
        with defer_interrupts(), cls._lock:
            yield cls._own

    @classmethod
    @contextlib.contextmanager
    def lasting(cls, tell: Callable[[str, bool], None]) -> Iterator[None]:
        """Adopt meanwhile; `tell` hears of each process that had to be ended for the end of it, and whether it did.

        The first process of a container gets all orphans of others anyway, and ends none.
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
                tell(name, has_ended)

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
    def name_group(cls, group: int, tell: Callable[[str], None]) -> None:
        """Let `tell` hear of each process that has been left in a group, which is about to be killed as a whole."""
        with cls._lock:
            left = _find_lasting(lambda: {pid for pid in cls._adopted() if _is_in(group, pid)})
        for pid in left:
            tell(_name(pid))

    @classmethod
    def _adopted(cls) -> set[int]:
        """Find those that have not ended yet. They keep their numbers until this process has asked how they ended."""
        adopted = _children() - cls._own
        for pid in {pid for pid in adopted if not is_alive(pid)}:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            adopted.discard(pid)
        return adopted


def _find_lasting(find: Callable[[], set[int]]) -> set[int]:
    """Return what is found even after a moment, in which it may end by itself."""
    ends_at, pause = time.monotonic() + MOMENT, _FIRST_POLL
    while (found := find()) and time.monotonic() < ends_at:
        time.sleep(pause)
        pause = min(2 * pause, POLL)
    return found


def _children() -> set[int]:
    """List the processes whose parent this one is (proc(5), of Linux with CONFIG_PROC_CHILDREN)."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/children", "rb") as file:
            found.update(map(int, file.read().split()))
    return found


def _name(pid: int) -> str:
    """Say what a process is: what it was started with, and its number."""
    words = b""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read(_LONGEST_NAME).replace(b"\0", b" ").strip()
    return f"{words.decode(errors='replace') or 'a process'} (pid {pid})"


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process, and it has not ended yet."""
    return _stat(pid)[:1] not in ([], [b"Z"], [b"X"])


def _is_in(group: int, pid: int) -> bool:
    """Whether a process is in a group, and may be ended: what another user has started there is told of later."""
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return os.getpgid(pid) == group
    return False


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[bytes]:
    """Read what stat has after the name (proc(5)): the state and the parent first; nothing if there is no process."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
    return []


def may_be_running(program: str, places: Collection[Path]) -> bool:
    """Tell whether a program of this user may be at work in or below any of these places.

    It has that name, or that and what follows a hyphen.
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
    return any(f"{place}/".startswith(f"{one}/") for one in places)


def _has(pid: int, variable: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return variable.encode() in file.read().split(b"\0")
    except OSError:  # it has just ended, or is another user's
        return False


def _tell(pid: int, variable: str, number: signal.Signals) -> None:
    """Signal one process, whose number may have been given away since it was found."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if _has(pid, variable):
                logger.warning("%s to process %d, which a killed run has left", number.name, pid)
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


# A blocking conversation with a server, with one deadline for all of it


class Connection(Protocol):
    """What `http.client` and `smtplib` call a connection."""

    sock: socket.socket | None


class Deadline:
    """What the conversation and the one who waits for it share."""

    def __init__(self) -> None:
        #: Whether nobody waits any longer; the conversation then sends nothing more.
        self.is_over = False
        #: Shut down when the deadline is over, which ends whatever the conversation waits for.
        self.connections: list[Connection] = []

    def end(self) -> None:
        """Tell the conversation to stop."""
        self.is_over = True
        for connection in self.connections:
            if connection.sock is not None:
                from socket import SHUT_RDWR  # which takes long to import, for what speaks to no server

                with contextlib.suppress(OSError):
                    connection.sock.shutdown(SHUT_RDWR)


def call_within(seconds: float, call: Callable[[Deadline], T], *, grace: float = 0.0) -> T:
    """Return what `call` returns; TimeoutError after so many seconds, and `grace` more in which it can still succeed.

    The call runs in a thread: a socket's timeout bounds neither name resolution nor a server that sends a byte at a
    time. The thread is a daemon, which never keeps the process from ending.
    """
    from concurrent.futures import Future, wait  # which takes long to import

    result: Future[T] = Future()
    deadline = Deadline()

    def run() -> None:
        try:
            result.set_result(call(deadline))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
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
