"""Uses the kernel's Landlock to stop a program from making symlinks or reaching abstract sockets.

The child sets up the rules before it becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import struct

from releaser.system.process import Sandbox

_OLDEST = 2  # ABI version that allows moves between directories, from Linux 5.19
_SCOPED = 6  # ABI version that can limit a process to its own abstract sockets, from Linux 6.12
_MAKE_SYM, _REFER = 1 << 12, 1 << 13
_ABSTRACT_SOCKETS = 1 << 0
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, on every architecture
_NO_NEW_PRIVS = 38  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def without_symlinks() -> Sandbox | None:
    """Return a sandbox that makes no symlinks, so that uv builds nothing; None if the kernel cannot forbid symlinks.

    uv makes an environment for each build, whose `bin/python` is a symlink (seen with uv 0.12 and 0.13).
    """
    return Sandbox(begin=forbid_symlinks) if can_forbid_symlinks() else None


def can_forbid_symlinks() -> bool:
    """True if the kernel can forbid symlinks without forbidding anything else."""
    return _version() >= _OLDEST


def can_forbid_abstract_sockets() -> bool:
    """True if the kernel can keep a program from the abstract sockets (unix(7)) of other processes."""
    return _version() >= _SCOPED


def forbid_symlinks() -> None:
    """Forbid this process and its children to make symlinks. On failure, print the error and end the process."""
    try:
        ruleset = _make_rules("=Q", _MAKE_SYM | _REFER)
        place = os.open("/", os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", _REFER, place))
        check_result(_libc.syscall(_ADD, ruleset, 1, rule, 0))
        _restrict(ruleset)
    except OSError as error:
        os.write(2, f"It cannot be started without symlinks: {error}\n".encode())
        os._exit(1)


def forbid_abstract_sockets() -> None:
    """Forbid this process and its children to reach abstract sockets of others. On failure, print the error and end.

    The process can still mount, because access to files is not restricted.
    """
    try:
        _restrict(_make_rules("=QQQ", 0, 0, _ABSTRACT_SOCKETS))
    except OSError as error:
        os.write(2, f"It cannot be started without abstract sockets: {error}\n".encode())
        os._exit(1)


def _version() -> int:
    return int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1))


def _make_rules(form: str, *attributes: int) -> int:
    """Return the descriptor of new rules; the attributes restrict files, the network, and the scope of the process."""
    packed = struct.pack(form, *attributes)
    return check_result(_libc.syscall(_CREATE, ctypes.create_string_buffer(packed), ctypes.c_size_t(len(packed)), 0))


def _restrict(ruleset: int) -> None:
    check_result(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    check_result(_libc.syscall(_RESTRICT, ruleset, 0))


def check_result(result: int) -> int:
    """Return the result of a system call. Raises OSError if that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
