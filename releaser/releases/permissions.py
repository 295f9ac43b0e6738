"""Group and mode of a release's files."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from releaser.system.files import NEW_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_GROUP = stat.S_IRGRP | stat.S_IWGRP
_OTHERS = stat.S_IROTH


def share(directory: Path, *, group: int, others: bool) -> None:
    """Give everything below `directory` to `group`, readable and writable for it; with `others`, readable for all.

    A cache that was filled under a strict umask leaves files in a venv that nobody else can read. A file that has
    another name somewhere, such as in uv's cache, is first replaced by a copy of its own. Raises OSError.
    """
    for path, status in _below(directory):
        if stat.S_ISLNK(status.st_mode):
            if status.st_gid != group:
                os.lchown(path, -1, group)
            continue
        if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            _separate(path)
            status = os.lstat(path)
        if status.st_gid != group:
            os.chown(path, -1, group)
        wanted = wanted_mode(status.st_mode, others=others)
        if wanted != stat.S_IMODE(status.st_mode):
            os.chmod(path, wanted)


def _below(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    yield str(directory), os.lstat(directory)
    for place, directories, files in os.walk(directory):
        for name in directories + files:
            path = os.path.join(place, name)
            yield path, os.lstat(path)


def wanted_mode(mode: int, *, others: bool) -> int:
    """Return the mode with `u+rw,g+rwX`, and `o+rX` if others may read."""
    bits = stat.S_IMODE(mode) | stat.S_IRUSR | stat.S_IWUSR | _GROUP | (_OTHERS if others else 0)
    if stat.S_ISDIR(mode) or mode & stat.S_IXUSR:
        bits |= stat.S_IXUSR | stat.S_IXGRP | (stat.S_IXOTH if others else 0)
    return bits & ~stat.S_IWOTH


def _separate(path: str) -> None:
    import shutil  # which takes long to import

    temporary = f"{path}.releaser-copy"
    try:
        shutil.copy2(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def others_may_read(directory: Path) -> bool:
    """Tell whether a directory is open to everybody, as the web server's user may be anybody."""
    return bool(directory.stat().st_mode & stat.S_IROTH)


def open_to_group(directory: Path) -> None:
    """Let the group read and write the files that lie in a directory itself, whatever the umask was."""
    for file in directory.iterdir():
        if file.is_file() and not file.is_symlink():
            with contextlib.suppress(PermissionError):  # it is another user's, who has opened it
                file.chmod(NEW_FILE)
