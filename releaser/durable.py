"""Writing state so that a crash at any moment leaves the old content or the new, never a mixture."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NEW_FILE = 0o664


class UnreadableStateError(Exception):
    """A state file is there, but is not what releaser wrote: truncated, garbage, or of a later version."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def sync_directory(directory: Path) -> None:
    """Make renames and removals in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Flush the whole file system that holds `path`: far cheaper than an fsync a file for a whole venv."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc().syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def replace_file(target: Path, data: bytes, *, staging: Path | None = None) -> None:
    """Put `data` at `target` by a rename, keeping the mode and group that `target` has.

    The temporary file lies in `staging` (default: beside `target`), which must be on the same file system; a checkout
    is thus never seen with a stray file in it.
    """
    temporary = (staging or target.parent) / f".{target.name}.new"
    clear_name(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            _take_over_attributes(file.fileno(), target)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(target.parent)


def _take_over_attributes(descriptor: int, target: Path) -> None:
    try:
        earlier = target.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, NEW_FILE)  # whatever the umask is: other members of the group go on from here
        return
    with contextlib.suppress(PermissionError):  # the group may be one that this user is not in
        os.fchown(descriptor, -1, earlier.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(earlier.st_mode))


def replace_symlink(link: Path, target: str, *, staging: Path) -> None:
    """Let `link` lead to `target` by one rename; the old link answers until the new one does."""
    temporary = staging / f".{link.name}.new"
    clear_name(temporary)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(link.parent)


def exchange(first: Path, second: Path) -> bool:
    """Swap two directory entries atomically; False where the file system cannot (renameat2(2), RENAME_EXCHANGE)."""
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def write_json(path: Path, content: Mapping[str, Any], *, version: int = 1) -> None:
    """Replace a state file; `version` says which form of the file this is."""
    replace_file(path, encoded(content, version=version))


def encoded(content: Mapping[str, Any], *, version: int = 1) -> bytes:
    """Return the bytes of a state file."""
    text = json.dumps({"version": version, **content}, indent=1, ensure_ascii=False)
    # Bytes of a path that are not UTF-8 become escapes that JSON knows.
    return text.encode(errors="backslashreplace") + b"\n"


def read_json(path: Path, *, version: int = 1) -> dict[str, Any] | None:
    """Read a state file; None when there is none.

    Raises UnreadableStateError for anything that `write_json` of this version cannot have written.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except IsADirectoryError as error:
        raise UnreadableStateError(path, "a directory") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableStateError(path, f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UnreadableStateError(path, "not a JSON object")
    if content.get("version") != version:
        raise UnreadableStateError(path, f"version {content.get('version')!r} is not known here")
    return content


def check_types(content: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """See that each of these is there and of its kind; KeyError or TypeError otherwise."""
    for name, kind in kinds.items():
        if not isinstance(content[name], kind):
            message = f"{name} is {content[name]!r:.60}"
            raise TypeError(message)


def check_texts(values: Iterable[Any]) -> None:
    """See that these are strings; TypeError otherwise."""
    for value in values:
        if not isinstance(value, str):
            message = f"{value!r:.60} is no text"
            raise TypeError(message)


def put_aside(path: Path) -> Path:
    """Keep a state file that cannot be read under another name, for a person to look at."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.unreadable-{number}")):
        number += 1
    path.rename(aside)
    sync_directory(path.parent)
    return aside


def clear_name(path: Path) -> None:
    """Free the name of a temporary file, whatever stands there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if path.is_symlink() or not path.is_dir():
            raise
        shutil.rmtree(path)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
