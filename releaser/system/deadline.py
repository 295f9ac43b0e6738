"""A blocking conversation with a server, with one deadline for all of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


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
