"""Locks on files that are never deleted: two runs could otherwise hold locks on two files of one name."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time

TYPE_CHECKING = False  # importing `typing` is slow, and each start of a program imports this module
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OFTEN = 0.05  # seconds between two attempts


class LockTimeoutError(Exception):
    """Another process holds the lock; it does not release it in time."""


def try_to_lock(descriptor: int) -> bool:
    """Take the lock of an open file, until the file is closed; return False if another process has it.

    Raises OSError.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_locked(path: Path | str, *, mode: int, wait: float = 0.0, every: float = _OFTEN) -> int:
    """Return the descriptor of a file whose lock this process holds until it closes the descriptor.

    A missing file is made, with these permissions whatever the umask. Waits at most `wait` seconds. Raises
    LockTimeoutError, and OSError, also for a symlink in the place of the file.
    """
    ends_at = time.monotonic() + wait
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            with contextlib.suppress(PermissionError):  # it belongs to another member of the group
                os.fchmod(descriptor, mode)
            while not try_to_lock(descriptor):
                if time.monotonic() >= ends_at:
                    raise LockTimeoutError(path)
                time.sleep(every)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the file was exchanged meanwhile, such as by `uninstall`


def _is_at(path: Path | str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False


@contextlib.contextmanager
def locked(path: Path | str, *, mode: int, wait: float = 0.0, every: float = _OFTEN) -> Iterator[None]:
    """Hold the lock of a file, as `open_locked` takes it."""
    descriptor = open_locked(path, mode=mode, wait=wait, every=every)
    try:
        yield
    finally:
        os.close(descriptor)
