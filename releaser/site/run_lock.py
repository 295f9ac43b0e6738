"""The lock of a site: one run at a time, and who it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from releaser.errors import LockedError, refuse
from releaser.site.site import Site
from releaser.system import signals
from releaser.system.files import private_mode, read_regular_file, set_aside
from releaser.system.proc import find_ticks
from releaser.system.run import Run, now

_LENGTH = 1024  # bytes that a lock says of its holder
_PAUSE, _UNNAMED = 0.05, 1.0  # seconds between two tries; for a holder to write its name, and for who only asks


class Running(msgspec.Struct, frozen=True):
    """The run that holds the lock, since when, and its newest step; empty if the lock does not say it."""

    command: str = ""
    pid: int | None = None
    since: datetime | None = None
    step: str = ""

    @property
    def title(self) -> str:
        """The command and its process, for people."""
        return f"`releaser {self.command}` (process {self.pid})"

    @property
    def sentence(self) -> str:
        """The run, with its time and step."""
        if self.pid is None:
            return "Another run of releaser holds the lock."
        step = f", step {self.step}" if self.step else ""
        return f"{self.title} has been running since {self.since:%Y-%m-%d %H:%M:%S} UTC{step}."


@contextlib.contextmanager
def hold_lock(site: Site, run: Run, wait: float, end: Callable[[Running], float] | None) -> Iterator[None]:
    """Hold the lock of the site, which names this run and its steps; it is deleted if `uninstall` was waited for.

    `end` may end the run that holds it, and returns how many seconds to wait for that, 0 if it goes on. Raises
    LockedError with who holds it since when, and PreflightError without flock.
    """
    path = site.paths.run_lock
    if path.is_symlink() or (path.exists() and not path.is_file()):
        aside = set_aside(path)
        run.note(f"`{path}` was no file. It is now `{aside}`.")
    lock = FileLock(path, timeout=0, mode=private_mode(path.parent), fallback_to_soft=False)
    _take(lock, path, run, wait, end)
    if not lock.is_locked:  # `uninstall` has deleted it
        yield
        return
    running, started = Running(run.command.name, os.getpid(), now()), find_ticks(os.getpid())

    def write(step: str) -> None:
        record = msgspec.json.encode((started, msgspec.structs.replace(running, step=step)))
        with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:  # a full disk ends no run
            file.write(record.ljust(_LENGTH))

    write("")
    run.listeners.append(lambda name, step: write(name) if step is None else None)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.truncate(path, 0)  # the next holder is never taken for this one
        lock.release()


def _take(lock: FileLock, path: Path, run: Run, wait: float, end: Callable[[Running], float] | None) -> None:
    """Take a lock, but for one that is deleted meanwhile. Raises LockedError and PreflightError."""
    if _try(lock, path):
        return
    with run.step("wait") as detail, open(path, "rb") as file:
        began, longest = time.monotonic(), None
        while os.fstat(file.fileno()).st_nlink and not _try(lock, path):
            running, elapsed = _read(path), time.monotonic() - began
            detail[:] = [f"for {running.title}"] if running is not None else detail
            if longest is None and (running is not None or elapsed >= _UNNAMED):
                longest = max(wait, end(running) if end is not None and running is not None else 0)
            if longest is not None and elapsed >= longest:
                running = running or Running()
                advice = "Run it again later, or with `--wait 600`."
                advice += f" `kill {running.pid}` ends that run." if running.pid else ""
                raise LockedError(f"{running.sentence} Nothing was changed.", advice)
            signals.wait(_PAUSE)


def _try(lock: FileLock, path: Path) -> bool:
    """Take a lock; False if another process holds it. Raises PreflightError without flock."""
    try:
        lock.acquire()
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        message = f"The lock `{path}` cannot be taken: {error}."
        raise refuse("no-lock-file", message, "Set `state_dir` to a local file system of this user.") from error
    return True


def find_running(path: Path) -> Running | None:
    """Return the run that holds a lock; None if none does, or if this user may not ask."""
    with contextlib.suppress(OSError), open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                running = _read(path)
            if running is not None or time.monotonic() - began >= _UNNAMED:
                return running or Running()
            signals.wait(_PAUSE)
    return None


def end_run(path: Path, pid: int) -> bool:
    """Ask the run that holds a lock to end; False if it is of another user, or is not that process any more."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)  # the number may be used again, the descriptor is not
        running = _read(path)
        if running is not None and running.pid == pid and os.stat(f"/proc/{pid}").st_uid == os.geteuid():
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            return True
    return False


def _read(path: Path) -> Running | None:
    """Return what a lock says of its holder; None if it says nothing, or that process has ended."""
    try:
        started, running = msgspec.json.decode(read_regular_file(path) or b"", type=tuple[int, Running])
    except (OSError, msgspec.MsgspecError):
        return None
    is_whole = running.pid is not None and running.since is not None and started > 0
    return running if is_whole and started == find_ticks(running.pid or 0) else None
