"""The processes that use a release, from leases and `/proc`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.releases.lease import LEASE, flock_of, open_lease, open_there
from releaser.system.files import link_text
from releaser.system.frozen import Frozen
from releaser.system.sections import Section
from releaser.system.uptime import uptime

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 120  # characters of a command line
_LOOKS = 5  # tries before a release counts as used: another releaser may hold the lock for a moment, as monitoring does
_KERNEL_FLAGS_BEFORE = 22  # proc_pid_stat(5): the start time is field 22


class LeftBehind(Frozen):
    """A process that still runs on a release which is not live; `since` is when it began, as ISO 8601."""

    release: str
    pid: int
    user: str
    command: str
    since: str


class ProcessesSection(Section):
    """The processes on earlier releases when a run ended."""

    #: The processes on other releases than the live one when the run ended.
    left_behind: tuple[LeftBehind, ...] = ()


class Process(Frozen):
    """A process."""

    pid: int
    user: str
    command: str
    #: When the process started, in seconds since the system did (CLOCK_BOOTTIME). No one can set that clock, so this is
    #: comparable with the moment of a flip.
    began: float

    @property
    def started_at(self) -> float:
        """The start time, in seconds since 1970."""
        return time.time() - uptime() + self.began

    @property
    def since(self) -> str:
        """The start time, as ISO 8601 in UTC, to the second."""
        return datetime.fromtimestamp(self.started_at, UTC).isoformat(timespec="seconds")

    def __str__(self) -> str:
        return f"{self.pid} ({self.user}, {self.command}, since {self.since[:16].replace('T', ' ')} UTC)"


def look(pid: int) -> Process | None:
    """Return the facts about a process; None if it has ended (a zombie counts as ended)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()  # the name before may hold anything
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            uid = next(int(line.split()[2]) for line in file if line.startswith("Uid:"))  # the effective one
    except (OSError, StopIteration, ValueError):
        return None
    if fields[0] in "ZX":
        return None
    began = int(fields[_KERNEL_FLAGS_BEFORE - 3]) / os.sysconf("SC_CLK_TCK")
    import pwd

    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Process(pid=pid, user=user, command=_command(pid), began=began)


def release_of(pid: int) -> str | None:
    """Return the venv of the release that a process uses, by its lease; None if it uses none, or that is unknown."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            path = line.rstrip("\n").split(maxsplit=5)[-1]
            if path.endswith("/releaser.lease"):
                return os.path.realpath(os.path.dirname(path))
    return None


def parent_of(pid: int) -> int:
    """Return the id of the parent of a process (proc_pid_stat(5)); 0 if it is unknown."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file,
    ):
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


def _command(pid: int) -> str:
    """Return the command line, on one line and shortened; without one, the name of the program."""
    for name in ("cmdline", "comm"):
        try:
            with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
                text = file.read().rstrip("\0\n").replace("\0", " ")
        except OSError:
            continue
        if text:
            printable = "".join(letter if letter.isprintable() else "?" for letter in text)
            return printable if len(printable) <= _LONGEST else printable[: _LONGEST - 3] + "..."
    return "?"


def executable(pid: int) -> str:
    """Return the file that a process runs, with ` (deleted)` appended if it is gone; empty if it may not be read."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def maps(pid: int, inode: int, name: str) -> bool:
    """True if a process maps a file of this inode and name; False if that may not be read."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return any(name in line and line.split(maxsplit=5)[4] == str(inode) for line in file)
    except OSError:
        return False


def _may_have(pid: int, inode: int, name: str) -> bool:
    """True if a process has such a file open or mapped, or if that may not be read."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as found:
            is_open = any(name in (link_text(process.path) or "") for process in found)
    except PermissionError:
        return True
    except OSError:
        return False
    return is_open or maps(pid, inode, name)  # in this order, as a starting process maps the file and then closes it


Locks = dict[tuple[int, int, int], list[int]]  # processes with a flock, by device and inode of the file


def claim(directory: str) -> int | None:
    """Take the exclusive lock for a deletion; return its descriptor, or None while the release is in use."""
    try:
        descriptor = open_lease(directory)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, flock_of(fcntl.F_WRLCK))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # the file may not be written; a process that starts now may get a lock
        if _has_other_lock(descriptor):
            os.close(descriptor)
            return None
    return descriptor


def _has_other_lock(descriptor: int) -> bool:
    """True if a process holds the other kind of lock, which it takes while a stranger blocks flock(2)."""
    try:
        found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, flock_of(fcntl.F_WRLCK))
    except OSError:  # a directory, or a file system without these
        return False
    return int.from_bytes(found[:2], sys.byteorder) != fcntl.F_UNLCK  # its first field, a short


def is_used(directory: str) -> bool:
    """True if any process uses the release, also one that this process cannot see; writes nothing.

    Takes the lock for a moment: a process that starts or looks just then tries again.
    """
    for _ in range(_LOOKS):
        if _probe(directory) is not True:
            return False
        time.sleep(0.005)
    return True


def _probe(directory: str) -> bool | None:
    """Return whether the release is in use; None if the lock cannot be tried."""
    try:
        descriptor = open_there(f"{directory}/{LEASE}")
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _has_other_lock(descriptor)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(descriptor)


def read_file_locks() -> Locks:
    """Return the processes that hold locks, by file, from /proc/locks (proc_locks(5))."""
    found: Locks = {}
    try:
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.readlines()
    except OSError:
        return found
    for line in lines:
        words = line.split()  # 1: FLOCK  ADVISORY  WRITE 123 fe:00:456 0 EOF; the device is hexadecimal
        if len(words) >= 6 and words[1] in ("FLOCK", "OFDLCK"):  # of the latter, no process is named
            major, minor, inode = words[5].split(":")
            found.setdefault((int(major, 16), int(minor, 16), int(inode)), []).append(int(words[4]))
    return found


def holders(directory: str, locks: Callable[[], Locks] = read_file_locks) -> list[int]:
    """Return the ids of the processes that use the release, as far as this process can see them.

    The kernel names the process that took a lock. A forked child keeps the lock after that process has ended and its id
    was perhaps reused: then the mappings of all processes are searched. They are also searched if the kernel names the
    file by another device than stat(2), as with Btrfs. `locks` may cache the answer of the kernel for many releases.
    """
    try:
        if _probe(directory) is False:
            return []  # quickly: for /proc/locks, the kernel needs more than 10 ms
        status = os.stat(os.path.join(directory, LEASE))
    except OSError:
        return []
    inode, place = status.st_ino, (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    seen = locks()
    named = {pid for pid in seen.get(place, []) if pid > 0}
    name = os.path.basename(LEASE)
    alive = {pid for pid in named if look(pid) is not None and _may_have(pid, inode, name)}
    is_elsewhere = place not in seen and any(number == inode for _, _, number in seen)
    if named - alive or is_elsewhere or any(pid <= 0 for pid in seen.get(place, [])):
        everybody = (int(name) for name in os.listdir("/proc") if name.isdecimal())
        alive.update(pid for pid in everybody if maps(pid, inode, name))
    return sorted(alive)


def users(directory: str, locks: Callable[[], Locks] = read_file_locks) -> list[Process]:
    """Return the processes that use the release, as far as this process can see them."""
    return [process for pid in holders(directory, locks) if (process := look(pid)) is not None]
