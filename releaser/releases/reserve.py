"""Room that is kept for the journal: a file that is deleted when the disk is full, so that there is some again."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

from releaser.durable import replace_file, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

RESERVE = "reserve"
SIZE = 16 * 1024  # bytes; one entry of the journal takes less than one


def keep_reserve(state_dir: Path) -> None:
    """See that the reserve is there, whole; on a disk that is full there is none until another run."""
    path = state_dir / RESERVE
    with contextlib.suppress(OSError):
        if path.stat().st_size == SIZE:
            return
    try:
        replace_file(path, os.urandom(SIZE))  # what a file system could compress would take no room
    except OSError as error:
        log.warning("no room can be kept for the journal: %s", error)


def free_reserve(state_dir: Path) -> None:
    """Give the room of the reserve, and its inode, to whatever is written next. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        (state_dir / RESERVE).unlink()
        sync_directory(state_dir)
