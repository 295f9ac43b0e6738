"""The project lock, which allows one run at a time, and the note of its holder."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING, Any

from releaser.errors import LockedError
from releaser.site.location import LOOKED
from releaser.system.file_lock import LockTimeoutError, open_locked
from releaser.system.files import LARGEST_STATE, read_file, state_mode
from releaser.system.frozen import Frozen, Mutable
from releaser.system.signals import end_orphans, is_alive
from releaser.system.state_files import StateFile, remove_if_empty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

DIRECTORY = "run"  # only the owner and the group may enter it
LOCK = f"{DIRECTORY}/lock"
HOLDER = f"{DIRECTORY}/lock.holder"
WAITING = f"{DIRECTORY}/if-due"  # the lock of the `update --if-due` that waits or runs
REQUESTS = f"{DIRECTORY}/requests"  # the lock of the run that takes requests
#: `uninstall` deletes this directory last, as it holds the lock.
RUN_FILE = StateFile(name=DIRECTORY, delete=lambda path: _delete_locks(path))
INTRODUCTION = 2.0  # seconds in which a run with the lock has written its note, also on a busy disk


class Holder(Frozen):
    """The holder of the lock: its process id, its command, and the time at which it began (ISO)."""

    pid: int
    command: str
    since: str

    @property
    def mark(self) -> str:
        """The mark in the environment of all programs that this run starts, unique to this run."""
        return f"{self.pid}@{self.since}"


class RunLock(Mutable):
    """The lock that this run holds.

    `killed_since` is the start of the previous run, in seconds since 1970, if it was killed, or of the first of several
    killed runs in a row; else None. The run sets it to None after it has cleaned up their leftovers; otherwise the next
    run gets the value too.
    """

    killed_since: float | None


def this_run(command: str, now: datetime) -> Holder:
    """Describe this process as a holder."""
    return Holder(pid=os.getpid(), command=command, since=now.isoformat(timespec="seconds"))


@contextlib.contextmanager
def acquire(state_dir: Path, *, command: str, now: datetime, wait: float = 0.0) -> Iterator[RunLock]:
    """Hold the project lock; wait at most `wait` seconds for it.

    The file is never deleted: two runs could otherwise hold locks on two files of the same name. Programs that a killed
    run left running are ended first. Raises LockedError, or OSError if the file cannot be created.
    """
    with contextlib.suppress(FileExistsError):
        (state_dir / DIRECTORY).mkdir()
        (state_dir / DIRECTORY).chmod(stat.S_IMODE(state_dir.stat().st_mode) & 0o2770)
    descriptor = _acquire(state_dir, wait)
    try:
        held = RunLock(killed_since=_end_left_programs(state_dir))
        try:
            _note(state_dir, this_run(command, now), held.killed_since)
            yield held
        finally:
            if held.killed_since is None:
                with contextlib.suppress(OSError):
                    (state_dir / HOLDER).unlink()
    finally:
        os.close(descriptor)


def _acquire(state_dir: Path, wait: float) -> int:
    if (descriptor := _try_to_acquire(state_dir, wait)) is not None:
        return descriptor
    ends_at = time.monotonic() + INTRODUCTION
    # A run that has just begun has not written its note yet, and a run that is about to end has deleted it.
    while (last := holder(state_dir)) is None or not is_alive(last.pid):
        if (descriptor := _try_to_acquire(state_dir, 0.01)) is not None:
            return descriptor
        if time.monotonic() > ends_at:
            break
    raise _make_locked_error(last, f"another run holds the lock of this project ({state_dir / LOCK})")


def _make_locked_error(last: Holder | None, message: str = "") -> LockedError:
    if last is not None:
        run = f"`releaser {last.command}` (pid {last.pid})"
        message = f"another run is in progress: {run} has held the lock of this project since {last.since}"
    return LockedError(
        message,
        "Try again when it has ended (`releaser status` shows it), or wait for it: `releaser update --wait 600`.",
    )


def _try_to_acquire(state_dir: Path, wait: float) -> int | None:
    try:
        return open_locked(state_dir / LOCK, mode=0o660, wait=wait)
    except LockTimeoutError:
        return None


def _end_left_programs(state_dir: Path) -> float | None:
    """End the programs of the last holder if it was killed: only a killed run leaves its note.

    Return the start of that run, by its note, or by the mtime of the note, which a power cut may have left empty; None
    if there is no note.
    """
    last = holder(state_dir)
    if last is not None:
        end_orphans(last.mark)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(_read_note(state_dir)["killed_since"])
    with contextlib.suppress(OSError):
        return (state_dir / HOLDER).stat().st_mtime
    return None


def _note(state_dir: Path, run: Holder, killed_since: float | None) -> None:
    before = {} if killed_since is None else {"killed_since": killed_since}
    with contextlib.suppress(OSError):  # on a full disk, the lock has no note
        # A killed run of another user leaves a note that this user could not overwrite.
        (state_dir / HOLDER).unlink(missing_ok=True)
        (state_dir / HOLDER).write_text(json.dumps({**vars(run), **before}), encoding="utf-8")
        (state_dir / HOLDER).chmod(state_mode(state_dir))


def holder(state_dir: Path) -> Holder | None:
    """Return the holder of the lock, by its note; None without a readable note."""
    try:
        note = _read_note(state_dir)
        return Holder(pid=int(note["pid"]), command=str(note["command"]), since=str(note["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_note(state_dir: Path) -> Any:
    return json.loads(read_file(state_dir / HOLDER, LARGEST_STATE))


def find_running(state_dir: Path) -> Holder | None:
    """Return the run that holds the lock now; None without any. Does not take the lock."""
    if not _is_held(state_dir / LOCK):
        return None
    return holder(state_dir) or Holder(pid=0, command="?", since="?")


def _is_held(lock: Path) -> bool:
    import fcntl

    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _delete_locks(directory: Path) -> None:
    for name in (LOOKED, HOLDER, WAITING, REQUESTS, LOCK):
        (directory.parent / name).unlink(missing_ok=True)
    remove_if_empty(directory)
