"""Temporary directories of releaser itself, which a later run deletes if a killed one has left them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from releaser.system.files import only_files, remove_tree, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = "releaser-tmp-"
# What lies in the state directory for a while; recovery sweeps there what ends like that.
LIVE_COPY = ".live-copy.new"
# A temporary directory beside these has what is written in a sandbox; the first is a name in the state directory.
LAYERS, ROOMY = "layers", Path("/var/tmp/releaser-layers")  # noqa: S108 - on a disk, other than /tmp may be
NETRC = (".new", ".netrc-")  # suffix and prefix, of what uv asks a service with
TEST_PACKAGES = (".new", ".test-packages-")  # suffix and prefix, as tests may run twice at once
_REST, _MODE = "[a-z0-9_]{8}", 0o700  # as tempfile.mkdtemp makes them
_YOUNG = 60.0  # seconds, in which one that was just made may not be locked yet


def _remove(path: Path) -> bool:
    with contextlib.suppress(OSError):  # what another user's programs have left in it
        remove_tree(path)
    return not os.path.lexists(path)


@contextlib.contextmanager
def temporary_directory(remove: Callable[[Path], object] = _remove, *, beside: Path | None = None) -> Iterator[Path]:
    """Make a directory for this user alone, without symlinks in its path; it goes at the end. Raises OSError.

    It is locked meanwhile: the kernel unlocks it when this process ends, in whatever way. One `beside` a path is for
    what is to take that place by a rename.
    """
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix=_prefix(beside), dir=beside.parent if beside else None)))
    with contextlib.ExitStack() as stack:
        stack.callback(remove, place)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, descriptor)
        with contextlib.suppress(OSError):  # a file system that cannot: then nobody can lock it, and it is not swept
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield place


def write_beside(place: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside its place, which it takes as a whole. What killed runs have left goes.

    Raises OSError.
    """
    beside = place.with_name("releaser")  # the same for all files, so that the next one sweeps
    sweep_temporary(beside)
    with temporary_directory(beside=beside) as scratch:
        write(scratch / place.name)
        with open(scratch / place.name, "rb", opener=only_files) as file:
            os.fsync(file.fileno())
        (scratch / place.name).replace(place)
    sync_directory(place.parent)


def file_of(content: bytes) -> IO[bytes]:
    """Return what to read from: a pipe, which can be read once, unless somebody had to write while it is read."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        if os.write(write, content) == len(content):
            return os.fdopen(read, "rb")
    finally:
        os.close(write)
    os.close(read)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file


def _prefix(beside: Path | None) -> str:
    return PREFIX if beside is None else f".{beside.name}.{PREFIX}"


def sweep_temporary(beside: Path | None = None) -> list[str]:
    """Delete those of this user that no process uses, and return their names. Raises OSError."""
    place, own = tempfile.gettempdir() if beside is None else beside.parent, _prefix(beside)
    with os.scandir(place) as found:  # not listdir: a crowd of others there would take megabytes
        names = [one.name for one in found if one.name.startswith(own) and re.fullmatch(_REST, one.name[len(own) :])]
    young = _YOUNG if beside in (None, ROOMY) else 0.0  # where only another run would take the same place
    return [name for name in names if _is_left(Path(place, name), young) and _remove(Path(place, name))]


def _is_left(path: Path, young: float) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # a symlink, or of another user
        return False
    try:
        status = os.fstat(descriptor)
        if (
            status.st_uid != os.geteuid()
            or stat.S_IMODE(status.st_mode) != _MODE
            or status.st_ctime > time.time() - young
        ):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
