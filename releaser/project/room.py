"""Whether there is room for what a run is going to write: bytes and inodes, on each file system that it writes to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Unfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LEAST_BYTES = 50_000_000  # for a release, also if its size is not known yet
LEAST_INODES = 5_000
_WORTH_NAMING = 1_000_000  # bytes


@dataclass(frozen=True, kw_only=True)
class Need:
    """What is going to be written below `place`, which need not be there yet; `remedy` says how to make room there."""

    what: str
    place: Path
    bytes: int
    inodes: int
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """What is free for this user; `inodes` is None where the file system does not count them."""

    bytes: int
    inodes: int | None


def for_release(state_dir: Path, *, needed_bytes: int = 0, needed_inodes: int = 0, shares: bool = False) -> Need:
    """Return what another release needs, where it `shares` what is the same with others, and is smaller for that."""
    return Need(
        what="another release" + (", which shares what does not change" if shares else ""),
        place=state_dir,
        bytes=max(needed_bytes, LEAST_BYTES),
        inodes=max(needed_inodes, LEAST_INODES),
        remedy="prune: `releaser prune`; lower `keep`",
    )


def free_room(place: Path) -> Room:
    """Return what is free where something is to lie that need not be there yet."""
    free = os.statvfs(nearest_existing(place))
    return Room(bytes=free.f_bavail * free.f_frsize, inodes=free.f_favail if free.f_files > 0 else None)


def nearest_existing(path: Path) -> Path:
    """Return the path itself or the nearest of its parents that exists."""
    while not os.path.exists(path) and path != path.parent:  # false, too, for what lies in a forbidden directory
        path = path.parent
    return path


def findings(needs: Iterable[Need]) -> Iterator[Unfit]:
    """Check free bytes and inodes; what lies on one file system needs room together."""
    together: dict[int, list[Need]] = {}
    for need in needs:
        together.setdefault(os.stat(nearest_existing(need.place)).st_dev, []).append(need)
    for found in together.values():
        yield from _lacks(found)


def _lacks(needs: list[Need]) -> Iterator[Unfit]:
    what, place = needs[0].what, nearest_existing(needs[0].place)
    free, remedies = free_room(place), dict.fromkeys(need.remedy for need in needs if need.remedy)
    advice = f"Make room, or {'; '.join(remedies)}."
    needed = sum(need.bytes for need in needs)
    if free.bytes < needed:
        message = f"no space for {what}: {_mb(free.bytes)} free at {place}, {_mb(needed)} needed{_parts(needs)}"
        yield Unfit(message, advice=advice)
    inodes = sum(need.inodes for need in needs)
    if free.inodes is not None and free.inodes < inodes:
        yield Unfit(f"too few free inodes for {what}: {free.inodes} at {place}, {inodes} needed", advice=advice)


def _parts(needs: list[Need]) -> str:
    """Say what the most of it is for, unless that is one thing."""
    large = [need for need in needs if need.bytes >= _WORTH_NAMING]
    if len(large) < 2:
        return ""
    return f" ({', '.join(f'{_mb(need.bytes)} for {need.what}' for need in large)})"


def _mb(number: int) -> str:
    return f"{number / 1e6:.0f} MB"
