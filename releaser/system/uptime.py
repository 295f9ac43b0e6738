"""How long the system has been running, by a clock that nobody sets."""

from __future__ import annotations

import time


def uptime() -> float:
    """Return the seconds since the system started, those asleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Name the time since the system started: another one gives another name (random(4)); empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
