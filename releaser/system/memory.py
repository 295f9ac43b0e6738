"""Keeps the memory of a run small."""

from __future__ import annotations

import contextlib

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 64 * 1024  # bytes


def return_large_blocks() -> None:
    """Make the C library return each large block to the system once it is freed; others than glibc have no such option.

    Otherwise it raises its own limit for "large" with each such block (mallopt(3)), and the output of tests stays.
    """
    import ctypes  # slow to import

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
