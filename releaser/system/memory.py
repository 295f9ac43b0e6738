"""Limits the memory of a run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 64 * 1024  # bytes
_NEVER = 32 * 1024 * 1024  # bytes, the most that glibc allows


@contextlib.contextmanager
def returned_large_blocks() -> Iterator[None]:
    """Make glibc return each large block to the system once it is freed, in the block; other C libraries ignore it.

    Otherwise it raises its limit for "large" with each such block (mallopt(3)), and the output of tests stays. Who
    reads thousands of files does without: a new block for each file costs an update a fifth of its time.
    """
    import ctypes  # slow to import

    def set_limit(size: int) -> None:
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, size)

    set_limit(_LARGE)
    try:
        yield
    finally:
        set_limit(_NEVER)
