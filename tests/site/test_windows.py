"""Windows of the week: what is one, and when it is open."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import tzset

import pytest

from releaser.site.windows import Window, find_opening, local_time, open_since, windows


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("window", "when", "since", "opens"),
    [
        ("01:00-05:00", "2026-11-23 01:00", "2026-11-23 01:00", "2026-11-23 01:00"),
        ("01:00-05:00", "2026-11-23 04:59", "2026-11-23 01:00", "2026-11-23 04:59"),
        ("01:00-05:00", "2026-11-23 05:00", None, "2026-11-24 01:00"),
        ("01:00-05:00", "2026-11-23 00:59", None, "2026-11-23 01:00"),
        ("Sat-Sun 01:00-05:00", "2026-11-23 02:00", None, "2026-11-28 01:00"),
        ("sat-sun 01:00-05:00", "2026-11-29 02:00", "2026-11-29 01:00", "2026-11-29 02:00"),
        ("Fri-Mon 01:00-05:00", "2026-11-23 02:00", "2026-11-23 01:00", "2026-11-23 02:00"),
        ("Tue, Thu 01:00 - 05:00", "2026-11-25 02:00", None, "2026-11-26 01:00"),
        ("Sun 22:00-04:00", "2026-11-23 03:59", "2026-11-22 22:00", "2026-11-23 03:59"),
        ("Mon 22:00-04:00", "2026-11-23 03:59", None, "2026-11-23 22:00"),
        ("Mon 00:00-24:00", "2026-11-23 23:59", "2026-11-23 00:00", "2026-11-23 23:59"),
        ("Mon 06:00-06:00", "2026-11-24 05:00", "2026-11-23 06:00", "2026-11-24 05:00"),
        ("Mon 06:00-07:00", "2026-11-23 08:00", None, "2026-11-30 06:00"),
        ("Sat-Sun", "2026-11-27 23:59:59.999999", None, "2026-11-28 00:00"),
        ("Sat-Sun", "2026-11-28 00:00", "2026-11-28 00:00", "2026-11-28 00:00"),
        ("Sat-Sun", "2026-11-28 23:59:59.999999", "2026-11-28 00:00", "2026-11-28 23:59:59.999999"),
        ("Sat-Sun", "2026-11-29 00:00", "2026-11-29 00:00", "2026-11-29 00:00"),
        ("sat, sun", "2026-11-29 23:59:59.999999", "2026-11-29 00:00", "2026-11-29 23:59:59.999999"),
        ("Sat-Sun", "2026-11-30 00:00", None, "2026-12-05 00:00"),
        ("Mon-Sun", "2026-11-30 00:00", "2026-11-30 00:00", "2026-11-30 00:00"),
    ],
)
def test_a_window_is_open_in_its_hours_on_its_days(window: str, when: str, since: str | None, opens: str) -> None:
    found = [Window.parse(window)]
    assert open_since(found, at(when)) == (at(since) if since else None)
    assert find_opening(found, at(when)) == at(opens)


@pytest.fixture
def live_in() -> Iterator[Callable[[str], None]]:
    """Set the time zone of this process for the time of a test."""

    def live(zone: str) -> None:
        patch.setenv("TZ", zone)
        tzset()

    with pytest.MonkeyPatch.context() as patch:
        yield live
    tzset()


@pytest.mark.parametrize(
    ("zone", "opens", "ends"),
    [
        ("Europe/Berlin", "2026-10-23 22:00", "2026-10-25 23:00"),  # 49 hours: summer time ends on Sunday
        ("Europe/Berlin", "2026-03-27 23:00", "2026-03-29 22:00"),  # 47 hours
        ("America/Santiago", "2026-09-05 04:00", "2026-09-07 03:00"),  # Sunday begins at 01:00
        ("America/Havana", "2026-10-31 04:00", "2026-11-02 05:00"),  # Sunday has its first hour twice
    ],
)
def test_whole_days_are_whole_when_the_clock_changes(
    zone: str, opens: str, ends: str, live_in: Callable[[str], None]
) -> None:
    live_in(zone)
    window, moment = [Window.parse("Sat-Sun")], timedelta(microseconds=1)
    first, last = (at(text).replace(tzinfo=UTC) for text in (opens, ends))
    assert find_opening(window, local_time(first - timedelta(days=3))).astimezone(UTC) == first
    now = first
    while now < last:
        assert find_opening(window, local_time(now)).astimezone(UTC) == now
        now += timedelta(minutes=10)
    for closed in (first - moment, last):
        assert open_since(window, local_time(closed)) is None
    assert open_since(window, local_time(last - moment))


def test_the_first_of_several_counts() -> None:
    found = windows("Sat 01:00-05:00; Wed 03:00-04:00")
    assert found == windows(["Sat 01:00-05:00", "Wed 03:00-04:00"])
    assert find_opening(found, at("2026-11-23 12:00")) == at("2026-11-25 03:00")
    assert open_since(found, at("2026-11-28 02:00")) == at("2026-11-28 01:00")


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-", "Sat-", "Sat,", "Sa", "weekend", "Sat 01:00", "Sat01:00-05:00", "1:00-5:00", "25:00-26:00"),
        *("01:00-24:01", "01:60-02:00", "Sa 01:00-05:00", "Sat- 01:00-05:00 x"),
    ],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be windows such as Sat-Sun, Mon-Fri 01:00-05:00 or"):
        windows(text)
