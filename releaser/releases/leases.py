"""Who is using a release: processes that hold a shared lock on its lease file.

/proc cannot tell which venv a process runs from: the executable is the base Python, and pure Python maps no files.
Imports little, as `releaser list` needs it.
"""

from __future__ import annotations

import fcntl
import os

LEASE = "lease"


def take(directory: str) -> int:
    """Hold a shared lease on the release in `directory`; return the descriptor, which a program may inherit."""
    descriptor = _open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def _open(directory: str, mode: int) -> int:
    """Open the lease file, making one for the whole group to use if there is none."""
    path = os.path.join(directory, LEASE)
    try:
        return os.open(path, mode | os.O_CLOEXEC)
    except FileNotFoundError:
        descriptor = os.open(path, mode | os.O_CREAT | os.O_CLOEXEC, 0o664)
        os.chmod(path, 0o664)
        return descriptor


def claim(directory: str) -> int | None:
    """Take the exclusive lock that a deletion needs; return the descriptor, or None while anybody uses the release."""
    try:
        descriptor = _open(directory, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def holders(directory: str) -> list[int]:
    """Return the ids of the processes that hold a lease, from /proc/locks by the file's inode (proc(5))."""
    try:
        status = os.stat(os.path.join(directory, LEASE))
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.readlines()
    except OSError:
        return []
    wanted = (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    return sorted({pid for pid, place in map(_entry, lines) if place == wanted and pid > 0})


def _entry(line: str) -> tuple[int, tuple[int, int, int] | None]:
    """Parse `1: FLOCK  ADVISORY  WRITE 123 fe:00:456 0 EOF`; the numbers of the device are hexadecimal."""
    words = line.split()
    if len(words) < 6 or words[1] != "FLOCK":
        return 0, None
    major, minor, inode = words[5].split(":")
    return int(words[4]), (int(major, 16), int(minor, 16), int(inode))


def release(descriptor: int) -> None:
    """Give a lease or a claim back."""
    os.close(descriptor)
