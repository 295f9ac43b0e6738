"""Room on the disk: asked before a build and before the checkout moves, and named when it ran out."""

from __future__ import annotations

import os
from pathlib import Path

from releaser.errors import BuildError, ReleaserError
from releaser.system.files import measure
from releaser.system.text import format_bytes

MARGIN = 16 << 20  # bytes that stay free
NEW_VENV = 64 << 20  # bytes for a venv of unknown size
_INODES = 500
_DIRECTORY = 4096  # bytes of a directory
#: How the system, and git for a write that is cut short, say that a disk is full.
_FULL = ("No space left on device", "Disk quota exceeded", "Out of diskspace")


def require_space(directory: Path, base: Path | None, *, clones: bool) -> None:
    """Raise BuildError if the file system has no room for a venv like `base`; a clone takes its directories alone."""
    if base is None:
        needed, inodes = NEW_VENV, _INODES
    else:
        directories = sum(len(names) for _, names, _ in os.walk(base))
        files = 0 if clones else sum(len(names) for _, _, names in os.walk(base))
        needed, inodes = (directories * _DIRECTORY if clones else measure(base)), directories + files
    require_room(directory, needed, inodes)


def require_room(directory: Path, needed: int = 0, inodes: int = 0) -> None:
    """Raise BuildError if the file system has no room for so many bytes and inodes, and a margin."""
    if missing := find_missing_room(directory, needed + MARGIN, inodes + _INODES):
        raise BuildError(missing, "Free that much, then run it again.")


def find_missing_room(directory: Path, needed: int, inodes: int) -> str:
    """Return a sentence about what a file system lacks for so many bytes and inodes; empty if it has the room."""
    status, missing = os.statvfs(directory), list[str]()
    free = status.f_bavail * status.f_frsize
    if free < needed:
        missing.append(f"{format_bytes(needed - free)} more are needed")
    if status.f_files and status.f_favail < inodes:
        missing.append(f"{inodes - status.f_favail} more inodes are needed")
    if not missing:
        return ""
    return f"The file system of {directory} ({find_mount(directory)}) has too little room: {' and '.join(missing)}."


def explain_full_disk(directory: Path, error: ReleaserError | OSError) -> BuildError | None:
    """Return the error for a full disk, if that is why a program failed."""
    text = error.output if isinstance(error, ReleaserError) else str(error)
    if not any(words in text for words in _FULL):
        return None
    status = os.statvfs(directory)
    left = f"{format_bytes(status.f_bavail * status.f_frsize)} and {status.f_favail} inodes are left"
    return BuildError(
        f"The file system of {directory} ({find_mount(directory)}) is full: {left}.",
        "Free space, then run it again.",
        output=text,
    )


def find_mount(path: Path) -> Path:
    """Return the mount point of the file system that holds a path."""
    place = path.resolve()
    while not os.path.ismount(place):
        place = place.parent
    return place
