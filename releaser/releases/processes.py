"""What /proc tells about a process: who runs it, what it is, since when.

Imports little, as `releaser list` needs it.
"""

from __future__ import annotations

import os
import time
from collections import namedtuple

_LONGEST = 120  # characters of a command line
_KERNEL_FLAGS_BEFORE = 22  # proc_pid_stat(5): the start time is field 22


class Process(namedtuple("Process", "pid user command began")):
    """A process; `began` is when it started, in seconds since the system did (CLOCK_BOOTTIME).

    That clock is not set by anybody, so it can be compared with the moment of a flip.
    """

    __slots__ = ()
    pid: int
    user: str
    command: str
    began: float

    @property
    def started_at(self) -> float:
        """When it started, in seconds since 1970."""
        return time.time() - now() + self.began

    def as_json(self) -> dict[str, object]:
        """Return what JSON output shows of it."""
        return {"pid": self.pid, "user": self.user, "command": self.command, "since": self.since}

    @property
    def since(self) -> str:
        """When it started, as ISO 8601 in UTC, to the second."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self.started_at, UTC).isoformat(timespec="seconds")

    def __str__(self) -> str:
        return f"{self.pid} ({self.user}, {self.command}, since {self.since[:16].replace('T', ' ')} UTC)"


def now() -> float:
    """Return the seconds since the system started, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Name the time since the system started: another one gives another name (random(4)); empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def look(pid: int) -> Process | None:
    """Return what there is to know about a process; None when it has ended (a zombie counts as ended)."""
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
    return Process(pid, _user(uid), _command(pid), began)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command(pid: int) -> str:
    """Return the command line, on one line and not too long; the name of the program if there is none."""
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
    """Return the file that a process runs, with ` (deleted)` behind it if it is gone; empty if nobody may know."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def with_mapping(inode: int, name: str) -> list[int]:
    """Return the ids of the processes that map the file `name` with this inode, of those that may be looked at."""
    return sorted(pid for pid in _all() if maps(pid, inode, name))


def maps(pid: int, inode: int, name: str) -> bool:
    """Whether a process maps a file of this inode and name; False as well if it may not be looked at."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
            return any(name in line and line.split(maxsplit=5)[4] == str(inode) for line in file)
    except OSError:
        return False


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return []
