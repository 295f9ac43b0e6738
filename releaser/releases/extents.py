"""Which blocks of a file belong to others as well: btrfs and XFS let copies share them, and tell (FIEMAP)."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHARING = frozenset({"btrfs", "xfs"})
_FIEMAP = 0xC020660B  # FS_IOC_FIEMAP, linux/fs.h
_HEADER = struct.Struct("=QQIIII")  # start, length, flags, mapped extents, room for extents, reserved
_EXTENT = struct.Struct("=QQQQQIIII")  # logical, physical, length, 2 reserved, flags, 3 reserved
_AT_ONCE = 16  # extents
_LAST = 0x1
_SHARED = 0x2000
_TO_THE_END = (1 << 64) - 1


def tells_sharing(directory: str | Path) -> bool:
    """Whether the file system of a directory lets files share blocks, and tells which; False if that cannot be seen."""
    return file_system(directory) in SHARING


def file_system(directory: str | Path) -> str:
    """Return the type of the file system that a directory lies on, such as `ext4`; empty if it cannot be seen."""
    try:
        descriptor = os.open(directory, os.O_PATH)
    except OSError:
        return ""
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
            mount = re.search(r"^mnt_id:\s*(\d+)$", file.read(), re.MULTILINE)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if mount and line.split(" ", 1)[0] == mount.group(1)]
    except OSError:  # without /proc
        return ""
    finally:
        os.close(descriptor)
    return lines[0].partition(" - ")[2].split(" ", 1)[0] if lines else ""


def shared_bytes(path: str) -> int:
    """Return how many bytes of a file lie in blocks that belong to another file too. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return sum(length for length, flags in _extents(descriptor) if flags & _SHARED)
    finally:
        os.close(descriptor)


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """Yield length and flags of each extent of a file (`struct fiemap_extent`)."""
    start = 0
    while True:
        answer = bytearray(_HEADER.size + _AT_ONCE * _EXTENT.size)
        _HEADER.pack_into(answer, 0, start, _TO_THE_END - start, 0, 0, _AT_ONCE, 0)
        fcntl.ioctl(descriptor, _FIEMAP, answer)
        mapped = _HEADER.unpack_from(answer)[3]
        flags = _LAST
        for number in range(mapped):
            logical, _, length, _, _, flags, *_ = _EXTENT.unpack_from(answer, _HEADER.size + number * _EXTENT.size)
            yield length, flags
            start = logical + length
        if flags & _LAST:
            return
