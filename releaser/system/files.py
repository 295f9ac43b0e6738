"""Reading and writing files; after a crash, a state file has the old content or the new, never a mixture."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from functools import partial

from releaser.system.later import Later

TYPE_CHECKING = False  # starting a program avoids imports that take long
if TYPE_CHECKING:
    import ctypes
    import hashlib
    import json
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    hashlib, json = Later("hashlib"), Later("json")

#: The version of the format of state files; no other version is read.
VERSION = 2
AT_FDCWD = -100
RENAME_EXCHANGE = 2
NEW_FILE = 0o664
_IRREGULAR = "not a regular file"
# In bytes. Every read is limited, or other users could fill the memory: JSON takes more than ten times the size of its
# file.
_CHUNK = 1 << 16  # bytes of one read
LARGEST = 64 << 20  # of a file or the output of a program, read at once
LARGEST_STATE = 16 << 20  # of a state file; with 1,000 packages it has some 0.5 MiB


class UnreadableStateError(Exception):
    """A state file that this version of releaser did not write: it is truncated, garbage, or of another version."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        import pathlib  # slow to import

        self.path, self.reason = pathlib.Path(path), reason


class IrregularFileError(OSError):
    """A named pipe, a device or a socket is in the place of a file."""


class TooLargeError(OSError):
    """A file is larger than releaser reads at once."""

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
    """Flush the whole file system of `path`: for a venv, that is far cheaper than an fsync of each file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _libc().syncfs(descriptor) != 0:
            raise _libc_error(path)
    finally:
        os.close(descriptor)


def only_files(path: Path | str, flags: int) -> int:
    """Open a path only if it is a regular file, without blocking, as the `opener` of `open`.

    A named pipe would block, and a device may never end. Raises OSError: IsADirectoryError for a directory, and
    IrregularFileError for other things.
    """
    return _open_file(path, flags)[0]


def _open_file(path: Path | str, flags: int) -> tuple[int, os.stat_result]:
    """Return what `only_files` does, and the status of the file."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return descriptor, status
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise IrregularFileError(errno.EINVAL, _IRREGULAR, str(path))


def read_file(path: Path | str, most: int | None = LARGEST) -> bytes:
    """Return the content of a regular file of at most `most` bytes; None sets no limit.

    Raises OSError, also as `only_files` does, and TooLargeError.
    """
    return _read_file(path, most)[0]


def _read_file(path: Path | str, most: int | None) -> tuple[bytes, os.stat_result]:
    """Return what `read_file` does, and the status of the file before it was read."""
    descriptor, status = _open_file(path, os.O_RDONLY | os.O_CLOEXEC)  # `open` makes four more system calls
    try:
        size, chunks, left = status.st_size, list[bytes](), most
        if 0 < size < _CHUNK and (most is None or size <= most):  # nearly all files; those of /proc have no size
            content = os.read(descriptor, _CHUNK)
            if len(content) == size:
                return content, status
            os.lseek(descriptor, 0, os.SEEK_SET)
        for chunk in iter(partial(os.read, descriptor, _CHUNK), b""):
            chunks.append(chunk)
            if left is not None and (left := left - len(chunk)) < 0:
                raise TooLargeError(path, most or 0)
        return b"".join(chunks), status
    finally:
        os.close(descriptor)


def read_end(path: Path | str, most: int) -> bytes:
    """Return the end of a regular file, at most `most` bytes of whole lines. Raises OSError as `only_files` does."""
    with open(path, "rb", opener=only_files) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - most - 1))
        data = file.read(most + 1)
    return data if size <= most else data.partition(b"\n")[2]


def is_same_text(none: bytes | None, other: bytes | None) -> bool:
    """True if two files have the same text, or neither exists; git may end the lines of a checkout with CR LF."""
    if none is None or other is None:
        return none is other
    return none == other or none.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n")


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
    """Return the content of a file; None if it is missing or unreadable.

    Raises TooLargeError: a file that is too large exists, and must not be replaced as if it were missing.
    """
    try:
        return read_file(path)
    except TooLargeError:
        raise
    except OSError:
        return None


def link_text(link: Path | str) -> str | None:
    """Return the target of a symlink as written; None if it is no symlink."""
    try:
        return os.readlink(link)
    except OSError:
        return None


def state_mode(directory: str | Path) -> int:
    """Return the mode of a state file: its group may write it if it may write the directory. Raises OSError."""
    return 0o640 | (os.stat(directory).st_mode & stat.S_IWGRP)


def replace_file(
    target: Path, data: bytes, *, staging: Path | None = None, private: bool = False, mode: int | None = None
) -> None:
    """Put `data` at `target` by a rename, keeping the mode and group that `target` has, unless `mode` is given.

    A `private` file is a state file, whose mode follows from its directory. The temporary file is made in `staging`
    (default: the directory of `target`), on the same file system, so that a checkout never shows a stray file.
    """
    with _rename_when_done(target, staging or target.parent) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            try:
                earlier = target.stat()
            except FileNotFoundError:
                found = NEW_FILE  # whatever the umask is: other members of the group may write it next
            else:
                found = stat.S_IMODE(earlier.st_mode)
                with contextlib.suppress(PermissionError):  # this user may not be in that group
                    os.fchown(descriptor, -1, earlier.st_gid)
            os.fchmod(descriptor, state_mode(target.parent) if private else found if mode is None else mode)
            file.flush()
            os.fsync(descriptor)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file where untrusted code may have written: a symlink there is replaced, not followed.

    Raises OSError.
    """
    clear_name(path, of_directory=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, NEW_FILE), "wb") as file:
        file.write(data)


def replace_symlink(link: Path, target: str, *, staging: Path) -> None:
    """Point `link` to `target` by one rename; the link exists at every moment."""
    with _rename_when_done(link, staging) as temporary:
        temporary.symlink_to(target)


@contextlib.contextmanager
def _rename_when_done(target: Path, staging: Path) -> Iterator[Path]:
    """Yield a temporary path in `staging`; at the end it is renamed to `target`, or deleted after an error."""
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
    """Swap two directory entries atomically; False if the file system cannot (renameat2(2), RENAME_EXCHANGE)."""
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
    """Replace a state file by a frozen object or a mapping. Raises OSError."""
    _known.pop(str(path), None)
    replace_file(path, encode_state(content), private=True)


def encode_state(content: object) -> bytes:
    """Return the bytes of a state file."""
    written = {"version": VERSION, **(content if isinstance(content, dict) else plain(content))}
    text = json.dumps(written, indent=1, ensure_ascii=False, default=plain)
    # Bytes of a path that are not UTF-8 become escapes that JSON allows.
    return text.encode(errors="backslashreplace") + b"\n"


def plain(value: Any) -> Any:
    """Convert values that JSON lacks: objects to dicts, sets to sorted lists, times to ISO 8601 in UTC."""
    from datetime import UTC

    from releaser.system.frozen import Frozen, fields  # slow to import, to start a program

    if isinstance(value, Frozen):
        return {one.name: getattr(value, one.name) for one in fields(type(value))}
    return sorted(value) if isinstance(value, frozenset) else value.astimezone(UTC).isoformat()


#: The state files that were read, by path: the type, identity and times of each, and its content.
_known: dict[str, tuple[object, Any]] = {}
#: The values that contents of each type had last, by field: the JSON of each, a string itself, and the value.
_last: dict[type, dict[str, tuple[str | bytes, Any]]] = {}


def read_state(path: Path | str, kind: type[T]) -> T | None:
    """Return the content of a state file as this frozen class; None if the file is missing.

    The content is cached while the file stays the same. Raises UnreadableStateError for content that `write_state` of
    this version cannot have written, and OSError for a file that this user may not read.
    """
    known = _known.get(str(path))
    if known is not None:
        try:
            is_same = known[0] == _looks(kind, os.stat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        if is_same:
            found: T = known[1]
            return found
    content, seen = _read_and_decode(path, kind)
    if content is not None and seen is not None:
        _known[str(path)] = _looks(kind, seen), _share(content)
    return content


def _looks(kind: type, seen: os.stat_result) -> tuple[object, ...]:
    return kind, seen.st_ino, seen.st_size, seen.st_ctime_ns  # no program can set the change time


def _share(content: T) -> T:
    """Replace values by the same ones of the last content of this type: releases differ in few, and may be many.

    Two values of a field are the same if their JSON is: equal ones may differ in an order, a time zone, 1 for True.
    """
    if "msgspec" not in sys.modules:  # only few files are read
        return content
    from msgspec.json import encode

    values, last = vars(content), _last.setdefault(type(content), {})
    for name, value in values.items():
        try:
            text = value if type(value) is str else encode(value)
        except UnicodeEncodeError:  # a path with bytes that are not UTF-8
            continue
        known = last.get(name)
        if known is not None and known[0] == text:
            values[name] = known[1]
        else:
            last[name] = text, value
    object.__setattr__(content, "__dict__", dict(values))  # half as large as the one that grew
    return content


def decode_state(path: Path | str, kind: type[T]) -> T | None:
    """Return what `read_state` does, from disk and without keeping it in memory."""
    return _read_and_decode(path, kind)[0]


def _read_and_decode(path: Path | str, kind: type[T]) -> tuple[T, os.stat_result] | tuple[None, None]:
    """Return what `decode_state` does, and the status of the file before it was read."""
    try:
        data, seen = _read_file(path, LARGEST_STATE)
        from releaser.system import exact  # slow to import, to start a program
        from releaser.system.frozen import fields

        known = fields(kind)  # type: ignore[arg-type]
        if data.startswith(b'{\n "version": %d,\n "%s": ' % (VERSION, known[0].name.encode())):  # as it is written
            with contextlib.suppress(exact.InexactError, ValueError, RecursionError):  # of which the rest says more
                return exact.decode_exact(data, kind), seen
        content = json.loads(data)
    except (FileNotFoundError, NotADirectoryError):
        return None, None
    except (IsADirectoryError, IrregularFileError, TooLargeError) as error:
        reason = "a directory" if error.errno == errno.EISDIR else str(error.strerror)
        raise UnreadableStateError(path, reason) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableStateError(path, f"not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UnreadableStateError(path, "not a JSON object")
    if content.get("version") != VERSION:
        raise UnreadableStateError(path, f"version {content.get('version')!r} is not known to this version of releaser")
    names = [one.name for one in known]
    if content.keys().isdisjoint(names):
        raise UnreadableStateError(path, f"none of {', '.join(sorted(names))} is in it")
    try:
        return exact.convert(content, kind), seen
    except ValueError as error:
        raise UnreadableStateError(path, f"{error}") from error


def read_own_state(path: Path | str, kind: type[T]) -> T | None:
    """Return what `read_state` does; a file that this user may not read is unreadable, too."""
    try:
        return read_state(path, kind)
    except UnreadableStateError:
        raise
    except OSError as error:
        raise UnreadableStateError(path, error.strerror or str(error)) from error


def load_state(path: Path, default: T) -> T:
    """Return a state file of the type of `default`, or `default` if the file is missing or unreadable.

    The next run puts an unreadable file aside, and reports that. Raises OSError for a file that this user may not read.
    """
    try:
        found = read_state(path, type(default))
    except UnreadableStateError:
        return default
    return default if found is None else found


def nearest_existing(path: Path) -> Path:
    """Return the path itself or the nearest of its parents that exists."""
    while not os.path.exists(path) and path != path.parent:  # also false in a forbidden directory
        path = path.parent
    return path


def put_aside(path: Path, instead: object = None) -> Path:
    """Rename an unreadable state file, so that a person can look at it; return its new path.

    The content `instead`, if there is any, takes its place: at once, if the file may have a second name.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.unreadable-{number}")):
        number += 1
    if instead is None or not _add_name(path, aside):
        path.rename(aside)
        sync_directory(path.parent)
    if instead is not None:
        write_state(path, instead)
    return aside


def _add_name(path: Path, name: Path) -> bool:
    """Give a file a second name; False for a directory, a symlink, and mostly a file of another user."""
    try:
        if path.is_file() and not path.is_symlink():
            os.link(path, name)
            return True
    except OSError:
        pass
    return False


def clear_name(path: Path, *, of_directory: bool = False) -> None:
    """Free the name of a temporary file. A directory there was not made by releaser, and is put aside.

    With `of_directory`, a directory there is left from an interrupted run, and is deleted. Raises OSError.
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
    """Delete a directory, even if directories in it are not writable. Raises OSError for the first file that resists.

    Everything else is deleted anyway. A relative path starts at `dir_fd`.
    """
    import logging  # slow to import

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
            failed.append(OSError(error.errno, error.strerror, path))  # its own file name may be only the last part

    import shutil

    if sys.version_info >= (3, 12):
        shutil.rmtree(directory, dir_fd=dir_fd, onexc=note)
    else:
        shutil.rmtree(directory, dir_fd=dir_fd, onerror=lambda call, path, info: note(call, path, info[1]))
    return failed


def _open_up(directory: Path, dir_fd: int | None) -> None:
    """Give the owner access to every directory of a tree that belongs to this user, each before it is read."""
    open_up(directory, dir_fd=dir_fd)
    for _, names, _, place in os.fwalk(directory, dir_fd=dir_fd):
        for name in names:
            open_up(name, dir_fd=place)


def open_up(directory: str | Path, *, dir_fd: int | None = None) -> None:
    """Give the owner access to a directory that belongs to this user; a symlink is never followed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=dir_fd)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(f"/proc/self/fd/{descriptor}", mode | stat.S_IRWXU)
        finally:
            os.close(descriptor)


def _libc() -> ctypes.CDLL:
    import ctypes  # slow to import

    return ctypes.CDLL(None, use_errno=True)


def _libc_error(path: Path, other: Path | None = None) -> OSError:
    """Return the error of the last call of the C library."""
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path), None, str(other) if other else None)
