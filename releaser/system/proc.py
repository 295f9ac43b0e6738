"""Questions about processes of this host, as far as this user may see them: who runs what, since when, and listens."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from releaser.system.text import LONGEST_LINE, clip, escape, redact

_LISTENING = {"tcp": (3, "0A", 9), "tcp6": (3, "0A", 9), "unix": (3, "00010000", 6)}  # column, its text, the inode's
_PARENT, _TERMINAL, _START = 1, 4, 19  # fields of /proc/PID/stat after the name
_UNIT = re.compile(r"/([^/]+\.service)(?:/[^/]*)?$", re.MULTILINE)


def list_processes() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int, name: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    return ""


def _read_stat(pid: int) -> list[str]:
    return _read(pid, "stat").rpartition(")")[2].split()


def is_running(pid: int) -> bool:
    """Return True if a process exists and has not ended; a zombie has."""
    return _read_stat(pid)[:1] not in ([], ["Z"], ["X"])


def find_parent(pid: int) -> int:
    """Return the parent of a process; 0 if there is none."""
    return int(next(iter(_read_stat(pid)[_PARENT:]), 0))


def has_terminal(pid: int) -> bool:
    """Return True if a process has a controlling terminal: a person has started it."""
    return _read_stat(pid)[_TERMINAL : _TERMINAL + 1] not in ([], ["0"])


def find_session(pid: int) -> int:
    """Return the session of a process; -1 if this user may not see it."""
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def read_words(pid: int) -> list[str]:
    """Return the command line of a process."""
    return _read(pid, "cmdline").rstrip("\0").split("\0")


def read_environment(pid: int) -> list[str]:
    """Return the variables with which a process began, as `NAME=VALUE`; none that this user may not see."""
    return _read(pid, "environ").split("\0")


def find_directory(pid: int) -> Path:
    """Return the working directory of a process; an empty path if this user may not see it."""
    with contextlib.suppress(OSError):
        return Path(os.readlink(f"/proc/{pid}/cwd"))
    return Path()


def find_working_in(directory: Path) -> list[int]:
    """Return the processes whose working directory is this one, as far as this user may see them."""
    return [pid for pid in list_processes() if find_directory(pid) == directory.resolve()]


def describe_command(pid: int) -> str:
    """Return the command line of a process for people, in one line."""
    return clip(escape(redact(" ".join(read_words(pid)).strip())), LONGEST_LINE)


def find_ticks(pid: int) -> int:
    """Return when a process started, in ticks after boot; 0 if it has ended. Its number may be used again."""
    return int(next(iter(_read_stat(pid)[_START:]), 0))


def find_start(pid: int) -> float:
    """Return when a process started, in seconds since the epoch; 0 if it has ended."""
    ticks = find_ticks(pid)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age if ticks else 0.0


def find_unit(pid: int) -> str:
    """Return the service of systemd in which a process runs; empty if it runs in none."""
    found = _UNIT.findall(_read(pid, "cgroup"))
    return next((unit for unit in found if not unit.startswith(("user@", "cron.", "crond.", "ssh"))), "")


def list_addresses(pid: int) -> set[str]:
    """Return where a process listens, by port or path; an empty text stands for what this user may not see."""
    try:
        names = [os.readlink(entry) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return {""} if is_running(pid) else set()
    sockets, addresses = {name[8:-1] for name in names if name.startswith("socket:[")}, set[str]()
    for table, (column, text, inode) in _LISTENING.items() if sockets else ():
        rows = [row.split() for row in _read(pid, f"net/{table}").splitlines()[1:]]
        own = [row for row in rows if row[column] == text and row[inode] in sockets]
        addresses |= {row[1].rpartition(":")[2] if table != "unix" else row[-1] for row in own}
    return addresses
