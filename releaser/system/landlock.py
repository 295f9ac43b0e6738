"""Lets a program write in some places alone, by the Landlock of the kernel; set up in the child before it starts.

No other process has to be started for that. Words of a prefix stand for what is allowed, as they do for bubblewrap.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OLDEST = 3  # of its ABI, that of Linux 6.2: before, any file could be emptied
SIGNALS = 6  # the ABI since which signals are kept in, that of Linux 6.12
# Capabilities that are left to root: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE.
KEPT = (0, 1, 3, 4, 5, 6, 7, 10)
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
# Of the 15 rights of that ABI all but EXECUTE and READ_DIR: names of files are no secret.
RIGHTS = ((1 << 15) - 1) & ~1 & ~READ_DIR
OF_FILES = WRITE_FILE | READ_FILE | TRUNCATE
SCOPE_SIGNAL = 1 << 1
MAKE_SYM, REFER = 1 << 12, 1 << 13
_WITHIN, WITHOUT_SYMLINKS = "landlock", "landlock-without-symlinks"  # each the first word of a prefix
SINCE_REFER = 2  # the ABI since which files can be moved between directories at all
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, on every architecture
_CAPBSET_DROP, _NO_NEW_PRIVS = 24, 38  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Return the version of the kernel's Landlock; 0 where there is none."""
    return max(int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)), 0)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Allow something in a directory, or with a file; what is not there, or is not for this user, is passed over."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):
        rights &= OF_FILES
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place))
    _check(_libc.syscall(_ADD, ruleset, 1, rule, 0))
    os.close(place)


def _allow_reading(ruleset: int, place: str, hidden: list[str]) -> None:
    """Allow to read all below `place` but what is hidden: the kernel knows no exceptions, so its neighbours get it."""
    inside = place.rstrip("/") + "/"
    below = [one for one in hidden if one.startswith(inside)]
    try:
        entries = list(os.scandir(place)) if below else None
    except OSError:
        entries = None
    if entries is None:
        _allow(ruleset, place, READ_FILE)
        return
    for entry in entries:
        if entry.path not in below and not entry.is_symlink():
            _allow_reading(ruleset, entry.path, below)


def restrict(writable: list[str], hidden: list[str]) -> None:
    """Restrict this process, for good, with all that it starts. Raises OSError."""
    version = abi()
    attributes = struct.pack("=QQQ", RIGHTS, 0, SCOPE_SIGNAL)[: 24 if version >= SIGNALS else 8]
    ruleset = _check(_libc.syscall(_CREATE, ctypes.create_string_buffer(attributes), len(attributes), 0))
    _allow_reading(ruleset, "/", hidden)
    for path in (*writable, *(f"/dev/{name}" for name in DEVICES)):
        _allow(ruleset, path, RIGHTS)
    if os.geteuid() == 0:  # which could do without files what the rules are about
        for capability in range(64):
            if capability not in KEPT:
                _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.syscall(_RESTRICT, ruleset, 0))
    os.close(ruleset)


def forbid_symlinks() -> None:
    """Let this process, and all that it starts, make no symlink; nothing else changes for it. Raises OSError."""
    attributes = struct.pack("=Q", MAKE_SYM | REFER)
    ruleset = _check(_libc.syscall(_CREATE, ctypes.create_string_buffer(attributes), len(attributes), 0))
    place = os.open("/", os.O_PATH | os.O_CLOEXEC)
    rule = ctypes.create_string_buffer(struct.pack("=Qi", REFER, place))
    _check(_libc.syscall(_ADD, ruleset, 1, rule, 0))
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _check(_libc.syscall(_RESTRICT, ruleset, 0))


def prefix_of(writable: Sequence[str], hidden: Sequence[str]) -> tuple[str, ...]:
    """Return the words for these places, absolute and without symlinks: those that are writable, or not to be read."""
    return (_WITHIN, str(len(writable)), *writable, *hidden)


def restriction_of(prefix: Sequence[str]) -> Callable[[], None] | None:
    """Return what a child has to do before it becomes the program; None if a prefix is none of Landlock's.

    If that fails, the child says so and ends, as it would otherwise run without.
    """
    if prefix[:1] not in ((WITHOUT_SYMLINKS,), (_WITHIN,)):
        return None

    def restrict_itself() -> None:
        try:
            if prefix[0] == WITHOUT_SYMLINKS:
                forbid_symlinks()
            else:
                end = 2 + int(prefix[1])
                restrict([*prefix[2:end]], [*prefix[end:]])
        except OSError as error:
            os.write(2, f"It cannot be started in isolation: {error}\n".encode())
            os._exit(1)

    return restrict_itself
