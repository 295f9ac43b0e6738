"""Durable writes: after a crash at any moment a file has its old content or the new, never a mixture."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from releaser.system.signals import check_signals

T = TypeVar("T")

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2)
LARGEST_STATE = 16 << 20  # bytes; a state file that is larger is not ours
DEEPEST, LONGEST_PATH = 100, 3000  # directories in each other, and bytes, of what is walked through
FULL = (errno.ENOSPC, errno.EDQUOT)


class BrokenFileError(OSError):
    """A state file exists, and releaser cannot have written it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, str(path))

    def __str__(self) -> str:
        """Return the path, and why it cannot be read."""
        return f"{self.filename}: {self.strerror}"


def sync_directory(directory: Path) -> None:
    """Make renames and deletions in a directory survive a power cut. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Flush the file system that holds `path`: far cheaper than an fsync of each file of a venv. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def name_temporary(target: Path) -> Path:
    """Return the path under which a file or link is made before a rename puts it in its place."""
    return target.with_name(f".{target.name}.releaser.new")


def is_temporary(name: str) -> bool:
    """Return True for the name of a file that was about to be renamed."""
    return name.startswith(".") and name.endswith(".releaser.new")


def private_mode(directory: Path) -> int:
    """Return the mode of a new file of the state: for the owner, or the group that shares the directory."""
    return 0o660 if directory.stat().st_mode & 0o020 else 0o600


def make_private_directory(path: Path) -> None:
    """Make a directory of the state, if it does not exist, with the mode that `private_mode` gives. Raises OSError."""
    if not path.is_dir():
        path.mkdir()
        path.chmod(0o2770 if private_mode(path.parent) == 0o660 else 0o700)


def replace_file(target: Path, data: bytes, *, mode: int | None = None) -> None:
    """Put `data` at `target` by a rename, with a mode, by default that of the state. Raises OSError."""
    replace_files({target: data}, mode=private_mode(target.parent) if mode is None else mode)


def replace_files(contents: Mapping[Path, bytes], *, mode: int) -> None:
    """Put each content at its path by a rename, once all are on the disk: a full one changes none. Raises OSError."""
    temporaries = {target: name_temporary(target) for target in contents}
    try:
        for target, temporary in temporaries.items():
            remove_path(temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(contents[target])
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
        for target, temporary in temporaries.items():
            os.rename(temporary, target)
    except BaseException:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise
    for directory in {target.parent for target in contents}:
        sync_directory(directory)


def replace_symlink(link: Path, text: str) -> None:
    """Let `link` point to `text` by one rename. Raises OSError."""
    temporary = name_temporary(link)
    remove_path(temporary)
    os.symlink(text, temporary)
    try:
        os.rename(temporary, link)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(link.parent)


def exchange(first: Path, second: Path) -> None:
    """Swap two directory entries atomically (renameat2 with RENAME_EXCHANGE). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(first), None, str(second))
    sync_directory(first.parent)
    sync_directory(second.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a state file. Raises OSError."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def read_json(path: Path, kind: type[T]) -> T | None:
    """Return the content of a state file; None without one.

    Raises BrokenFileError for anything that `write_json` cannot have written: a directory, a pipe, a symlink, a huge or
    unreadable file, other JSON.
    """
    data = read_regular_file(path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BrokenFileError(path, f"not a state file of releaser ({error})") from error


def read_regular_file(path: Path, *, is_log: bool = False) -> bytes | None:
    """Return the bytes of a file, None without one; the end of a large one that `is_log`.

    Raises BrokenFileError for anything else at that path.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenFileError(path, error.strerror or str(error)) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or (status.st_size > LARGEST_STATE and not is_log):
        os.close(descriptor)
        raise BrokenFileError(path, "not a regular file, or larger than 16 MiB")
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(0, status.st_size - LARGEST_STATE))
        return file.read(LARGEST_STATE)


def set_aside(path: Path) -> Path:
    """Rename something that releaser cannot read to `NAME.broken`, for a person to look at. Raises OSError."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.broken" + (f"-{number}" if number > 1 else ""))):
        number += 1
    os.rename(path, aside)
    sync_directory(path.parent)
    return aside


def remove_path(path: Path) -> None:
    """Delete a file, a link or a whole directory, read-only directories included. Raises OSError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if path.is_symlink() or not path.is_dir():
            raise
        shutil.rmtree(path, onerror=_make_writable)


def _make_writable(function: Any, path: str, error: Any) -> None:
    if isinstance(error[1], FileNotFoundError):
        return
    if not isinstance(error[1], PermissionError):
        raise error[1]
    os.chmod(os.path.dirname(path), 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    else:
        os.unlink(path)


def lies_behind_link(top: Path, path: str | Path) -> bool:
    """Return True if a part of a path below `top`, but for the last one, is a link."""
    return any((top / parent).is_symlink() for parent in list(Path(path).parents)[:-1])


def walk(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what `os.walk` does, as deep as paths can be used; any user who has a directory there can nest deeper."""
    for place, directories, files in os.walk(top):
        if is_too_deep(top, place):
            directories.clear()
        yield place, directories, files


def is_too_deep(top: Path, place: str) -> bool:
    """Return True for a directory below `top` whose own directories are passed over."""
    return place.count("/") - str(top).count("/") >= DEEPEST or len(os.fsencode(place)) > LONGEST_PATH


def measure(directory: Path, *, own: bool = False) -> int:
    """Return the allocated bytes of a tree; with `own`, without the files that other trees share by hard links."""
    total, seen = 0, set[int]()
    for place, directories, files in walk(directory):
        check_signals()
        for name in (*directories, *files):
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(place, name))
                if status.st_ino not in seen and not (own and name in files and status.st_nlink > 1):
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
    return total
