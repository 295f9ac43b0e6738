"""Reads durations as people write them."""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` takes long, and starting a program needs this module
if TYPE_CHECKING:
    from typing import Any

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds_of(value: Any, *, days: int = 3650) -> float:
    """Return a duration in seconds: `90s`, `30m`, `2h`, `7d`, `1w` or 0, at most `days`. Raises ValueError."""
    if value in ("0", 0) and not isinstance(value, bool):
        return 0.0
    number, unit = (value[:-1], value[-1:]) if isinstance(value, str) else ("", "")
    parts = number.split(".")
    if unit not in _UNITS or len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        message = "must be a duration such as 90s, 30m, 2h or 7d"
        raise ValueError(message)
    seconds = float(number) * _UNITS[unit]
    if seconds > days * 86400:
        message = f"must be at most {days}d"
        raise ValueError(message)
    return seconds


def how_often(value: str) -> float:
    """Return an interval in seconds: `daily`, `weekly` or a duration. Raises ValueError."""
    seconds = seconds_of({"daily": "1d", "weekly": "1w"}.get(value, value))
    if not seconds:
        message = "must be longer than 0"
        raise ValueError(message)
    return seconds
