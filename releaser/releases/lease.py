"""Leases: a locked file beside each venv shows every user of the host that a process runs on the release.

The start-up module in the venv takes a shared lock when a Python of the venv starts. See `startup/_releaser.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from releaser.releases import startup
from releaser.releases.venv import find_site_packages
from releaser.system import proc
from releaser.system.files import remove_path
from releaser.system.text import format_time, join_few

LEASE = "lease"
MODULE = "_releaser.py"
STARTUP_FILES = {
    MODULE: (Path(startup.__file__).parent / MODULE).read_bytes(),
    "_releaser.pth": b"import _releaser\n",
    "_releaser.start": b"_releaser:has_started\n",  # instead of the line above, from Python 3.15 on
}
HIDDEN = 0
_OFD_GETLK = 36  # fcntl(2)
_EXCLUSIVE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


class Process(msgspec.Struct, frozen=True):
    """A process on a release. Of one that this user may not see, `pid` is 0 and `since` None."""

    pid: int
    release: str
    command: str
    since: datetime | None

    @property
    def sentence(self) -> str:
        """The process for people."""
        if self.since is None:
            return "a process of another user"
        return f"process {self.pid} (`{self.command}`, since {format_time(self.since)})"


def install_startup_module(venv: Path) -> None:
    """Put the start-up module into a venv. Raises OSError."""
    for name, data in STARTUP_FILES.items():
        path = find_site_packages(venv) / name
        if not path.is_file() or path.read_bytes() != data:
            remove_path(path)  # never in place: releases share files
            path.write_bytes(data)


def has_startup_module(venv: Path) -> bool:
    """Return True if a venv has the start-up module of this version, whose records are known."""
    path = find_site_packages(venv) / MODULE
    return path.is_file() and path.read_bytes() == STARTUP_FILES[MODULE]


def remove_startup_module(venv: Path) -> None:
    """Take the start-up module out of a venv. Raises OSError."""
    place = find_site_packages(venv)
    # The module last: a Python that starts meanwhile must not miss it.
    for path in (*(place / name for name in reversed(STARTUP_FILES)), *(place / "__pycache__").glob("_releaser.*.pyc")):
        remove_path(path)


def make_lease(release: Path) -> None:
    """Make the lease of a release: of one byte, readable for everybody. Raises OSError."""
    path = release / LEASE
    if not path.is_file() or path.is_symlink():
        remove_path(path)
        path.write_bytes(b"\n")
    if stat.S_IMODE(path.stat().st_mode) != 0o444:
        path.chmod(0o444)


def is_used(release: Path) -> bool:
    """Return True if any process uses the release, of whichever user: it holds a lock on the lease.

    Any user can take a shared lock. That keeps the release; nobody's lock lets it go, since the exclusive one needs the
    right to write. A release without a lease has no start-up module either: nothing is known of its processes.
    """
    try:
        descriptor = os.open(release / LEASE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # start-up modules of earlier versions have such a lock
        answer = fcntl.fcntl(descriptor, _OFD_GETLK, _EXCLUSIVE)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def list_users(release: Path) -> tuple[int, ...]:
    """Return the ids of the processes that hold a lease, as far as this user may see them."""
    if not is_used(release):
        return ()
    path = os.path.realpath(release / LEASE)
    users = []
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and _holds(Path(entry.path), path):
                users.append(int(entry.name))
    return tuple(sorted(users))


def list_owners(release: Path, link: Path) -> set[int]:
    """Return the users whose processes run a release, by their leases or their command lines, as far as seen."""
    found, owners = set(list_users(release)), set[int]()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        is_named = any(word.startswith((f"{link}/", f"{release}/")) for word in proc.read_words(pid)[:2])
        with contextlib.suppress(OSError):
            owners |= {os.stat(f"/proc/{pid}").st_uid} if is_named or pid in found else set()
    return owners


def _holds(process: Path, path: str) -> bool:
    """Return True if a process has mapped or opened a file. Compares paths: on btrfs, device numbers differ."""
    if os.fsencode(path) in (process / "maps").read_bytes():
        return True
    return any(os.readlink(descriptor) == path for descriptor in (process / "fd").iterdir())


def list_holders(release: Path) -> tuple[int, ...]:
    """Return the ids of the processes that hold a lease; 0 alone stands for those that this user may not see.

    Compare two answers to learn whether something has started: the web server's processes are hidden from an ordinary
    user, and so is a stranger who has only locked the lease.
    """
    return list_users(release) or ((HIDDEN,) if is_used(release) else ())


def list_processes(*releases: Path) -> tuple[Process, ...]:
    """Return the processes that hold leases."""
    return tuple(_describe(pid, release) for release in releases for pid in list_holders(release))


def list_sentences(processes: Sequence[Process]) -> list[str]:
    """Return processes for people, without those that another one of them has started."""
    pids = {process.pid for process in processes} - {HIDDEN}
    return [process.sentence for process in processes if proc.find_parent(process.pid) not in pids]


def _describe(pid: int, release: Path) -> Process:
    since = datetime.fromtimestamp(proc.find_start(pid), UTC).replace(microsecond=0) if pid != HIDDEN else None
    return Process(pid, release.name, proc.describe_command(pid) if since else "", since)


def name_users(*releases: Path) -> str:
    """Return words for the processes that use releases: their ids, if this user may see them."""
    pids = [str(pid) for release in releases for pid in list_users(release)]
    return f"process {join_few(pids)}" if pids else "a process of another user"
