"""Deletes a directory so that the file that identifies it goes last. No symlink on the way is followed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from releaser.system.files import open_up, remove_tree

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def delete_directory(directory: Path, *, last: str) -> None:
    """Delete a directory, and the file `last` in it last, so that the next run can finish an interrupted deletion.

    Raises OSError for the first file that cannot be deleted; everything else is deleted anyway. Neither the directory
    nor its parent may be a symlink.
    """
    import logging  # slow to import, and `releaser list`, which imports this module, does not log

    failed: list[OSError] = []
    with contextlib.ExitStack() as stack:
        above = _open(directory.parent, stack)
        open_up(directory.name, dir_fd=above)
        here = _open(directory.name, stack, dir_fd=above)
        logging.getLogger(__name__).info("deleting the contents of %s", directory)
        with os.scandir(here) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for child in entries:
            try:
                if child.is_dir(follow_symlinks=False):
                    remove_tree(Path(child.name), dir_fd=here)
                elif child.name != last:
                    os.unlink(child.name, dir_fd=here)
            except OSError as error:
                failed.append(OSError(error.errno, error.strerror, str(directory / str(error.filename or child.name))))
        if failed:
            raise failed[0]
        os.fsync(here)  # else a power cut could delete only the last file
        remove_tree(Path(directory.name), dir_fd=above)


def _open(directory: Path | str, stack: contextlib.ExitStack, *, dir_fd: int | None = None) -> int:
    descriptor = os.open(directory, _FLAGS, dir_fd=dir_fd)
    stack.callback(os.close, descriptor)
    return descriptor
