"""Tries what code in the sandbox of a site can reach, for `releaser check --sandbox`.

Each attempt has a real target: a service that listens for it, a file that is written. Sockets of other programs are
checked without a connection, which could end a service that waits for data. If no sandbox works, the same attempts run
without one, but nothing is written.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.candidate.sandbox import bounds_of_probe, hidden_from
from releaser.sandbox.choice import bubblewrap_of
from releaser.sandbox.sockets import list_listening
from releaser.system.frozen import Frozen
from releaser.system.process import Attempt, Sandbox
from releaser.system.temporary import temporary_directory
from releaser.system.venv_environment import neutral

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.site.site import Site

_SECONDS = 60.0
_BYTES = 4096  # of the shared memory
_PRIVATE, _REMOVE = 0o600 | 0o1000, 0  # shmget(2): IPC_CREAT; shmctl(2): IPC_RMID

# Reads the attempts from standard input, and prints the numbers of those that succeed.
_PROBE = """
import ctypes, json, os, socket, sys
known = json.load(sys.stdin)

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(5)
        one.connect(address)

def read(path):
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
        return file.read(1)

def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

def started(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[19]

def terminal(path):
    os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))
    return True

def memory(key):
    return ctypes.CDLL(None).shmget(key, 0, 0) >= 0

WAYS = {
    "tcp": lambda port: connect(socket.AF_INET, ("127.0.0.1", port)) is None,
    "abstract": lambda name: connect(socket.AF_UNIX, chr(0) + name) is None,
    "own socket": lambda path: connect(socket.AF_UNIX, path) is None,
    "socket": lambda one: [os.stat(one[0]).st_dev, os.stat(one[0]).st_ino] == one[1:] and os.access(one[0], os.W_OK),
    "read": read,
    "write": lambda path: write(path) is None,
    "process": lambda one: started(one[0]) == one[1],
    "terminal": terminal,
    "memory": memory,
}
for number, (way, value) in enumerate(known):
    try:
        reached = way in WAYS and WAYS[way](value)
    except (OSError, ValueError, IndexError):
        reached = False
    if reached:
        print(number, flush=True)
"""


class _Try(Frozen):
    """One attempt: its function in the probe, the argument, and, for a written file, the path where it would stay."""

    kind: str
    what: str
    way: str
    value: Any
    stays: Path | None = None


def try_sandbox(site: Site) -> tuple[Attempt, ...]:
    """Try what code in the sandbox of the tests can reach. Raises BuildError and ToolError."""
    bubblewrap = bubblewrap_of(site)
    with contextlib.ExitStack() as stack:
        tries = [*_tries(site, stack, writes=bubblewrap is not None)]
        outside = _reached(site, tries, Sandbox(), skips="write")
        # A target that this user cannot reach without the sandbox, either, proves nothing.
        tries = [one for number, one in enumerate(tries) if number in outside or one.way == "write"]
        sandbox = Sandbox()
        if bubblewrap is not None:
            sandbox = stack.enter_context(bubblewrap.sandbox(bounds_of_probe(site)))
        reached = _reached(site, tries, sandbox)
        found = []
        for number, one in enumerate(tries):
            is_reached = number in reached
            if one.stays is not None:  # a file may be written in the sandbox, but not stay
                is_reached = os.path.lexists(one.stays)
                with contextlib.suppress(OSError):
                    one.stays.unlink()  # its name is random
            found.append(Attempt(kind=one.kind, what=one.what, reached=is_reached))
    return tuple(found)


def _reached(site: Site, tries: list[_Try], sandbox: Sandbox, *, skips: str = "") -> set[int]:
    """Return the numbers of the attempts that succeed in the sandbox. Raises ToolError."""
    known = [("", "") if attempt.way == skips else (attempt.way, attempt.value) for attempt in tries]
    words = [sys.executable, "-I", "-c", _PROBE]
    env = {**neutral(dict(site.runner.environ)), **dict(sandbox.variables)}
    done = site.runner.run(
        words, cwd=Path("/"), env=env, timeout=_SECONDS, sandbox=sandbox, input=json.dumps(known).encode()
    )
    return {int(word) for word in done.stdout.split() if word.isdecimal()}


def _tries(site: Site, stack: contextlib.ExitStack, *, writes: bool) -> Iterator[_Try]:
    service = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    yield _Try(kind="network", what="a service on this host", way="tcp", value=service.getsockname()[1])
    name = f"releaser-{secrets.token_hex(8)}"
    abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
    abstract.bind(f"\0{name}")
    abstract.listen()
    yield _Try(kind="sockets", what="an abstract socket", way="abstract", value=name)
    listens = stack.enter_context(temporary_directory()) / "socket"
    own = stack.enter_context(socket.socket(socket.AF_UNIX))
    own.bind(str(listens))
    own.listen()
    yield _Try(
        kind="sockets", what=f"a socket of this user in {listens.parent.parent}", way="own socket", value=str(listens)
    )
    for path in list_listening():
        with contextlib.suppress(OSError):  # the socket was just deleted
            looked = os.stat(path)
            yield _Try(kind="sockets", what=path, way="socket", value=[path, looked.st_dev, looked.st_ino])
    outside = site.outside.project
    for file in (*hidden_from(site), outside.outer / ".env", outside.checkout):
        if os.path.exists(file):
            yield _Try(kind="files", what=f"read {file}", way="read", value=str(file))
    home = Path(site.runner.environ.get("HOME", "/nowhere"))
    for place in dict.fromkeys((outside.checkout, outside.outer, outside.state_dir, home)):
        if writes and os.access(place, os.W_OK):
            new = place / f".{name}"
            yield _Try(kind="files", what=f"write in {place}, to stay", way="write", value=str(new), stays=new)
        elif os.access(place, os.W_OK):
            yield _Try(kind="files", what=f"write in {place}, to stay", way="read", value=str(place))
    begun = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    yield _Try(kind="processes", what="a process of this user", way="process", value=[os.getpid(), begun])
    terminals = ["/dev/tty"]
    with contextlib.suppress(OSError):  # a host may have no terminals
        for end in os.openpty():
            stack.callback(os.close, end)
        terminals += [f"/dev/pts/{one}" for one in sorted(os.listdir("/dev/pts")) if one.isdigit()]
    for terminal in terminals:
        yield _Try(kind="terminals", what=terminal, way="terminal", value=terminal)
    libc, key = ctypes.CDLL(None), secrets.randbits(30) | 1
    memory = libc.shmget(key, ctypes.c_size_t(_BYTES), _PRIVATE)
    if memory >= 0:
        stack.callback(libc.shmctl, memory, _REMOVE, None)
        yield _Try(kind="memory", what="shared memory of another process", way="memory", value=key)
