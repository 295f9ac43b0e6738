"""What a unit of systemd lets its programs call, as a filter for bubblewrap: made by libseccomp, as systemd does."""

import ctypes
import ctypes.util
import os
import subprocess
import tempfile
from collections.abc import Iterable

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp(2)
_EPERM, _ENOSYS = 1, 38
_EQUAL, _MASKED = 4, 7  # how libseccomp compares
_NAMESPACES = 0x7E020080  # all of CLONE_NEW..., clone(2)
_KINDS = {"ipc": 0x08000000, "mnt": 0x00020000, "net": 0x40000000, "pid": 0x20000000, "user": 0x10000000}
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class _Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def library() -> str | None:
    """Return the name of libseccomp, if it is there."""
    return ctypes.util.find_library("seccomp")


def filter_file(allowed: Iterable[str], families: Iterable[str], *, namespaces: Iterable[str]) -> int:
    """Return a descriptor of a file with the filter: calls that are not `allowed`, by name or `@set`, get EPERM.

    Sockets are of one of the `families`; processes make `namespaces` of these kinds alone, and enter none. None becomes
    of real time, or changes its personality.
    """
    forbidden = _NAMESPACES & ~sum(_KINDS[one] for one in namespaces)
    seccomp = ctypes.CDLL(library())
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(_ERRNO | _EPERM))

    def rule(name: str, *comparisons: _Comparison, action: int = _ALLOW) -> None:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else not of this architecture
            many = (_Comparison * len(comparisons))(*comparisons)
            result = seccomp.seccomp_rule_add_array(context, action, number, len(comparisons), many)
            assert result == 0, (name, result)

    names = _names(allowed)
    for name in names - {"socket", "personality", "sched_setscheduler", "clone", "clone3", "unshare", "setns"}:
        rule(name)
    for family in families:
        rule("socket", _Comparison(0, _EQUAL, _FAMILIES[family], 0))
    rule("personality", _Comparison(0, _EQUAL, 0, 0))
    for policy in (0, 3, 5):  # SCHED_OTHER, SCHED_BATCH, SCHED_IDLE
        rule("sched_setscheduler", _Comparison(1, _EQUAL, policy, 0))
    rule("clone", _Comparison(0, _MASKED, forbidden, 0))
    rule("unshare", _Comparison(0, _MASKED, forbidden, 0))
    rule("clone3", action=_ERRNO | _ENOSYS)  # whose flags no filter sees; C libraries take clone then
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    assert seccomp.seccomp_export_bpf(context, descriptor) == 0
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _names(words: Iterable[str]) -> set[str]:
    """Return the names of calls, and of those in sets of systemd, which `systemd-analyze` knows."""
    found: set[str] = set()
    for word in words:
        if word.startswith("@"):
            said = subprocess.check_output(["systemd-analyze", "--no-pager", "syscall-filter", word], text=True)
            found |= _names(line.strip() for line in said.splitlines()[1:] if line.strip() and "#" not in line)
        else:
            found.add(word)
    return found
