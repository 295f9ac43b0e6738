"""What is said of each package change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from releaser.locks.changes import Change
from releaser.reporting.changes import age_of, changes_table

NOW = datetime(2026, 11, 20, 6, 12, tzinfo=UTC)
DJANGO = Change(
    name="django",
    old="5.1.2",
    new="5.1.4",
    bump="patch",
    direct=True,
    through=("wagtail",),
    released="2026-11-17T06:00:00+00:00",
    link="https://docs.example.org/releases/",
    fixes=("CVE-2026-1234",),
)
SQLPARSE = Change(
    name="sqlparse",
    old="0.5.0",
    new="0.6.0",
    bump="minor",
    direct=False,
    through=("django", "djangorestframework", "wagtail"),
    released="2026-08-01T06:00:00+00:00",
    dragged_by=("django",),
)
GONE = Change(name="gone", old="1.0", new=None, bump="removed")


def lines(*changes: Change, widest: int = 96) -> list[str]:
    return changes_table(changes, now=NOW, widest=widest).lines


def test_a_change_is_a_line_and_below_it_is_what_else_there_is_to_tell() -> None:
    assert lines(GONE, SQLPARSE, DJANGO) == [
        "PACKAGE   OLD    NEW    BUMP     AGE       REQUIRED BY",
        "django    5.1.2  5.1.4  patch    3 days    the project",
        "    fixes CVE-2026-1234",
        "    https://docs.example.org/releases/",
        "gone      1.0    -      removed",
        "sqlparse  0.5.0  0.6.0  minor    3 months  django, djangorestframework and 1 more",
        "    changed because of django",
    ]


def test_what_fixes_a_vulnerability_comes_first() -> None:
    names = [row.cells[0] for row in changes_table([GONE, SQLPARSE, DJANGO], now=NOW).rows]
    assert names == ["django", "gone", "sqlparse"]


def test_a_column_about_which_nothing_is_known_is_left_away() -> None:
    assert lines(GONE) == ["PACKAGE  OLD  NEW  BUMP", "gone     1.0  -    removed"]
    undated = Change(name="alpha", old="1", new="2", bump="major", direct=True)
    assert lines(undated)[0] == "PACKAGE  OLD  NEW  BUMP   REQUIRED BY"


def test_what_would_make_the_table_too_wide_goes_below() -> None:
    found = lines(SQLPARSE, DJANGO, widest=70)
    assert found[0] == "PACKAGE   OLD    NEW    BUMP   AGE"
    assert "    required by the project" in found
    assert "    required by django, djangorestframework and 1 more" in found
    assert max(map(len, found)) <= 70


@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://a.example.org/\nX-Evil: 1", "ftp://example.org/"])
def test_a_link_that_is_none_is_not_shown(link: str) -> None:
    table = changes_table([Change(name="alpha", old="1", new="2", bump="major", link=link)], now=NOW)
    assert len(table.lines) == 2
    assert table.rows[0].link == ""


@pytest.mark.parametrize("released", [None, "", "yesterday", "2026-11-17"])
def test_a_time_that_cannot_be_read_is_no_age(released: str | None) -> None:
    assert age_of(Change(name="alpha", old="1", new="2", bump="major", released=released), NOW) == ""
