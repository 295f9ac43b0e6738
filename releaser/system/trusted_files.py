"""Files that control trust or that root runs: which other users could change or replace them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


def way_to(path: str) -> Iterator[str]:
    """Yield every directory and symlink on the way of an absolute path, and the path itself."""
    for place in (*map(str, reversed(Path(path).parents)), path):
        yield place
        if os.path.islink(place):
            yield from way_to(os.path.join(os.path.dirname(place), os.readlink(place)))


def find_other_writer(path: str | Path, owner: int | None = None) -> Finding | None:
    """Report that users other than root and its owner could write or replace a file; None if they cannot.

    The owner is this user, unless another one is given.

    A group counts as others. Each directory and symlink on the way is checked, too. A directory with the sticky bit,
    such as /tmp, is fine: there, users can only replace files that they own. Raises OSError.
    """
    file, user = os.path.abspath(path), os.geteuid() if owner is None else owner
    os.stat(file)  # raises OSError for a loop of symlinks
    for place in way_to(file):
        status = os.lstat(place)
        mode = status.st_mode
        if status.st_uid not in (0, user):
            message = f"{place} belongs to uid {status.st_uid}, and leads to {file}"
            return Finding("file-other-owner", message, f"Check it, then run `chown -h {user} {place}`.")
        if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            continue
        if mode & (stat.S_IWOTH | stat.S_IWGRP):
            leads = "" if place == file else f", and leads to {file}"
            message = f"{place} can be written by others (mode {stat.S_IMODE(mode):04o}){leads}"
            return Finding("file-open-to-others", message, f"Check it, then run `chmod go-w {place}`.")
    return None
