"""The part of the start-up module that few processes need: for gunicorn, sub-interpreters, and test runs.

`_releaser_pin.py`, which lies in the same directory of a release, imports it where it is needed.
"""

import os
import sys

_LEASE, _REEXECUTED, _GUNICORN = "releaser.lease", "_RELEASER_PINNED", "GUNICORN_PID"  # as in the other module
_STARTED_IN = "_RELEASER_STARTED_IN"  # the directory in which a gunicorn was started, for the one that it executes
_FIRST_SOCKET = 3  # sd_listen_fds(3)
_TITLE = b"gunicorn: master"  # with the package `setproctitle`, this overwrites its variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def is_sub_interpreter() -> bool:
    """True if this is a sub-interpreter, as of mod_wsgi: no program has been executed for it."""
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    try:
        interpreters = __import__(name)
    except ImportError:
        return False
    return bool(interpreters.get_current() != interpreters.get_main())


def run_live_gunicorn(real: str, command_line: "Sequence[str]") -> None:
    """Execute a second gunicorn once more, through the symlink by which the first was started: from the live release.

    The parent of this process has started it. gunicorn executes its own Python, which is pinned to the release of the
    first one. The listening sockets, which are inherited, and the process id stay.
    """
    if not _is_second_gunicorn(real, command_line):
        return
    if os.path.isdir(place := os.environ.get(_STARTED_IN, "")):
        os.chdir(place)
    words = list(command_line)
    while words and not words[-1]:  # after the last NUL of /proc/self/cmdline
        words.pop()
    came_by = os.environ.pop(_REEXECUTED, "").partition(" ")[2].partition(" ")[2].partition(" " + real)[0]
    if not sys.executable.startswith(real + "/"):
        came_by = sys.executable
    link = os.path.dirname(os.path.dirname(came_by or words[1]))
    python = os.path.join(link, "bin", "python")
    if not os.path.islink(link) or not os.path.exists(os.path.join(link, _LEASE)):
        return
    script, rest = words[1], words[2:]
    _place_sockets()
    if os.path.basename(script) == "__main__.py":
        os.execv(python, [python, "-m", os.path.basename(os.path.dirname(script)), *rest])  # noqa: S606
    elif script.startswith(real + "/"):
        script = link + script[len(real) :]
    os.execv(python, [python, script, *rest])  # noqa: S606


def _is_second_gunicorn(real: str, command_line: "Sequence[str]") -> bool:
    """True if this is the gunicorn that its parent, on SIGUSR2, has executed from its own release.

    A module is executed as a script then, which would put the directory of gunicorn into `sys.path`.
    """
    return (sys.executable or "").startswith(real + "/") or "__main__.py" in "".join(command_line[1:2])


def _place_sockets() -> None:
    """Put the sockets of systemd where a second gunicorn looks for them: the first one passes on only their number."""
    count = int(os.environ.get("LISTEN_FDS") or 0) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    found = [number for number in map(int, os.listdir("/proc/self/fd")) if count and _listens(number)]
    if len(found) != count:
        return
    import fcntl

    places = range(_FIRST_SOCKET, _FIRST_SOCKET + count)
    copies = [fcntl.fcntl(number, fcntl.F_DUPFD, places.stop) for number in found]
    for number in found:
        os.close(number)
    for copy, place in zip(copies, places):  # noqa: B905 - not before Python 3.10
        os.dup2(copy, place)
        os.close(copy)


def _listens(number: int) -> bool:
    """True if a descriptor is a listening socket."""
    import socket

    try:
        found = socket.socket(fileno=number)
    except OSError:
        return False
    try:
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        found.detach()


def begin_gunicorn() -> None:
    """Prepare a gunicorn for its successor, which it executes where `--chdir` has led it."""
    try:
        os.environ[_STARTED_IN] = os.path.abspath(".")
    except OSError:  # it is deleted
        os.environ.pop(_STARTED_IN, None)
    if "NOTIFY_SOCKET" in os.environ:
        import atexit

        atexit.register(introduce_successor, os.getpid())


def introduce_successor(pid: int) -> None:
    """Name to systemd the gunicorn that this process has executed: the main process of the service from now on."""
    if os.getpid() != pid:  # a worker
        return
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                is_child = file.read().rpartition(b")")[2].split()[1] == b"%d" % pid
            if not is_child:
                continue
            with open(f"/proc/{name}/environ", "rb") as file:
                is_named = b"%s=%d" % (_GUNICORN.encode(), pid) in file.read().split(b"\0")
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if not is_named and not file.read().startswith(_TITLE):
                    continue
        except OSError:
            continue
        import socket

        place = os.environ["NOTIFY_SOCKET"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"MAINPID=" + name.encode(), "\0" + place[1:] if place.startswith("@") else place)


def watch_end(place: str) -> None:
    """Record that this process, the first of a test run, has begun, and later that it ends in the normal way of Python.

    `os._exit`, which a package could call on its import, ends it without a record. An exec counts as an end, as the
    new program may not be Python.
    """
    own, ended = str(os.getpid()), os.path.join(place, "ended")
    try:
        with open(os.path.join(place, "began"), "x") as file:
            file.write(own)
    except FileExistsError:
        descriptor = os.open(os.path.join(place, "began"), os.O_RDONLY | os.O_NONBLOCK)
        try:
            if os.read(descriptor, len(own) + 1).decode() != own:  # this is a child
                return
        finally:
            os.close(descriptor)
        os.unlink(ended)

    def note() -> None:
        if str(os.getpid()) == own:
            os.close(os.open(ended, os.O_WRONLY | os.O_CREAT, 0o600))

    def noting(replace: "Callable[..., Any]") -> "Callable[..., Any]":
        def replaced(*given: "Any") -> "Any":
            note()
            try:
                return replace(*given)
            finally:  # exec has failed
                os.unlink(ended)

        return replaced

    import atexit

    atexit.register(note)
    os.execv, os.execve = noting(os.execv), noting(os.execve)
