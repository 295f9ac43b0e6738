"""A file system on which files can share blocks, in a file that is mounted."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def mounted_xfs(place: Path, *, size: int) -> Iterator[Path]:
    """Make a file system of `size` bytes (at least 300 MB) and mount it at `place`; it is gone after the block."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("mkfs.xfs", path=path)
    require(program and os.geteuid() == 0 and Path("/dev/loop-control").exists(), "root, loop devices and mkfs.xfs")
    assert program is not None
    place.mkdir(parents=True)
    image = place.with_name(f"{place.name}.img")
    with image.open("wb") as file:
        file.truncate(size)  # takes no more than what is written
    try:
        _do(program, "-q", image)
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
