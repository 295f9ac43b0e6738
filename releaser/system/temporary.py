"""Temporary directories of releaser itself, which a later run deletes if a killed run left them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from releaser.system.files import only_files, remove_tree, sync_directory
from releaser.system.later import Later

if TYPE_CHECKING:
    import tempfile
    from collections.abc import Callable, Iterator
else:
    tempfile = Later("tempfile")

PREFIX = "releaser-tmp-"
# Temporary names in the state directory end in `.new`; recovery deletes such entries.
LIVE_COPY = ".live-copy.new"
# Next to these paths, temporary directories hold the writes of sandboxes; the first is a name in the state directory.
LAYERS, ROOMY = "layers", Path("/var/tmp/releaser-layers")  # noqa: S108 - on a disk; /tmp may be in memory
NETRC = (".new", ".netrc-")  # suffix and prefix; credentials with which uv asks a service
TEST_PACKAGES = (".new", ".test-packages-")  # suffix and prefix
_REST, _MODE = "[a-z0-9_]{8}", 0o700  # as tempfile.mkdtemp makes them
_YOUNG = 60.0  # seconds; a younger directory may not be locked yet


def _remove(path: Path) -> bool:
    with contextlib.suppress(OSError):  # another user's programs may have left files in it
        remove_tree(path)
    return not os.path.lexists(path)


@contextlib.contextmanager
def temporary_directory(remove: Callable[[Path], object] = _remove, *, next_to: Path | None = None) -> Iterator[Path]:
    """Make a directory for this user alone, without symlinks in its path, and delete it at the end. Raises OSError.

    It is locked meanwhile; the kernel unlocks it when this process ends in any way. With `next_to`, it is made next to
    that path, on the same file system, so that a file in it can take the place of the path by a rename.
    """
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix=_prefix(next_to), dir=next_to.parent if next_to else None)))
    with contextlib.ExitStack() as stack:
        stack.callback(remove, place)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        stack.callback(os.close, descriptor)
        with contextlib.suppress(OSError):  # the file system cannot lock: then the directory is not swept either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield place


@contextlib.contextmanager
def temporary_tree() -> Iterator[Path]:
    """Make a temporary directory in which uv and pytest can run. Raises OSError.

    They look for their settings, and uv for the root of a workspace, in all directories above. Any user can put such
    files into `/tmp`, also with code that pytest imports: the search ends at those that are made here.
    """
    with temporary_directory() as place:
        (place / "uv.toml").touch()
        (place / "pytest.ini").touch()
        (place / "pyproject.toml").write_text('[project]\nname = "none"\nversion = "0"\n', encoding="utf-8")
        tree = place / "tree"
        tree.mkdir()
        yield tree


def write_atomically(place: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file next to `place`, and rename it to `place`. Leftovers of killed runs are deleted.

    Raises OSError.
    """
    next_to = place.with_name("releaser")  # the same for all files, so that the next one sweeps
    sweep_temporary(next_to)
    with temporary_directory(next_to=next_to) as scratch:
        write(scratch / place.name)
        with open(scratch / place.name, "rb", opener=only_files) as file:
            os.fsync(file.fileno())
        (scratch / place.name).replace(place)
    sync_directory(place.parent)


def file_of(content: bytes) -> IO[bytes]:
    """Return a file to read `content` from: a pipe, or a temporary file if the content does not fit into a pipe.

    A pipe can be read only once.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        if os.write(write, content) == len(content):
            return os.fdopen(read, "rb")
    finally:
        os.close(write)
    os.close(read)
    file = tempfile.TemporaryFile()
    file.write(content)
    file.seek(0)
    return file


def _prefix(next_to: Path | None) -> str:
    return PREFIX if next_to is None else f".{next_to.name}.{PREFIX}"


def sweep_temporary(next_to: Path | None = None) -> list[str]:
    """Delete this user's temporary directories that no process uses, and return their names. Raises OSError."""
    place, own = tempfile.gettempdir() if next_to is None else next_to.parent, _prefix(next_to)
    with os.scandir(place) as found:  # not listdir: thousands of other entries would take megabytes
        names = [
            path.name for path in found if path.name.startswith(own) and re.fullmatch(_REST, path.name[len(own) :])
        ]
    young = _YOUNG if next_to in (None, ROOMY) else 0.0  # elsewhere only runs that exclude each other make them
    return [name for name in names if _is_left(Path(place, name), young) and _remove(Path(place, name))]


def _is_left(path: Path, young: float) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # a symlink, or a directory of another user
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
