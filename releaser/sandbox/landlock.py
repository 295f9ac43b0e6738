"""Lets a program make no symlink, or reach no abstract socket, by the Landlock of the kernel.

It is set up in the child before it starts.
"""

from __future__ import annotations

import ctypes
import os
import struct

_OLDEST = 2  # the version of its ABI since which files can be moved between directories at all, that of Linux 5.19
_SCOPED = 6  # since which a program can be kept to its own abstract sockets, that of Linux 6.12
_MAKE_SYM, _REFER = 1 << 12, 1 << 13
_ABSTRACT_SOCKETS = 1 << 0
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, on every architecture
_NO_NEW_PRIVS = 38  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def can_forbid_symlinks() -> bool:
    """Whether the kernel can keep a program from making symlinks, and from nothing else."""
    return _version() >= _OLDEST


def can_forbid_abstract_sockets() -> bool:
    """Whether the kernel can keep a program from abstract sockets (unix(7)) of others."""
    return _version() >= _SCOPED


def forbid_symlinks() -> None:
    """Let this process, and all that it starts, make no symlink. It says so and ends if that fails."""
    try:
        ruleset = _make_rules("=Q", _MAKE_SYM | _REFER)
        place = os.open("/", os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", _REFER, place))
        _check(_libc.syscall(_ADD, ruleset, 1, rule, 0))
        _restrict(ruleset)
    except OSError as error:
        os.write(2, f"It cannot be started without symlinks: {error}\n".encode())
        os._exit(1)


def forbid_abstract_sockets() -> None:
    """Let this process, and all that it starts, reach no abstract socket but those of its own.

    It can still mount, as no access to files is restricted. It says so and ends if that fails.
    """
    try:
        _restrict(_make_rules("=QQQ", 0, 0, _ABSTRACT_SOCKETS))
    except OSError as error:
        os.write(2, f"It cannot be started without abstract sockets: {error}\n".encode())
        os._exit(1)


def _version() -> int:
    return int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1))


def _make_rules(form: str, *attributes: int) -> int:
    """Make rules: what is restricted of files, of the network, and to the process itself."""
    packed = struct.pack(form, *attributes)
    return _check(_libc.syscall(_CREATE, ctypes.create_string_buffer(packed), ctypes.c_size_t(len(packed)), 0))


def _restrict(ruleset: int) -> None:
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.syscall(_RESTRICT, ruleset, 0))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
