"""The times of the week in which updates may begin, in the local time of this host."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = r"(?ai)(?:([a-z,\s-]+?)\s+)?(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)"


class Window(Frozen):
    """From a time of some days on, for so long; it may end on the day after."""

    #: As it is written.
    text: str
    #: Those on which it begins, 0 for Monday.
    days: frozenset[int]
    begins: time
    lasts: timedelta

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read `Sat-Sun 01:00-05:00`; every day, if none is named. Raises ValueError."""
        found = re.fullmatch(_WINDOW, text.strip())
        if found is None:
            raise ValueError
        begins, ends = time(int(found[2]), int(found[3])), int(found[4]) * 60 + int(found[5])
        if ends > 24 * 60 or int(found[5]) > 59:
            raise ValueError
        minutes = (ends - begins.hour * 60 - begins.minute) % (24 * 60) or 24 * 60
        days = frozenset(_days(found[1])) if found[1] else frozenset(range(7))
        return cls(text=text.strip(), days=days, begins=begins, lasts=timedelta(minutes=minutes))

    def since(self, at: datetime) -> datetime | None:
        """Return when it has begun, if it is open `at` a local time; None if it is not."""
        for begin in (datetime.combine(at - timedelta(days=ago), self.begins) for ago in (0, 1)):
            if begin.weekday() in self.days and begin <= at < begin + self.lasts:
                return begin
        return None

    def next_begin(self, at: datetime) -> datetime:
        """Return when it begins next, from a local time on."""
        days = (datetime.combine(at + timedelta(days=ahead), self.begins) for ahead in range(8))
        return next(begin for begin in days if begin >= at and begin.weekday() in self.days)


def _days(text: str) -> Iterator[int]:
    for part in text.lower().split(","):
        first, _, last = (one.strip() for one in part.partition("-"))
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        yield from ((begin + number) % 7 for number in range((end - begin) % 7 + 1))


def open_since(windows: Iterable[Window], at: datetime) -> datetime | None:
    """Return when the window began that is open `at` a local time; None if none is."""
    return max((begin for one in windows if (begin := one.since(at))), default=None)


def find_opening(windows: Iterable[Window], at: datetime) -> datetime:
    """Return from when on a window is open, `at` a local time at the earliest."""
    return at if open_since(windows, at) else min(one.next_begin(at) for one in windows)
