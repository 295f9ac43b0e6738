"""Leases: locked files that show every process that a release is in use."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

LEASE = os.path.join("venv", "releaser.lease")  # in the venv, where its processes find it


def take(directory: str) -> int:
    """Hold a shared lease on the release in `directory`; return the descriptor, which a program may inherit."""
    descriptor = open_lease(directory)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # releaser holds the lock, and then the other kind too; or a stranger does
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, flock_of(fcntl.F_RDLCK))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def flock_of(kind: int) -> bytes:
    """Return the `struct flock` of fcntl(2) for a whole file. A reader of the file can only take a shared lock."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def open_lease(directory: str) -> int:
    """Open the lease file; if it is missing, create one that the whole group can use.

    If the release has lost its venv, open its directory instead: no process runs on it, but another releaser may be
    about to delete it.
    """
    path = os.path.join(directory, LEASE)
    try:
        return open_there(path)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(path)):
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mode = 0o644 | (os.stat(os.path.dirname(path)).st_mode & stat.S_IWGRP)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        os.chmod(path, mode)
        return descriptor


def open_there(path: str) -> int:
    """Open a lease file, for writing if possible: NFS gives exclusive locks only to writers, see flock(2)."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:  # it belongs to another user, or the file system is read-only
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
