"""Programs that a run has started, and their children: found, and ended, after that run was killed.

What a child of releaser has started itself does not die with releaser. It keeps its environment, though, in which the
run has left its mark.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

MARK = "_RELEASER_RUN"  # an environment variable
GRACE = 5.0  # seconds between SIGTERM and SIGKILL, in which git takes its lock files away
LAST = 5.0  # seconds after SIGKILL; a process that hangs in the kernel takes longer
POLL = 0.02  # seconds


def end_orphans(mark: str) -> bool:
    """End every process that carries the mark of a run; whether there was any. Those of other users are left alone."""
    found = False
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, LAST)):
        told: set[int] = set()
        ends_at = time.monotonic() + seconds
        while (orphans := set(_marked(mark))) and time.monotonic() < ends_at:
            found = True
            for pid in orphans - told:
                _tell(pid, mark, number)
            told |= orphans
            time.sleep(POLL)
    return found


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process, and it has not ended yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def may_be_running(program: str, places: Collection[Path]) -> bool:
    """Tell whether a program of this user may be at work in or below any of these places.

    It has that name, or that and what follows a hyphen.
    """
    return any(_may_be(program, pid, places) for pid in os.listdir("/proc") if pid.isdigit())


def _may_be(program: str, pid: str, places: Collection[Path]) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return False
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
        if name != program and not name.startswith(f"{program}-"):
            return False
        place = os.readlink(f"/proc/{pid}/cwd")
    except PermissionError:
        return True
    except OSError:  # it has just ended
        return False
    return any(f"{place}/".startswith(f"{one}/") for one in places)


def _marked(mark: str) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and _has(int(name), mark):
            yield int(name)


def _has(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARK}={mark}".encode() in file.read().split(b"\0")
    except OSError:  # it has just ended, or is another user's
        return False


def _tell(pid: int, mark: str, number: signal.Signals) -> None:
    """Signal one process, whose number may have been given away since it was found."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if _has(pid, mark):
                logger.warning("%s to process %d, which a killed run has left", number.name, pid)
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
