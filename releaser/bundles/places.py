"""The places of channels and their bundles: directories, web servers and S3, for reading and writing."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from releaser.errors import ResolutionError, UsageError, os_reason, refuse
from releaser.system.files import only_files, replace_file
from releaser.system.frozen import Frozen
from releaser.system.later import Later
from releaser.system.temporary import write_atomically

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Callable, Iterator, Mapping
else:
    hashlib = Later("hashlib")

_CHUNK = 1 << 20
_MODE = 0o644  # all users may read published files


@contextmanager
def lock_directory(path: Path) -> Iterator[None]:
    """Lock out other processes; wait for them first. The lock leaves no file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class StoredFile(Frozen):
    """A small file, and the identity of its version."""

    data: bytes
    version: str


class Place(Protocol):
    """A place with files by name. All methods raise ResolutionError if the place cannot be reached or used."""

    def read(self, name: str, most: int) -> StoredFile | None:
        """Return a file, cut off after `most` + 1 bytes; None if it does not exist."""
        ...

    def fetch(self, name: str, target: Path, *, sha256: str, size: int) -> None:
        """Write the file to `target`, if it has this hash and size; read no further than that size."""
        ...

    def put(self, name: str, file: Path) -> None:
        """Copy a local file to the place, atomically."""
        ...

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        """Replace a file atomically. Raises PreflightError if it has changed since `before`."""
        ...


def open_place(where: str, environ: Mapping[str, str]) -> Place:
    """Return the place at a URL or a path. Raises UsageError, and PreflightError if boto3 is missing for S3."""
    from releaser.bundles.remote import S3, Web

    scheme, mark, _ = where.partition("://")
    if not mark:
        return Directory(path=Path(os.path.abspath(Path(where).expanduser())))
    if scheme in ("http", "https"):
        return Web.of(where, environ)
    if scheme == "s3":
        return S3.of(where)
    message = f"{where} cannot hold channels"
    raise UsageError(message, "Use a directory, s3://BUCKET/PREFIX, or https://HOST/PATH.")


def fail(where: str, reason: object, advice: str = "") -> NoReturn:
    """Raise ResolutionError, as a place cannot be reached or used."""
    message = f"{where}: {reason}"
    raise ResolutionError(message, advice or "Check the name, the network and the permissions there.") from None


def refuse_moved_meanwhile(where: str) -> NoReturn:
    """Raise PreflightError, as another person or program has changed the channel meanwhile."""
    refuse(
        "channel-moved",
        f"{where} was changed by another publisher at the same time",
        "Run `releaser channel show`; if the channel should still change, run the command again.",
    )


def save(read: Callable[[int], bytes], target: Path, *, sha256: str, size: int) -> None:
    """Write the data of `read` to `target`, which must not exist. Raises OSError; ValueError if hash or size differ."""
    digest, left = hashlib.sha256(), size
    try:
        with open(target, "xb") as stream:
            while chunk := read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    message = f"it is larger than the {size} bytes that the channel says"
                    raise ValueError(message)
                digest.update(chunk)
                stream.write(chunk)
            if left or digest.hexdigest() != sha256:
                message = f"its {size - left} bytes do not match the size and hash in the channel"
                raise ValueError(message)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise


class Directory(Frozen):
    """A directory, local or mounted."""

    path: Path

    def read(self, name: str, most: int) -> StoredFile | None:
        """As a place does."""
        try:
            with open(self.path / name, "rb", opener=only_files) as stream:
                data = stream.read(most + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            fail(str(self.path / name), os_reason(error))
        return StoredFile(data=data, version=hashlib.sha256(data).hexdigest())

    def fetch(self, name: str, target: Path, *, sha256: str, size: int) -> None:
        """As a place does."""
        try:
            with open(self.path / name, "rb", opener=only_files) as stream:
                save(stream.read, target, sha256=sha256, size=size)
        except (OSError, ValueError) as error:
            fail(str(self.path / name), os_reason(error) if isinstance(error, OSError) else error)

    def put(self, name: str, file: Path) -> None:
        """As a place does."""

        def copy(fresh: Path) -> None:
            shutil.copyfile(file, fresh)
            fresh.chmod(_MODE)

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / name, copy)
        except OSError as error:
            fail(str(self.path / name), os_reason(error))

    def replace(self, name: str, data: bytes, before: StoredFile | None) -> None:
        """As a place does."""
        try:
            with lock_directory(self.path):
                if self.read(name, len(before.data) if before else 0) != before:
                    refuse_moved_meanwhile(str(self.path / name))
                replace_file(self.path / name, data, mode=_MODE)
        except OSError as error:
            fail(str(self.path / name), os_reason(error))
