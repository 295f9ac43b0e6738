"""Writing state so that a crash at any moment leaves the old content or the new, never a mixture."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
from functools import partial

TYPE_CHECKING = False  # what takes long to import, starting a program does without
if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, TypeVar

    T = TypeVar("T")

#: The form of every state file; nothing else is read.
VERSION = 2
AT_FDCWD = -100
RENAME_EXCHANGE = 2
NEW_FILE = 0o664
_IRREGULAR = "not a regular file"
# Bytes. What others have written is never read without a limit, as memory would be theirs to fill: JSON of a file takes
# ten times its size, and more.
LARGEST = 64 << 20  # of a file, or of the answer of a program, that is read at once
LARGEST_STATE = 16 << 20  # of a state file; that of a site with 1,000 packages has some 0.5 MiB


class UnreadableStateError(Exception):
    """A state file is there, but is not what releaser wrote: truncated, garbage, or of a later version."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        import pathlib  # which takes long

        self.path, self.reason = pathlib.Path(path), reason


class IrregularFileError(OSError):
    """A named pipe, a device or a socket is in the place of a file."""


class TooLargeError(OSError):
    """A file is larger than what releaser reads at once."""

    def __init__(self, path: Path | str, most: int) -> None:
        super().__init__(errno.EFBIG, f"larger than {most >> 20} MiB, which is the most that releaser reads", str(path))


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
            raise _libc_error(path)
    finally:
        os.close(descriptor)


def only_files(path: Path | str, flags: int) -> int:
    """Open a regular file alone, at once, as the `opener` of `open`: a named pipe waits, and a device may not end.

    Raises OSError: IsADirectoryError, and IrregularFileError for what is no file either.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise IrregularFileError(errno.EINVAL, _IRREGULAR, str(path))


def read_file(path: Path | str, most: int | None = LARGEST) -> bytes:
    """Return what is in a regular file of `most` bytes; None is for files that a site may have of any size.

    Raises OSError: what `only_files` does, and TooLargeError.
    """
    descriptor = only_files(path, os.O_RDONLY | os.O_CLOEXEC)  # `open` makes four more calls of the system
    try:
        chunks, left = list[bytes](), most
        for chunk in iter(partial(os.read, descriptor, 1 << 16), b""):
            chunks.append(chunk)
            if left is not None and (left := left - len(chunk)) < 0:
                raise TooLargeError(path, most or 0)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def read_end(path: Path | str, most: int) -> bytes:
    """Return the end of a regular file, at most so many bytes of whole lines. Raises OSError, as `only_files` does."""
    with open(path, "rb", opener=only_files) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most - 1))
        data = file.read(most + 1)
    return data if size <= most else data.partition(b"\n")[2]


def is_same_text(one: bytes | None, other: bytes | None) -> bool:
    """Tell whether two files have the same text, or neither exists; git may end the lines of a checkout with CR LF."""
    if one is None or other is None:
        return one is other
    return one == other or one.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n")


def hash_of_file(path: Path) -> str | None:
    """Return the SHA-256 of a file; None if it cannot be read."""
    try:
        with open(path, "rb", opener=only_files) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def read_text(path: Path, *, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Return the text in a regular file, with `\\n` at line ends. Raises OSError as `read_file`, UnicodeDecodeError."""
    return read_file(path).decode(encoding, errors).replace("\r\n", "\n").replace("\r", "\n")


def read_if_there(path: Path | str) -> bytes | None:
    """Return what is in a file; None if it is not there, or cannot be read.

    Raises TooLargeError: what is too large is there, and must not be taken for what may be written anew.
    """
    try:
        return read_file(path)
    except TooLargeError:
        raise
    except OSError:
        return None


def link_text(link: Path | str) -> str | None:
    """Return what stands in a symlink; None if there is none."""
    try:
        return os.readlink(link)
    except OSError:
        return None


def state_mode(directory: str | Path) -> int:
    """Return the mode of a state file: for its owner, and the group as far as the directory is its. Raises OSError."""
    return 0o640 | (os.stat(directory).st_mode & stat.S_IWGRP)


def replace_file(
    target: Path, data: bytes, *, staging: Path | None = None, private: bool = False, mode: int | None = None
) -> None:
    """Put `data` at `target` by a rename, keeping the mode and group that `target` has, unless `mode` is given.

    One that is `private` is a file of the state, whose mode follows from its directory. The temporary file lies in
    `staging` (default: beside `target`), on the same file system: a checkout is never seen with a stray file in it.
    """
    with _rename_when_done(target, staging or target.parent) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            try:
                earlier = target.stat()
            except FileNotFoundError:
                found = NEW_FILE  # whatever the umask is: other members of the group go on from here
            else:
                found = stat.S_IMODE(earlier.st_mode)
                with contextlib.suppress(PermissionError):  # the group may be one that this user is not in
                    os.fchown(descriptor, -1, earlier.st_gid)
            os.fchmod(descriptor, state_mode(target.parent) if private else found if mode is None else mode)
            file.flush()
            os.fsync(descriptor)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file in a place where code that is not trusted has been: a symlink there is replaced, not followed.

    Raises OSError.
    """
    clear_name(path, of_directory=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, NEW_FILE), "wb") as file:
        file.write(data)


def replace_symlink(link: Path, target: str, *, staging: Path) -> None:
    """Let `link` lead to `target` by one rename; the old link answers until the new one does."""
    with _rename_when_done(link, staging) as temporary:
        temporary.symlink_to(target)


@contextlib.contextmanager
def _rename_when_done(target: Path, staging: Path) -> Iterator[Path]:
    """Give a temporary name in `staging`; what the block makes there gets to `target` by one rename, or is deleted."""
    temporary = staging / f".{target.name}.new"
    clear_name(temporary)
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(target.parent)


def exchange(first: Path, second: Path) -> bool:
    """Swap two directory entries atomically; False where the file system cannot (renameat2(2), RENAME_EXCHANGE)."""
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    error = _libc_error(first, second)
    if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise error


def write_state(path: Path, content: object) -> None:
    """Replace a state file by what a dataclass holds, or a mapping. Raises OSError."""
    _known.pop(str(path), None)
    replace_file(path, encode_state(content), private=True)


def encode_state(content: object) -> bytes:
    """Return the bytes of a state file."""
    written = {"version": VERSION, **(content if isinstance(content, dict) else plain(content))}
    text = json.dumps(written, indent=1, ensure_ascii=False, default=plain)
    # Bytes of a path that are not UTF-8 become escapes that JSON knows.
    return text.encode(errors="backslashreplace") + b"\n"


def plain(value: Any) -> Any:
    """Turn what JSON lacks into what it has: dataclasses, sets and times, which are told in UTC."""
    from dataclasses import fields, is_dataclass
    from datetime import UTC

    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return sorted(value) if isinstance(value, frozenset) else value.astimezone(UTC).isoformat()


#: The state files that were read, by path: what each looked like then, and its content.
_known: dict[str, tuple[object, Any]] = {}


def read_state(path: Path | str, kind: type[T]) -> T | None:
    """Read a state file as this type of dataclass, once for as long as it stays the same; None when there is none.

    Raises UnreadableStateError for anything that `write_state` of this version cannot have written, and OSError for
    what this user may not read.
    """
    try:
        seen = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    looks = kind, seen.st_ino, seen.st_size, seen.st_ctime_ns  # the last of which nobody sets
    known = _known.get(str(path), ((), None))
    if known[0] != looks:
        known = _known[str(path)] = looks, _decode_state(path, kind)
    found: T | None = known[1]
    return found


def _decode_state(path: Path | str, kind: type[T]) -> T | None:
    try:
        data, names = read_file(path, LARGEST_STATE), kind.__dataclass_fields__  # type: ignore[attr-defined]
        import msgspec  # which takes long to import

        if data.startswith(b'{\n "version": %d,\n "%s": ' % (VERSION, next(iter(names)).encode())):  # as it is written
            with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):  # of which the rest says more
                return msgspec.json.decode(data.decode(), type=kind)
        content = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (IsADirectoryError, IrregularFileError, TooLargeError) as error:
        reason = "a directory" if error.errno == errno.EISDIR else str(error.strerror)
        raise UnreadableStateError(path, reason) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableStateError(path, f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UnreadableStateError(path, "not a JSON object")
    if content.get("version") != VERSION:
        raise UnreadableStateError(path, f"version {content.get('version')!r} is not known here")
    if names.keys().isdisjoint(content):
        raise UnreadableStateError(path, f"none of {', '.join(sorted(names))} is in it")
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise UnreadableStateError(path, f"{error}") from error


def load_state(path: Path, default: T) -> T:
    """Read a state file of the type of `default`, which stands for a file that is missing or unreadable.

    The next run puts an unreadable one aside, and says so. Raises OSError for what this user may not read.
    """
    try:
        found = read_state(path, type(default))
    except UnreadableStateError:
        return default
    return default if found is None else found


def nearest_existing(path: Path) -> Path:
    """Return the path itself or the nearest of its parents that exists."""
    while not os.path.exists(path) and path != path.parent:  # false, too, for what lies in a forbidden directory
        path = path.parent
    return path


def put_aside(path: Path) -> Path:
    """Keep a state file that cannot be read under another name, for a person to look at."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.unreadable-{number}")):
        number += 1
    path.rename(aside)
    sync_directory(path.parent)
    return aside


def clear_name(path: Path, *, of_directory: bool = False) -> None:
    """Free the name of a temporary file; a directory there is nothing that releaser made, and is put aside.

    Under a name `of_directory` it is what a run that was cut off has left, and is deleted. Raises OSError.
    """
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if path.is_symlink() or not path.is_dir():
            raise
        remove_tree(path) if of_directory else put_aside(path)


def remove_tree(directory: Path, *, dir_fd: int | None = None) -> None:
    """Delete a directory, also where a directory in it is not writable; OSError for the first file that resists.

    Everything else is deleted anyway. A relative path starts at `dir_fd`.
    """
    import logging  # which takes long to import

    logging.getLogger(__name__).info("deleting %s", directory)
    try:
        failed = _delete_what_can_be(directory, dir_fd)
        if any(isinstance(error, PermissionError) for error in failed):
            _open_up(directory, dir_fd)
            failed = _delete_what_can_be(directory, dir_fd)
    except RecursionError as error:
        message = "directories are nested too deeply; delete them with `rm -r`"
        raise OSError(errno.ENAMETOOLONG, message, str(directory)) from error
    if failed:
        raise failed[0]


def _delete_what_can_be(directory: Path, dir_fd: int | None) -> list[OSError]:
    failed: list[OSError] = []

    def note(_: object, path: str, error: BaseException) -> None:
        if not isinstance(error, OSError):
            raise error
        if not isinstance(error, FileNotFoundError):
            failed.append(OSError(error.errno, error.strerror, path))  # its own may be no more than the last part of it

    import shutil

    if sys.version_info >= (3, 12):
        shutil.rmtree(directory, dir_fd=dir_fd, onexc=note)
    else:
        shutil.rmtree(directory, dir_fd=dir_fd, onerror=lambda call, path, info: note(call, path, info[1]))
    return failed


def _open_up(directory: Path, dir_fd: int | None) -> None:
    """Let the owner into every directory of a tree, as far as it is theirs; each before it is read."""
    open_up(directory, dir_fd=dir_fd)
    for _, names, _, place in os.fwalk(directory, dir_fd=dir_fd):
        for name in names:
            open_up(name, dir_fd=place)


def open_up(directory: str | Path, *, dir_fd: int | None = None) -> None:
    """Let the owner into a directory if it is theirs, and never into one that a symlink there leads to."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=dir_fd)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(f"/proc/self/fd/{descriptor}", mode | stat.S_IRWXU)
        finally:
            os.close(descriptor)


def _libc() -> ctypes.CDLL:
    import ctypes  # which takes long to import

    return ctypes.CDLL(None, use_errno=True)


def _libc_error(path: Path, other: Path | None = None) -> OSError:
    """Make an error of what the last call of the C library has left."""
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path), None, str(other) if other else None)
