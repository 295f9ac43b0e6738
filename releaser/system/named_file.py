"""Writing the files that people name on the command line."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from releaser.system.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path


def write_named(file: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file as a whole, with the mode that it has or a new one gets; a device or a pipe is written to.

    One that is `private` is for its owner alone. None that root
    writes can be written by all. Raises OSError, also where root would write into everybody's directory.
    """
    place, is_root = os.path.realpath(file.parent), os.geteuid() == 0
    if is_root and os.stat(place).st_mode & stat.S_IWOTH:
        raise PermissionError(
            errno.EACCES, "everybody can write to its directory, where root writes nothing", str(file)
        )
    try:
        mode = os.lstat(file).st_mode
    except FileNotFoundError:
        mode = stat.S_IFLNK
    is_special = place == "/dev" or f"{place}/".startswith("/proc/")  # /dev/stdout is a symlink
    if is_special or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        follows = 0 if is_special else os.O_NOFOLLOW
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | follows), "wb") as stream:
            stream.write(data)
        return
    if stat.S_ISLNK(mode):
        os.umask(umask := os.umask(0o077))
        mode = 0o666 & ~umask
    replace_file(file, data, mode=0o600 if private else mode & (0o775 if is_root else 0o777))
