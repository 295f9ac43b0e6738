"""What ends things: signals that end a run, or what a killed run has left; and a deadline for a conversation."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Protocol, TypeVar

from releaser.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path
    from types import FrameType


T = TypeVar("T")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does: by an exception, Interrupted."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let interrupts wait until the end of the block, where the first of them arrives.

    Blocking the signals would not do: the kernel then gives them to another thread, such as that of a spinner, and
    Python still runs the handler in the main thread.
    """
    came: list[int] = []
    try:
        with _handled(INTERRUPTS, lambda number, _: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
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
GRACE = 5.0  # seconds between SIGTERM and SIGKILL, in which git takes its lock files away
LAST = 5.0  # seconds after SIGKILL; a process that hangs in the kernel takes longer
POLL = 0.02  # seconds


def end_orphans(mark: str) -> bool:
    """End every process that carries the mark of a run; whether there was any. Those of other users are left alone."""

    def others() -> Iterator[int]:
        return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())

    found = False
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, LAST)):
        told: set[int] = set()
        ends_at = time.monotonic() + seconds
        while (orphans := {pid for pid in others() if _has(pid, mark)}) and time.monotonic() < ends_at:
            found = True
            for pid in orphans - told:
                _tell(pid, mark, number)
            told |= orphans
            time.sleep(POLL)
    return found


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process, and it has not ended yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def may_be_running(program: str, places: Collection[Path]) -> bool:
    """Tell whether a program of this user may be at work in or below any of these places.

    It has that name, or that and what follows a hyphen.
    """
    return any(_may_be(program, pid, places) for pid in os.listdir("/proc") if pid.isdigit())


def _may_be(program: str, pid: str, places: Collection[Path]) -> bool:
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


def _has(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    except OSError:  # it has just ended, or is another user's
        return False


def _tell(pid: int, mark: str, number: signal.Signals) -> None:
    """Signal one process, whose number may have been given away since it was found."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if _has(pid, mark):
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
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)


def call_within(seconds: float, call: Callable[[Deadline], T], *, grace: float = 0.0) -> T:
    """Return what `call` returns; TimeoutError after so many seconds, and `grace` more in which it can still succeed.

    The call runs in a thread: a socket's timeout bounds neither name resolution nor a server that sends a byte at a
    time. The thread is a daemon, which never keeps the process from ending.
    """
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
