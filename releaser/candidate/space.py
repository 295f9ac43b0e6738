"""Room on the disk: asked before a build, and named when it ran out."""

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
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if free < needed + MARGIN:
        missing = f"{format_bytes(needed + MARGIN - free)} more are needed"
        raise BuildError(_name_missing(directory, missing), "Free that much, then run it again.")
    if status.f_files and status.f_favail < inodes + _INODES:
        missing = f"{inodes + _INODES - status.f_favail} more inodes are needed"
        raise BuildError(_name_missing(directory, missing), "Delete files, then run it again.")


def _name_missing(directory: Path, missing: str) -> str:
    return f"The file system of {directory} ({find_mount(directory)}) has too little room: {missing}."


def explain_full_disk(directory: Path, error: ReleaserError | OSError) -> BuildError | None:
    """Return the error for a full disk, if that is why a program failed."""
    text = error.output if isinstance(error, ReleaserError) else str(error)
    if "No space left on device" not in text and "Disk quota exceeded" not in text:
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
