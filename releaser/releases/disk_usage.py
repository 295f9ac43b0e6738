"""What a release takes on disk, measured once, when it is sealed: its manifest tells it from then on."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from releaser.releases.release import Manifest

_BLOCK = 512  # bytes, of st_blocks, whatever the file system is


@dataclass(frozen=True, kw_only=True)
class DiskUsage:
    """What a directory takes."""

    #: In whole blocks, all of it.
    size_bytes: int
    #: The part without the files that have another name outside of the directory, as in uv's cache.
    own_bytes: int
    inodes: int


def measure(directory: Path) -> DiskUsage:
    """Look at every file of a release, also of a venv that lies elsewhere. Takes some 0.1 s for 10,000 files."""
    found: dict[tuple[int, int], os.stat_result] = {}
    names: Counter[tuple[int, int]] = Counter()
    for status in _files(directory):
        inode = status.st_dev, status.st_ino
        found[inode] = status
        names[inode] += 1
    size = sum(status.st_blocks for status in found.values())
    shared = sum(
        status.st_blocks
        for inode, status in found.items()
        if stat.S_ISREG(status.st_mode) and status.st_nlink > names[inode]
    )
    return DiskUsage(size_bytes=size * _BLOCK, own_bytes=(size - shared) * _BLOCK, inodes=len(found))


def total_bytes(manifests: Iterable[Manifest]) -> int:
    """Return what releases take together; what they share with uv's cache, and so with each other, counts once."""
    taken = [(one.own_bytes, one.size_bytes - one.own_bytes) for one in manifests]
    return sum(own for own, _ in taken) + max((shared for _, shared in taken), default=0)


def _files(directory: Path) -> Iterator[os.stat_result]:
    """Yield what each file and directory is; what goes meanwhile is left out."""
    venv = directory / "venv"
    for top in (str(directory), *([os.path.realpath(venv)] if venv.is_symlink() else [])):
        for place, _, names in os.walk(top):
            for name in (*names, "."):
                try:
                    yield os.lstat(os.path.join(place, name))
                except OSError:
                    continue
