"""Reads text files of a source release in memory. Its members are never written to disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any, Self

from releaser.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UNPACKED = 200 << 20  # bytes, against archives that unpack to far more
_MEMBERS = 50_000
_LONGEST = 512 << 10  # bytes of one file
_MOST = 4 << 20  # bytes of all wanted files
_LONGEST_HEADER = 64 << 10  # bytes that tarfile reads at once and parses: of a long name, or of attributes
_MOST_ATTRIBUTES = 50  # for all files of a tar; tarfile copies them for each
_ENTRY_OF_ZIP = b"PK\1\2"
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the other methods unpack more than a reader asks for


def read_texts(data: bytes, is_wanted: Callable[[str], bool]) -> dict[str, str]:
    """Return the beginning of each wanted file of a .tar.gz or .zip, by its path below the top directory.

    Raises ToolError for anything else.
    """
    try:
        members = _read_zip(data, is_wanted) if data.startswith(b"PK") else _read_tar(data, is_wanted)
        return {path: found.decode("utf-8", errors="replace") for path, found in _first_of(members)}
    except Exception as error:  # the libraries raise errors of many kinds for a hostile file
        message = f"the source release cannot be read: {type(error).__name__}: {error}"
        raise ToolError(message) from error


def _first_of(members: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Yield the members that have at most `_MOST` bytes together. Raises ValueError for more."""
    left = _MOST
    for path, found in members:
        left -= len(found)
        if left < 0:
            message = f"its changelogs have more than {_MOST >> 20} MiB"
            raise ValueError(message)
        yield path, found


def _read_tar(data: bytes, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    stream: Any = _Limited(gzip.GzipFile(fileobj=io.BytesIO(data)))
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive:
        for number, member in enumerate(archive):
            _check_count(number)
            if len(archive.pax_headers) > _MOST_ATTRIBUTES:
                message = f"it has more than {_MOST_ATTRIBUTES} attributes for all files"
                raise ValueError(message)
            archive.members = []  # type: ignore[attr-defined] # it keeps all, with their attributes
            path = _below_top(member.name)
            if member.isreg() and is_wanted(path) and (file := archive.extractfile(member)) is not None:
                yield path, file.read(_LONGEST)


def _read_zip(data: bytes, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    _check_count(data.count(_ENTRY_OF_ZIP) - 1)  # before an object is made for each
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            path = _below_top(member.filename)
            if not member.is_dir() and member.compress_type in _BOUNDED and is_wanted(path):
                with archive.open(member) as file:
                    yield path, file.read(_LONGEST)


def _below_top(path: str) -> str:
    return path.removeprefix("./").partition("/")[2]


def _check_count(number: int) -> None:
    if number >= _MEMBERS:
        message = f"it has more than {_MEMBERS} files"
        raise ValueError(message)


class _Member(tarfile.TarInfo):
    """A member of a tar; one that is no file, and larger than any such header, raises ValueError."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size > _LONGEST_HEADER and not found.isreg():
            message = f"a header has more than {_LONGEST_HEADER >> 10} KiB"
            raise ValueError(message)
        return found


class _Limited:
    """The first bytes of a file; one that has more raises ValueError."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file, self._left = file, _UNPACKED

    def read(self, size: int) -> bytes:
        found = self._file.read(min(size, self._left + 1))
        self._left -= len(found)
        if self._left < 0:
            message = f"it unpacks to more than {_UNPACKED >> 20} MiB"
            raise ValueError(message)
        return found
