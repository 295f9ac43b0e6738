"""Deletes a directory in an order: what tells whose it is goes last."""

from __future__ import annotations

import os
from pathlib import Path

from releaser.system.files import open_up, remove_tree, sync_directory


def delete_directory(directory: Path, *, last: str) -> None:
    """Delete a directory, the file `last` in it when nothing else is left: the next run knows what a killed one leaves.

    Raises OSError for the first file that resists; everything else is deleted anyway.
    """
    failed: list[OSError] = []
    open_up(directory)
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for one in entries:
        try:
            if one.is_dir(follow_symlinks=False):
                remove_tree(Path(one.path))
            elif one.name != last:
                os.unlink(one.path)
        except OSError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    sync_directory(directory)  # else a power cut could take the last file alone
    remove_tree(directory)
