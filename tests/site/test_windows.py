"""Windows of the week: what is one, and when it is open."""

from datetime import datetime

import pytest

from releaser.site.windows import Window, find_opening, open_since, windows


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
    ],
)
def test_a_window_is_open_in_its_hours_on_its_days(window: str, when: str, since: str | None, opens: str) -> None:
    found = [Window.parse(window)]
    assert open_since(found, at(when)) == (at(since) if since else None)
    assert find_opening(found, at(when)) == at(opens)


def test_the_first_of_several_counts() -> None:
    found = windows("Sat 01:00-05:00; Wed 03:00-04:00")
    assert found == windows(["Sat 01:00-05:00", "Wed 03:00-04:00"])
    assert find_opening(found, at("2026-11-23 12:00")) == at("2026-11-25 03:00")
    assert open_since(found, at("2026-11-28 02:00")) == at("2026-11-28 01:00")


@pytest.mark.parametrize(
    "text",
    ["", "Sat", "1:00-5:00", "25:00-26:00", "01:00-24:01", "01:60-02:00", "Sa 01:00-05:00", "Sat- 01:00-05:00 x"],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be windows such as Sat-Sun 01:00-05:00 or"):
        windows(text)
