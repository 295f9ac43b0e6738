"""Disk space reserved for an emergency: a rollback works on a disk without one free byte or inode.

The reserve is a file of allocated blocks and a directory of empty files. A run that must write on a full disk deletes
them first; a later run makes them again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from releaser.system.files import nearest_existing, remove_tree, state_mode, sync_directory
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from pathlib import Path

#: The file that reserves bytes, and the directory that reserves inodes.
RESERVE, INODES = FILES_OF_IT = tuple(
    StateFile(name=name, delete=lambda path: free_reserve(path.parent)) for name in ("reserve", "reserve-inodes")
)
#: The most bytes that a rollback writes, besides git's index: journal, ledger, log, mail, history, git's objects.
SIZE = 1 << 20
#: The most files that a rollback makes before it deletes others.
FILES = 48
_SMALLEST = 64 * 1024  # bytes; a smaller reserve is useless


def keep_reserve(state_dir: Path, extra: int = 0) -> None:
    """Make the reserve, plus `extra` bytes, or as much of it as fits on the disk. Never raises for a full disk."""
    with contextlib.suppress(OSError):
        _keep_bytes(state_dir / RESERVE, SIZE + extra)
        _keep_inodes(state_dir / INODES)


def is_full(state_dir: Path) -> bool:
    """True if the space may be too small for a rollback: by the free space, or because a quota refuses more."""
    if has_little_left(state_dir):
        return True
    probe = state_dir / f".{RESERVE}.new"
    try:
        _allocate(probe, SIZE)
    except OSError:
        return True
    finally:
        probe.unlink(missing_ok=True)
    return False


def has_little_left(place: Path) -> bool:
    """True if a file system has less free space than a rollback may need; nothing is written. Raises OSError."""
    place = nearest_existing(place)
    found = os.statvfs(place)
    return free_bytes(place) < SIZE or (found.f_files > 0 and found.f_favail < FILES)


def free_bytes(place: Path) -> int:
    """Return the bytes that this user may still write there, ignoring quotas. Raises OSError."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def make_room(state_dir: Path) -> bool:
    """Free the reserve if the disk is full; return whether it was. Raises OSError if the directory is gone."""
    if not is_full(state_dir):
        return False
    _warn("the disk of %s is full: freeing the reserve", state_dir)
    free_reserve(state_dir)
    return True


def free_reserve(state_dir: Path) -> None:
    """Delete the reserve."""
    with contextlib.suppress(OSError):
        (state_dir / RESERVE).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        remove_tree(state_dir / INODES)
    with contextlib.suppress(OSError):
        sync_directory(state_dir)


def _keep_bytes(path: Path, size: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if found.st_size >= size and found.st_blocks * 512 >= size:
            return
        path.unlink()
    while size >= _SMALLEST:
        try:
            _allocate(path, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            _warn("%d bytes cannot be reserved for an emergency: %s", size, error)
            size //= 2
        else:
            return


def _keep_inodes(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    directory.chmod(state_mode(directory.parent) | 0o110)
    existing = set(os.listdir(directory))
    for name in {f"{number}" for number in range(FILES)} - existing:
        _allocate(directory / name, 0)


def _allocate(path: Path, size: int) -> None:
    """Make a file of allocated blocks. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        os.fchmod(descriptor, state_mode(path.parent))
        if size:
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def _warn(message: str, *values: object) -> None:
    import logging  # slow to import for `releaser list`

    logging.getLogger(__name__).warning(message, *values)
