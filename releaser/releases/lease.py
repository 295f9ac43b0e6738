"""Leases: files by whose locks everybody can see that a release is in use."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

LEASE = os.path.join("venv", "releaser.lease")  # in the venv, as processes find it from there


def take(directory: str) -> int:
    """Hold a shared lease on the release in `directory`; return the descriptor, which a program may inherit."""
    descriptor = open_lease(directory)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # by releaser, which then has the other kind as well, or by a stranger
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, flock_of(fcntl.F_RDLCK))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def flock_of(kind: int) -> bytes:
    """Return what fcntl(2) takes for a lock on a whole file: whoever may read a file can share it, and no more."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0)


def open_lease(directory: str) -> int:
    """Open the lease file, making one for the whole group to use if there is none.

    A release that has lost its venv is locked as a directory: nobody runs on it, but another releaser may be about to
    delete it.
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
    """Open a lease file, for writing if possible: NFS gives the exclusive lock to nobody else, see flock(2)."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:  # it belongs to somebody else, or the file system is read-only
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
