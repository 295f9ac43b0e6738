"""The project lock: one run at a time, and a note of who holds it."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

LOCK = "lock"
HOLDER = "lock.holder"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds the lock: its process id, its command, and since when (ISO time)."""

    pid: int
    command: str
    since: str


@contextlib.contextmanager
def hold(state_dir: Path, *, command: str, now: datetime, wait: float = 0.0) -> Iterator[int]:
    """Hold the project lock and yield its descriptor, which children may inherit; wait at most `wait` seconds for it.

    The file is never deleted: two runs could otherwise hold locks on two files of the same name. Raises LockedError, or
    OSError when there can be no such file.
    """
    from filelock import FileLock, Timeout

    descriptors: list[int] = []
    lock = FileLock(
        state_dir / LOCK,
        timeout=wait,
        mode=0o664,
        fallback_to_soft=False,
        preserve_lock_file=True,
        on_acquired=descriptors.append,
    )
    try:
        lock.acquire()
    except Timeout as error:
        raise LockedError(_held_by(state_dir), advice="Wait for it to end, or see `releaser status`.") from error
    # filelock closes its own descriptor in every child that Python code prepares; a duplicate holds the same lock.
    lent = os.dup(descriptors[-1])
    try:
        _note(state_dir, command, now)
        yield lent
    finally:
        with contextlib.suppress(OSError):
            (state_dir / HOLDER).unlink()
        lock.release()
        os.close(lent)


def _note(state_dir: Path, command: str, now: datetime) -> None:
    note = {"pid": os.getpid(), "command": command, "since": now.isoformat(timespec="seconds")}
    with contextlib.suppress(OSError):  # on a full disk there is a lock without a note
        # A killed run of another user leaves a note that this user could not write over.
        (state_dir / HOLDER).unlink(missing_ok=True)
        (state_dir / HOLDER).write_text(json.dumps(note), encoding="utf-8")


def holder(state_dir: Path) -> Holder | None:
    """Return who holds the lock, by its note; None when there is none."""
    try:
        note = json.loads((state_dir / HOLDER).read_text(encoding="utf-8"))
        return Holder(pid=int(note["pid"]), command=str(note["command"]), since=str(note["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _held_by(state_dir: Path) -> str:
    found = holder(state_dir)
    if found is None:
        return f"another run holds the lock of this project ({state_dir / LOCK})"
    return f"`releaser {found.command}` (pid {found.pid}) has held the lock of this project since {found.since}"


def running(state_dir: Path) -> Holder | None:
    """Return who is running now; None when nobody holds the lock. Looks without taking it."""
    import fcntl

    try:
        descriptor = os.open(state_dir / LOCK, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return holder(state_dir) or Holder(pid=0, command="?", since="?")
    finally:
        os.close(descriptor)
    return None
