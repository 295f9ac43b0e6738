"""A process of an owner that has imported releaser, and forks for each site of that owner: only the first one waits.

Nothing of one owner is in a process of another: root starts each crew as that owner, in a new program.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import logging
import os
import select
import selectors
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any

from releaser.errors import ToolError
from releaser.fleet import learned
from releaser.fleet.sites_file import ListedSite
from releaser.site.location import find_project
from releaser.site.ownership import Ownership, is_unknown, name_of
from releaser.system import common
from releaser.system.files import remove_tree
from releaser.system.own_code import is_replaced
from releaser.system.process import PR_SET_PDEATHSIG, Forked, Runner
from releaser.system.signals import MOMENT
from releaser.system.temporary import PREFIX
from releaser.system.users import close_all_but, run_again_as

_CODE = """\
import sys
sys.argv[0] = "releaser"
from releaser.fleet.crew import become_run, end_quickly
become_run()
from releaser.__main__ import main
end_quickly(main)
"""
_BEGINS = 60.0  # seconds in which a forked process must have begun
_ENDED = 4  # bytes of a process id, and of a status


class CrewGoneError(ToolError):
    """The process that forks has ended, or cannot fork."""


class Crew:
    """Starts releaser for sites of one owner."""

    def __init__(self, server: socket.socket) -> None:
        self._server, self._lock = server, threading.Lock()

    def starter(self, words: Sequence[str], variables: Mapping[str, str]) -> Callable[[], Forked]:
        """Return the function that starts releaser with these words, and variables in addition to those of the crew.

        It raises CrewGoneError if the crew cannot start it.
        """

        def start() -> Forked:
            with contextlib.ExitStack() as stack:
                pipes = [os.pipe() for _ in range(2)]
                readers = [stack.enter_context(FileIO(read, "rb")) for read, _ in pipes]
                writers = [stack.enter_context(FileIO(write, "wb")) for _, write in pipes]
                own, reply = socket.socketpair()
                stack.enter_context(own)
                stack.enter_context(reply)
                request = json.dumps({"words": list(words), "variables": dict(variables)}).encode()
                try:
                    given = [*map(FileIO.fileno, writers), reply.fileno()]
                    with self._lock:
                        socket.send_fds(self._server, [len(request).to_bytes(_ENDED, "big")], given)
                        self._server.sendall(request)
                    reply.close()
                    own.settimeout(_BEGINS)
                    pid = int.from_bytes(_exactly(own, _ENDED), "big")
                except OSError as error:
                    message = f"the process that starts releaser for each site has ended: {error}"
                    raise CrewGoneError(message) from error
                for one in writers:
                    one.close()
                stack.pop_all()
            return Forked(pid=pid, reply=own, stdout=readers[0], stderr=readers[1])

        return start

    def has_ended(self) -> bool:
        """Return whether the crew has ended, or does in a moment, so that the status of its last runs is unknown."""
        poll = select.poll()
        poll.register(self._server, select.POLLIN)
        try:
            return bool(poll.poll(MOMENT * 1000)) and not self._server.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


class Crews:
    """The crews of some sites, one for each owner of more than one."""

    def __init__(self, crews: Mapping[int, Crew]) -> None:
        self._crews = crews

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, sites: Sequence[ListedSite], runner: Runner, environ: Callable[[Path], Mapping[str, str]]
    ) -> Iterator[Crews]:
        """Start a crew for each owner of more than one site, and end them after the block.

        The thread that calls this must outlive the block: crews end with it.
        """
        by_owner = dict[int, list[Path]]()
        for one in sites:
            if (owner := owner_of(one.path)) is not None:
                by_owner.setdefault(owner, []).append(one.path)
        crews = dict[int, Crew]()
        with contextlib.ExitStack() as stack:
            for owner, places in by_owner.items():
                if len(places) > 1:
                    argv = [sys.executable, "-P", "-c", _CODE, str(owner), str(_group_of(places[0]))]
                    with contextlib.suppress(ToolError):  # then each site has a new program, which reports the error
                        server = runner.connected(argv, cwd=Path("/"), env=environ(places[0]))
                        crews[owner] = Crew(stack.enter_context(server))
            yield cls(crews)

    def find(self, site: Path) -> Crew | None:
        """Return the crew of the owner of a site; None if it has none."""
        return self._crews.get(owner) if self._crews and (owner := owner_of(site)) is not None else None


def owner_of(site: Path) -> int | None:
    """Return the user as whom releaser runs for a site; None if unknown, which the run of the site reports."""
    try:
        root = find_project(os.path.realpath(site))
        owner = Ownership.of(root).owner if root else None
        if owner is None or os.stat(site).st_uid != owner or is_unknown(owner, "uid"):
            return None
    except OSError:
        return None
    if owner == os.geteuid():
        return owner
    return owner if not os.geteuid() and name_of(owner) else None  # without a name, each site decides the group


def _group_of(site: Path) -> int:
    status = os.stat(site)
    return status.st_gid or status.st_uid


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            message = "it closed the connection"
            raise ConnectionError(message)
        found += part
    return found


# In the crew


def become_run() -> None:
    """Fork for each request on standard input; return in the new process, as if releaser had been started with it.

    The crew itself exits at the end of standard input. root first becomes the owner that its words name.
    """
    owner, group = map(int, sys.argv[1:3])
    if owner != os.geteuid():
        sys.exit(run_again_as(owner, group, sys.argv[1:], os.environ, code=_CODE))
    import_module("releaser.commands")
    gc.collect()
    gc.freeze()
    server = socket.socket(fileno=os.dup(0))
    place = tempfile.mkdtemp(prefix=PREFIX)
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # so that no run takes it for a leftover
    common.begin(place)
    if _serve(server):
        with contextlib.suppress(OSError):
            remove_tree(Path(place))
        os._exit(0)


def end_quickly(main: Callable[[], object]) -> None:
    """Call `main`, and end the process without freeing each object, which would copy all that it shares first."""
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        learned.note()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


def _serve(server: socket.socket) -> bool:
    """Answer requests; return True at their end, and False in the process for one."""
    running = dict[int, tuple[int, socket.socket]]()  # by descriptors that become readable when the process ends
    ended = dict[int, tuple[int, socket.socket]]()  # by those of connections, which the one who asked closes at last
    crew = os.getpid()
    with selectors.DefaultSelector() as selector:
        selector.register(server.fileno(), selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == server.fileno():
                    if (received := _receive(server)) is None:
                        return True
                    request, files = received
                    if (pid := _fork(files)) is None:
                        continue
                    if not pid:
                        # Objects that close a descriptor later could close another one by then.
                        for each in (server, *(reply for _, reply in (*running.values(), *ended.values()))):
                            each.close()
                        selector.close()
                        _settle(request, files, crew)
                        return False
                    for file in files[:2]:
                        os.close(file)
                    descriptor = os.pidfd_open(pid)
                    running[descriptor] = pid, socket.socket(fileno=files[2])
                    selector.register(descriptor, selectors.EVENT_READ)
                elif key.fd in running:
                    selector.unregister(key.fd)
                    pid, reply = running.pop(key.fd)
                    os.close(key.fd)
                    _report(pid, reply)
                    ended[reply.fileno()] = pid, reply
                    selector.register(reply.fileno(), selectors.EVENT_READ)
                else:  # until now, the number of the process could not be used again
                    selector.unregister(key.fd)
                    pid, reply = ended.pop(key.fd)
                    reply.close()
                    os.waitpid(pid, 0)


def _fork(files: Sequence[int]) -> int | None:
    """Fork. If that is impossible, or releaser was replaced, close the files: a new program then runs for the site.

    An error would end this process, and so the runs of all other sites of the owner.
    """
    with contextlib.suppress(OSError):
        learned.get_ready()
        if not is_replaced():
            return os.fork()
    for file in files:
        os.close(file)
    return None


def _receive(server: socket.socket) -> tuple[Mapping[str, Any], list[int]] | None:
    """Return a request and the descriptors with it; None at the end of all requests."""
    try:
        size, files, _, _ = socket.recv_fds(server, _ENDED, 3)
        request = _exactly(server, int.from_bytes(size, "big")) if size else b""
    except ConnectionError:
        return None
    return (json.loads(request), files) if request else None


def _report(pid: int, reply: socket.socket) -> None:
    """Send the status of a process that has ended, which stays a zombie."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if found is not None:
        status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        with contextlib.suppress(OSError):
            reply.sendall(status.to_bytes(_ENDED, "big", signed=True))


def _settle(request: Mapping[str, Any], files: Sequence[int], crew: int) -> None:
    """Make this process like a program with these arguments and variables, and report its start."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != crew:
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, file in enumerate((nothing, *files[:2])):
        os.dup2(file, target)
    os.write(files[2], os.getpid().to_bytes(_ENDED, "big"))
    close_all_but()
    for name, errors in (("stdout", sys.stdout.errors), ("stderr", "backslashreplace")):  # as Python makes them
        stream = open(  # noqa: SIM115 - it lasts as long as the process
            ("stdin", "stdout", "stderr").index(name), "w", encoding=sys.stdout.encoding, errors=errors,
            buffering=1 if name == "stderr" else -1, closefd=False,
        )  # fmt: skip
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.environ.update(request["variables"])
    sys.argv = ["releaser", *request["words"]]
