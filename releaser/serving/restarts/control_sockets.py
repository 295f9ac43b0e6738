"""Keeps unix sockets of a server while another instance of it starts or ends, such as that for the control of gunicorn.

Both instances make it at the same path. The one that ends deletes that path, even if the other one listens there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.tools.web import connect_unix, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

_POLL, _MOMENT = 0.05, 1.0  # seconds
_CONNECTS = 1.0  # seconds for a connection
_CREDENTIALS = struct.Struct("3i")  # process, user and group (unix(7))


@contextlib.contextmanager
def hold_sockets(pid: int, wanted: Collection[str] = ()) -> Iterator[Callable[[], None]]:
    """Hold the unix sockets on which a process listens, by another name of each file.

    Yields a function that gives each its path again, if that is gone. So does the end of the block, also if nothing
    listens there any more. Waits a moment for those at the `wanted` paths: gunicorn makes one after its workers.
    """
    ends_at = time.monotonic() + _MOMENT
    while not (paths := list_sockets(pid)).issuperset(wanted) and time.monotonic() < ends_at:
        time.sleep(_POLL)
    held = {}
    for path in paths:
        with contextlib.suppress(OSError):
            if listener_of(path) == pid:
                os.link(path, name := f"{path}.releaser-{pid}")
                held[name] = path

    def restore(*, at_end: bool = False) -> None:
        for name, path in held.items():
            with contextlib.suppress(OSError):
                is_dead = at_end and Path(path).is_socket() and not listens(Path(path))  # of a process that was killed
                if (is_dead or not os.path.lexists(path)) and path in list_sockets(pid):
                    os.link(name, temporary := f"{name}.new")
                    Path(temporary).rename(path)

    try:
        yield restore
    finally:
        restore(at_end=True)
        for name in held:
            with contextlib.suppress(OSError):
                os.unlink(name)


def listener_of(path: str) -> int:
    """Return the process that listens on a unix socket; 0 if that is none, or unknown."""
    try:
        with connect_unix(path, _CONNECTS) as connection:
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except (OSError, ValueError):
        return 0
    process, _, _ = _CREDENTIALS.unpack(found)
    return int(process)


def list_sockets(pid: int) -> set[str]:
    """Return the paths of the unix sockets on which a process listens."""
    from releaser.serving.servers import listening_sockets, sockets_of  # it imports the restart methods

    found = listening_sockets()
    return {found[inode] for inode in sockets_of(pid) & found.keys() if found[inode].startswith("/")}
