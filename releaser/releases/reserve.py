"""Room for a rollback on a full disk: files that are deleted first and made again at the end."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from releaser.system.files import make_private_directory, private_mode, remove_path

FILES, SIZE = 16, 256 * 1024


def release_reserve(directory: Path) -> None:
    """Delete the files, and with them free 4 MiB and 16 inodes."""
    for number in range(FILES):
        with contextlib.suppress(OSError):
            (directory / str(number)).unlink()


def fill_reserve(directory: Path) -> bool:
    """Make the files; False if the disk has no room for them."""
    try:
        make_private_directory(directory)
        for number in range(FILES):
            path = directory / str(number)
            if not path.exists() or path.stat().st_size < SIZE:
                path.unlink(missing_ok=True)  # a disk that was full left it empty
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                descriptor = os.open(path, flags, private_mode(directory))
                try:
                    os.posix_fallocate(descriptor, 0, SIZE)
                finally:
                    os.close(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            if not directory.is_dir() or directory.is_symlink():
                remove_path(directory)
        return False
    return True
