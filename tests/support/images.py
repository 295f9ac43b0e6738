"""A file system of its own for a test, in a file that is mounted."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.guards import require

# xfs shares the blocks of copies; ext4 reserves no blocks for root here, so that it is full for everybody at once.
_OPTIONS = {"xfs": (), "ext4": ("-F", "-m", "0")}


@contextlib.contextmanager
def mounted(place: Path, *, kind: str, size: int) -> Iterator[Path]:
    """Make a file system of `size` bytes (xfs: at least 300 MB) at `place`; it is gone after the block."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which(f"mkfs.{kind}", path=path)
    require(program and os.geteuid() == 0 and Path("/dev/loop-control").exists(), f"root, loop devices and mkfs.{kind}")
    assert program is not None
    place.mkdir(parents=True)
    image = place.with_name(f"{place.name}.img")
    with image.open("wb") as file:
        file.truncate(size)  # takes no more than what is written
    try:
        _do(program, "-q", *_OPTIONS[kind], image)
        _do("mount", "-o", "loop", image, place)
        try:
            yield place
        finally:
            _do("umount", "--lazy", place)
    finally:
        image.unlink()


def used(place: Path) -> int:
    """Return how many bytes of a file system are in use, once all is written out."""
    _do("sync", "--file-system", place)
    found = os.statvfs(place)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _do(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)
