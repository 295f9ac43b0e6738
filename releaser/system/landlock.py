"""Lets a program make no symlink, by the Landlock of the kernel; set up in the child before it starts."""

from __future__ import annotations

import ctypes
import os
import struct

_OLDEST = 2  # the version of its ABI since which files can be moved between directories at all, that of Linux 5.19
_MAKE_SYM, _REFER = 1 << 12, 1 << 13
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, on every architecture
_NO_NEW_PRIVS = 38  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def can_forbid_symlinks() -> bool:
    """Whether the kernel can keep a program from making symlinks, and from nothing else."""
    return int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)) >= _OLDEST


def forbid_symlinks() -> None:
    """Let this process, and all that it starts, make no symlink. It says so and ends if that fails."""
    try:
        attributes = struct.pack("=Q", _MAKE_SYM | _REFER)
        ruleset = _check(_libc.syscall(_CREATE, ctypes.create_string_buffer(attributes), len(attributes), 0))
        place = os.open("/", os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", _REFER, place))
        _check(_libc.syscall(_ADD, ruleset, 1, rule, 0))
        _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(_libc.syscall(_RESTRICT, ruleset, 0))
    except OSError as error:
        os.write(2, f"It cannot be started without symlinks: {error}\n".encode())
        os._exit(1)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
