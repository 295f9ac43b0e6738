"""Files that control trust or that root runs: which other users could change or replace them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


_MAX_LINKS = 40  # as many as Linux follows: path_resolution(7)


def way_to(path: str, links: int = _MAX_LINKS) -> Iterator[str]:
    """Yield every directory and symlink on the way of an absolute path, and the path itself.

    Raises OSError if more than `links` symlinks lead from one to the next, as in a circle.
    """
    if links < 0:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    for place in (*map(str, reversed(Path(path).parents)), path):
        yield place
        if os.path.islink(place):
            yield from way_to(os.path.join(os.path.dirname(place), os.readlink(place)), links - 1)


def find_other_writer(path: str | Path, owner: int | None = None) -> Finding | None:
    """Report that users other than root and its owner could write or replace a file; None if they cannot.

    The owner is this user, unless another one is given.

    A group counts as others. Each directory and symlink on the way is checked, too: the kernel may refuse to follow a
    symlink of others (proc_sys_fs(5), protected_symlinks), which would not say whose it is. A directory with the sticky
    bit, such as /tmp, is fine: there, users can only replace files that they own. Raises OSError.
    """
    file, user = os.path.abspath(path), os.geteuid() if owner is None else owner
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
