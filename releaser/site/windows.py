"""The settings for when updates are due, and maintenance windows."""

import itertools
import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from releaser.site.declaring import Part
from releaser.site.values import Interval, duration, either, kind, pattern, refuse
from releaser.system.durations import seconds_of
from releaser.system.frozen import Frozen
from releaser.system.sections import Section

if TYPE_CHECKING:
    from releaser.site.site import Site

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = r"[0-2][0-9]:[0-5][0-9]\s*-\s*[0-2][0-9]:[0-5][0-9]"
_DAY = "|".join("".join(f"[{letter.upper()}{letter}]" for letter in day) for day in _DAYS)
_SPAN = rf"\s*({_DAY})(\s*-\s*({_DAY}))?\s*"
_IN_WEEK = rf"^({_SPAN}(,{_SPAN})*({_HOURS})?|\s*{_HOURS})\s*$"
_WINDOW = r"(?ai)([a-z,\s-]*?)(?:(?:^|\s+)(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d))?"


class DueSection(Section):
    """The time at which updates are due."""

    limits_update: ClassVar[bool] = True
    #: From when on an update may begin, if this one did not, as it was not due, waits for its window, or is paused; the
    #: time of the run if that is unknown.
    due_at: datetime | None = None


class Window(Frozen):
    """A maintenance window: from a time on some days of the week, for some time; it may end on the next day."""

    #: The window as spelled in the setting.
    text: str
    #: The days on which it begins, 0 for Monday.
    days: frozenset[int]
    begins: time
    lasts: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a window such as `Sat-Sun 01:00-05:00`; without days, every day; without hours, whole days.

        Raises ValueError.
        """
        found = re.fullmatch(_WINDOW, text.strip())
        if not found or not found[0]:
            raise ValueError
        begins, ends = time(int(found[2] or 0), int(found[3] or 0)), int(found[4] or 24) * 60 + int(found[5] or 0)
        if ends > 24 * 60 or int(found[5] or 0) > 59:
            raise ValueError
        minutes = (ends - begins.hour * 60 - begins.minute) % (24 * 60) or 24 * 60
        days = set[int]() if found[1] else {*range(7)}
        for part in found[1].lower().split(",") if found[1] else ():
            first, dash, last = (limit.strip() for limit in part.partition("-"))
            begin, end = _DAYS.index(first), _DAYS.index(last if dash else first)
            days |= {(begin + number) % 7 for number in range((end - begin) % 7 + 1)}
        return cls(text=text.strip(), days=frozenset(days), begins=begins, lasts=timedelta(minutes=minutes))

    def since(self, at: datetime) -> datetime | None:
        """Return when the window began, if it is open `at` a local time; else None."""
        for begin in (datetime.combine(at - timedelta(days=ago), self.begins) for ago in (0, 1)):
            if begin.weekday() in self.days and begin <= at < begin + self.lasts:
                return begin
        return None

    def next_begin(self, at: datetime) -> datetime:
        """Return the next beginning of the window, from a local time on."""
        days = (datetime.combine(at + timedelta(days=ahead), self.begins) for ahead in range(8))
        return next(begin for begin in days if begin >= at and begin.weekday() in self.days)


def local_time(at: datetime) -> datetime:
    """Return a time in the time zone of the host, without a zone, for comparison with windows."""
    local = at.astimezone().replace(tzinfo=None)
    return local if local.astimezone(UTC) == at else local.replace(fold=1)  # the second of two equal hours


def open_since(windows: Iterable[Window], at: datetime) -> datetime | None:
    """Return when the window that is open `at` a local time began; None if none is open."""
    return max((begin for window in windows if (begin := window.since(at))), default=None)


def find_opening(windows: Iterable[Window], at: datetime) -> datetime:
    """Return the first moment in a window, not before the local time `at`; `at` itself without windows."""
    return at if open_since(windows, at) else min((window.next_begin(at) for window in windows), default=at)


def longest_pause(windows: Iterable[Window], at: datetime) -> timedelta:
    """Return the longest time between two beginnings of windows, from the local time `at` on; zero without windows."""
    begins = {window.next_begin(at + timedelta(days=ahead)) for window in windows for ahead in range(8)}
    return max((later - earlier for earlier, later in itertools.pairwise(sorted(begins))), default=timedelta(0))


@kind(
    "list",
    either({"type": "array", "items": pattern(_IN_WEEK)}, pattern(rf"{_IN_WEEK[:-1]}(;{_IN_WEEK[1:-1]})*$")),
    spell=lambda value: [window.text for window in value],
    in_line="; ".join,
)
def windows(value: Any) -> tuple[Window, ...]:
    """Maintenance windows: a list, or one string with semicolons between them. `Sat-Sun` stands for both whole days."""
    words = value.split(";") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        refuse("must be a maintenance window such as Sat-Sun or Mon-Fri 01:00-05:00, or a list of windows")
    for word in words:
        try:
            Window.parse(word)
        except ValueError:
            refuse(f"must be windows such as Sat-Sun, Mon-Fri 01:00-05:00 or Mon,Wed 22:00-02:00; {word!r} is not one")
    return tuple(map(Window.parse, words))


@kind("duration", duration.schema, spell=duration.spell)
def jitter(value: Any) -> float:
    """A length of time in seconds, of at most a day."""
    return seconds_of(value, days=1)


Windows = Annotated[tuple[Window, ...], windows]
Jitter = Annotated[float, jitter]


class DueSettings(Part):
    """The times at which updates may start."""

    #: The interval of `update --if-due`: an update is due this long after the last one began. Default: a day.
    every: Interval | None = None
    #: The maintenance windows, in which updates may start, in the local time of the host.
    window: Windows = ()
    #: The longest wait before `update --if-due` starts. Each site always waits the same time.
    jitter: Jitter = 0.0


def next_opening(site: "Site", at: datetime) -> datetime:
    """Return the first moment in a maintenance window, not before `at`; `at` itself without windows."""
    return find_opening(DueSettings.of(site).window, local_time(at)).astimezone(UTC)
