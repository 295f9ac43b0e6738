"""What a directory takes on disk: what would be free without it, and what others have a share in."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.releases import extents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 512  # of st_blocks, whatever the file system is


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a directory takes, in bytes of whole blocks, and the number of its inodes.

    Shared is what has another name outside (hard links), or blocks that another file has too (clones), as far as the
    file system tells.
    """

    own_bytes: int
    shared_bytes: int
    inodes: int

    @property
    def size_bytes(self) -> int:
        """All that it takes, shared or not."""
        return self.own_bytes + self.shared_bytes


def measure(directory: Path) -> Cost:
    """Look at every file of a release, those of a venv that lies elsewhere too; what is gone meanwhile counts nothing.

    Takes some 0.1 s for 10,000 files, twice that where files share blocks.
    """
    total = shared = inodes = 0
    linked: dict[tuple[int, int], list[tuple[str, os.stat_result, bool]]] = {}
    for path, status, clones in _files(directory):
        is_file = stat.S_ISREG(status.st_mode)
        if is_file and status.st_nlink > 1:
            linked.setdefault((status.st_dev, status.st_ino), []).append((path, status, clones))
            continue
        inodes += 1
        total += status.st_blocks * BLOCK
        if is_file and clones:
            shared += _cloned(path, status.st_blocks * BLOCK)
    for names in linked.values():
        path, status, clones = names[0]
        taken = status.st_blocks * BLOCK
        inodes += 1
        total += taken
        if len(names) < status.st_nlink:
            shared += taken
        elif clones:
            shared += _cloned(path, taken)
    return Cost(own_bytes=total - shared, shared_bytes=shared, inodes=inodes)


def _files(directory: Path) -> Iterator[tuple[str, os.stat_result, bool]]:
    """Yield each file and directory, and whether its blocks may be shared."""
    venv = directory / "venv"
    for top in (str(directory), *([os.path.realpath(venv)] if venv.is_symlink() else [])):
        clones = extents.tells_sharing(top)
        for place, _, names in os.walk(top):
            for name in (*names, "."):
                path = os.path.join(place, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                yield path, status, clones


def _cloned(path: str, taken: int) -> int:
    if not taken:
        return 0
    try:
        return min(taken, extents.shared_bytes(path))
    except OSError:  # of a file that this user may not read
        return 0
