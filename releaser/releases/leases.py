"""Who is using a release: processes that hold a shared lock on its lease file.

/proc cannot tell which venv a process runs from: the executable is the base Python, and pure Python maps no files. So
the start-up module of a release holds a lease for each process; see `startup`. Imports little, as `releaser list` needs
it.
"""

from __future__ import annotations

import fcntl
import os

from releaser.releases import processes

LEASE = os.path.join("venv", "releaser.lease")  # in the venv, as processes find it from there

TYPE_CHECKING = False  # importing `typing` would cost more than all of this
if TYPE_CHECKING:
    from collections.abc import Callable

Locks = dict[tuple[int, int, int], list[int]]  # by device and inode of the file: the processes that took a flock


def take(directory: str) -> int:
    """Hold a shared lease on the release in `directory`; return the descriptor, which a program may inherit."""
    descriptor = _open(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(directory: str) -> int:
    """Open the lease file, making one for the whole group to use if there is none.

    A release that has lost its venv is locked as a directory: nobody runs on it, but another releaser may be about to
    delete it.
    """
    path = os.path.join(directory, LEASE)
    try:
        return _open_there(path)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        os.chmod(path, 0o664)
        return descriptor


def _open_there(path: str) -> int:
    """Open a lease file, for writing if possible: NFS gives the exclusive lock to nobody else, see flock(2)."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:  # it belongs to somebody else, or the file system is read-only
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def claim(directory: str) -> int | None:
    """Take the exclusive lock that a deletion needs; return the descriptor, or None while anybody uses the release."""
    try:
        descriptor = _open(directory)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def release(descriptor: int) -> None:
    """Give a lease or a claim back."""
    os.close(descriptor)


def is_used(directory: str) -> bool:
    """Whether anybody uses the release, whether it can be seen from here or not; writes nothing.

    For that, the lock is taken for a moment: a process that starts just then tries again.
    """
    return _probe(directory) is True


def _probe(directory: str) -> bool | None:
    """Tell whether the release is in use; None where that cannot be tried."""
    try:
        descriptor = _open_there(os.path.join(directory, LEASE))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)
    return False


def held() -> Locks:
    """Return who has which file locked, from /proc/locks (proc_locks(5))."""
    found: Locks = {}
    try:
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.readlines()
    except OSError:
        return found
    for line in lines:
        words = line.split()  # 1: FLOCK  ADVISORY  WRITE 123 fe:00:456 0 EOF; the device is hexadecimal
        if len(words) >= 6 and words[1] == "FLOCK":
            major, minor, inode = words[5].split(":")
            found.setdefault((int(major, 16), int(minor, 16), int(inode)), []).append(int(words[4]))
    return found


def once() -> Callable[[], Locks]:
    """Return a `held` that asks the kernel once, for questions about many releases."""
    kept: list[Locks] = []

    def locks() -> Locks:
        if not kept:
            kept.append(held())
        return kept[0]

    return locks


def holders(directory: str, locks: Callable[[], Locks] | None = None) -> list[int]:
    """Return the ids of the processes that use the release, of those that can be seen from here.

    The kernel names the process that took a lock. A child that was forked keeps the lock when that one has ended: then
    the mappings of all processes are searched. So they are where the kernel names the file by another device than
    stat(2) does, as with Btrfs.
    """
    try:
        if _probe(directory) is False:
            return []  # quickly: for /proc/locks, the kernel needs more than 10 ms
        status = os.stat(os.path.join(directory, LEASE))
    except OSError:
        return []
    place = (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    seen = (locks or held)()
    named = {pid for pid in seen.get(place, []) if pid > 0}
    alive = {pid for pid in named if processes.look(pid) is not None}
    if named - alive or (place not in seen and _is_elsewhere(status.st_ino, seen)):
        alive.update(processes.with_mapping(status.st_ino, os.path.basename(LEASE)))
    return sorted(alive)


def _is_elsewhere(number: int, locks: Locks) -> bool:
    """Whether a file with this inode number is locked on any device."""
    return any(inode == number for _, _, inode in locks)


def users(directory: str, locks: Callable[[], Locks] | None = None) -> list[processes.Process]:
    """Return the processes that use the release, of those that can be seen from here."""
    found = (processes.look(pid) for pid in holders(directory, locks))
    return [process for process in found if process is not None]
