"""Letting a new release share the blocks that are the same in an earlier one, where the file system can (btrfs, XFS).

uv clones what it installs from its cache. What is written for each release is not shared by that: byte code, whose
first block differs (the time of the source is in it) while most others do not, packages that are built from the
checkout, and everything if uv's cache lies on another file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import struct
from typing import TYPE_CHECKING

from releaser.durable import sync_file_system
from releaser.releases import extents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

_FIDEDUPERANGE = 0xC0189436  # ioctl_fideduperange(2)
# `struct file_dedupe_range` with one target: offset, length, 1, 2 reserved; descriptor, offset, done, status, reserved
_RANGE = struct.Struct("=QQHHIqQQiI")
_AT_ONCE = 1 << 20  # bytes; a multiple of every block size


def dedupe(venv: Path, like: Path) -> int:
    """Share what is the same in files of the same name; return the bytes that this saved. Nothing in any file changes.

    The kernel compares both sides itself, and shares only what is equal. Whatever goes wrong, the files stay as they
    are, as this is never worth a failure.
    """
    if not extents.tells_sharing(venv):
        return 0
    saved = 0
    rewrites = extents.file_system(venv) == "btrfs"  # which keeps an extent whole as long as a part of it is in use
    try:
        sync_file_system(venv)  # else the kernel would write out file by file
        block = os.statvfs(venv).f_bsize
        for path in _unshared(str(venv)):
            saved += _share(path, os.path.join(like, os.path.relpath(path, venv)), block, rewrites=rewrites)
    except OSError as error:
        log.info("no more blocks are shared: %s", error)
    return saved


def _unshared(venv: str) -> Iterator[str]:
    """Yield the files that have blocks of their own."""
    for place, _, names in os.walk(venv):
        for name in names:
            path = os.path.join(place, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode) and status.st_blocks * 512 > extents.shared_bytes(path):
                yield path


def _share(path: str, like: str, block: int, *, rewrites: bool) -> int:
    """Share the blocks of one file. Raises OSError where the file system cannot do that at all."""
    with contextlib.ExitStack() as closing:
        try:
            source = _opened(closing, like, os.O_RDONLY | os.O_NONBLOCK)
            target = _opened(closing, path, os.O_RDWR)
        except OSError:  # there is none, as of all that is new; or it is a program that runs
            return 0
        runs = [run for run in _equal_runs(source, target, block) if _share_range(source, target, *run)]
        if rewrites and runs:
            _write_again(target, runs)
        return sum(length for _, length in runs)


def _opened(closing: contextlib.ExitStack, path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    closing.callback(os.close, descriptor)
    return descriptor


def _equal_runs(source: int, target: int, block: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of what is the same in both; only what ends both files need not be whole blocks."""
    same_size = os.fstat(source).st_size == os.fstat(target).st_size
    if not stat.S_ISREG(os.fstat(source).st_mode):
        return
    offset = 0
    while one := os.pread(source, _AT_ONCE, offset):
        other = os.pread(target, _AT_ONCE, offset)
        began = None
        for at in range(0, len(one), block):
            equal = one[at : at + block] == other[at : at + block] and (same_size or at + block <= len(one))
            if equal and began is None:
                began = at
            elif not equal and began is not None:
                yield offset + began, at - began
                began = None
        if began is not None:
            yield offset + began, len(one) - began
        offset += len(one)


def _share_range(source: int, target: int, offset: int, length: int) -> bool:
    """Let the kernel compare and share one range, the same in both files; return whether it did."""
    done = 0
    while done < length:
        asked = bytearray(_RANGE.pack(offset + done, length - done, 1, 0, 0, target, offset + done, 0, 0, 0))
        fcntl.ioctl(source, _FIDEDUPERANGE, asked)
        *_, shared, status, _ = _RANGE.unpack(asked)
        if status != 0 or shared == 0:  # changed meanwhile, or not a kind of extent that can be shared
            return False
        done += shared
    return True


def _write_again(target: int, shared: list[tuple[int, int]]) -> None:
    """Write what is not shared once more, the same bytes, so that nothing of the extents it was in is left."""
    status = os.fstat(target)
    ends = [0, *(offset + length for offset, length in shared)]
    try:
        for begin, end in zip(ends, [*(offset for offset, _ in shared), status.st_size], strict=True):
            for at in range(begin, end, _AT_ONCE):
                os.pwrite(target, os.pread(target, min(_AT_ONCE, end - at), at), at)
    finally:  # the byte code of a source goes by its time
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
