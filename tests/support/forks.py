"""Runs of `releaser` that do not wait for an interpreter: each is a fork of a process that has imported it already.

A run is a process like any other, with its own session, signals, files and environment; only what Python does before
the first line of `releaser` is done once for all. Where that matters (another user, variables that Python reads as it
starts, a `releaser` that is not the one of the tests), the installed command is started instead.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_LOCALE = "C.UTF-8"
_MOST_FILES = 65536  # that the process which is forked has open
_READ_AT_START = ("PYTHON", "COVERAGE_", "COV_CORE_", "LD_")  # variables that the interpreter or its loader read
_USED_LATE = (
    "jinja2", "rich.console", "rich.table", "rich.progress", "email.mime.text", "smtplib", "http.client",
    "dotenv", "importlib.metadata", "packaging.metadata", "zipfile", "_strptime",
)  # fmt: skip
_FOR_OTHERS = ("_probe", "_releaser_pin", "_releaser_pin_rare", "__main__")  # modules that other interpreters run


class Fork:
    """A run of `releaser` in progress, the leader of its session and process group."""

    def __init__(self, words: Sequence[str], *, cwd: Path, env: Mapping[str, str], files: Sequence[int]) -> None:
        mask = os.umask(0)
        os.umask(mask)
        request = json.dumps({"words": list(words), "cwd": str(cwd), "env": dict(env), "umask": mask}).encode()
        self._answers = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._answers.connect(_server())
        socket.send_fds(self._answers, [len(request).to_bytes(4, "big")], list(files))
        self._answers.sendall(request)
        self.pid = int.from_bytes(_exactly(self._answers, 4), "big")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the status, negative for a signal; TimeoutError after so many seconds."""
        self._answers.settimeout(timeout)
        status = int.from_bytes(_exactly(self._answers, 4), "big", signed=True)
        self.close()
        return status

    def close(self) -> None:
        """Wait no more."""
        self._answers.close()


def can_fork(words: Sequence[str], script: Path, env: Mapping[str, str]) -> bool:
    """Whether a run of these words comes to the same if it is forked."""
    plain = env.get("LC_ALL") == _LOCALE and not any(name.startswith(_READ_AT_START) for name in env)
    return plain and words[0] == str(script)


@cache
def _server() -> str:
    """Start the process that is forked, once for each process of pytest, and return its socket."""
    place = tempfile.mkdtemp(prefix="forks-")
    ready, told = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forks", f"{place}/socket", str(told)],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.defpath, "LC_ALL": _LOCALE},
        stdin=subprocess.PIPE,  # whose end tells it that nobody needs it any more
        pass_fds=[told],
        start_new_session=True,
    )
    os.close(told)
    with open(ready, "rb") as waiting:
        waiting.read(1)
    atexit.register(_end, process, place)
    return f"{place}/socket"


def _end(process: subprocess.Popen[bytes], place: str) -> None:
    process.kill()
    process.wait()
    with contextlib.suppress(OSError):
        Path(place, "socket").unlink()
        Path(place).rmdir()


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            message = "the process that forks has gone"
            raise ConnectionError(message)
        found += part
    return found


def _serve(place: str, told: int) -> None:
    """Answer requests until standard input is closed: the id of the process at once, its status at its end."""
    import_all()
    for name in _USED_LATE:
        importlib.import_module(name)
    importlib.import_module("releaser.reporting.mail").templates()
    gc.collect()
    gc.freeze()  # what each run shares is neither looked through nor copied by it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(place)
    listener.listen()
    os.write(told, b"1")
    os.close(told)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:
                return
            if key.fileobj is listener:
                connection, _ = listener.accept()
                pid = _fork(connection, [listener.fileno()])
                connection.sendall(pid.to_bytes(4, "big"))
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
            else:
                selector.unregister(key.fileobj)
                os.close(key.fd)
                _tell_end(*key.data)


def import_all() -> list[ModuleType]:
    """Import all of releaser that its own interpreter runs."""
    import releaser

    names = [one.name for one in pkgutil.walk_packages(releaser.__path__, "releaser.")]
    return [importlib.import_module(name) for name in names if not name.endswith(_FOR_OTHERS)]


def _tell_end(pid: int, connection: socket.socket) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with connection, contextlib.suppress(OSError):  # who asked may have gone
        connection.sendall(status.to_bytes(4, "big", signed=True))


def _fork(connection: socket.socket, others: Sequence[int]) -> int:
    head, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = json.loads(_exactly(connection, int.from_bytes(head, "big")))
    pid = os.fork()
    if pid == 0:
        try:
            _become(request, files)
        except BaseException:  # noqa: BLE001 - nothing of this may come back to the server
            traceback.print_exc()
        os._exit(70)
    for file in files:
        os.close(file)
    return pid


def _become(request: Mapping[str, Any], files: Sequence[int]) -> NoReturn:
    """Be what the request asks for: the installed command, as if an interpreter had just been started for it."""
    os.setsid()
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.closerange(3, _MOST_FILES)
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv = list(request["words"])
    sys.modules["__main__"].__spec__ = sys.modules["__main__"].__package__ = None  # by which click names the command
    sys.path[0] = os.path.dirname(sys.argv[0])
    for name, mode, errors in (
        ("stdin", "r", "surrogateescape"), ("stdout", "w", "surrogateescape"), ("stderr", "w", "backslashreplace"),
    ):  # fmt: skip
        raw = io.FileIO(("stdin", "stdout", "stderr").index(name), mode, closefd=False)
        buffer = io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw)
        setattr(sys, name, io.TextIOWrapper(buffer, "utf-8", errors, line_buffering=name == "stderr"))
    from releaser.__main__ import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - as an interpreter does at its end
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
        code = 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
