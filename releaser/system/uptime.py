"""The uptime of the system, by a clock that cannot be set."""

from __future__ import annotations

import time


def uptime() -> float:
    """Return the seconds since the system started, including sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the id of this boot of the system (random(4)); empty if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
