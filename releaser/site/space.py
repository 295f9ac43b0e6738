"""Checks that planned files fit: free bytes and inodes, by file system."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.system.files import nearest_existing
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


_WORTH_NAMING = 1_000_000  # bytes


class Need(Frozen):
    """The space for files to be written below `place`, which need not exist yet."""

    what: str
    place: Path
    bytes: int
    inodes: int
    #: How to free space there.
    remedy: str = ""


class FreeSpace(Frozen):
    """The space that this user may still take on a file system."""

    bytes: int
    #: None where the file system does not count them.
    inodes: int | None


def free_space(place: Path) -> FreeSpace:
    """Return the free space at a path that need not exist yet."""
    found = os.statvfs(nearest_existing(place))
    return FreeSpace(bytes=found.f_bavail * found.f_frsize, inodes=found.f_favail if found.f_files > 0 else None)


def find_lacks(needs: Iterable[Need]) -> Iterator[Finding]:
    """Yield a finding for each lack of free bytes or inodes; needs on one file system are added up."""
    by_device: dict[int, list[Need]] = {}
    for need in needs:
        by_device.setdefault(os.stat(nearest_existing(need.place)).st_dev, []).append(need)
    for found in by_device.values():
        purpose, place = found[0].what, nearest_existing(found[0].place)
        free, remedies = free_space(place), dict.fromkeys(need.remedy for need in found if need.remedy)
        advice = f"Free some space, or {'; '.join(remedies)}."
        needed = sum(need.bytes for need in found)
        if free.bytes < needed:
            large = [f"{_mb(need.bytes)} for {need.what}" for need in found if need.bytes >= _WORTH_NAMING]
            parts = f" ({', '.join(large)})" if len(large) > 1 else ""
            message = f"no space for {purpose}: {_mb(free.bytes)} free at {place}, {_mb(needed)} needed{parts}"
            yield Finding("disk-full", message, advice)
        inodes = sum(need.inodes for need in found)
        if free.inodes is not None and free.inodes < inodes:
            yield Finding(
                "inodes-full",
                f"too few free inodes for {purpose}: {free.inodes} at {place}, {inodes} needed",
                advice,
            )


def _mb(number: int) -> str:
    return f"{number / 1e6:.0f} MB"
