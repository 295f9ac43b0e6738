"""What is said of each package change, and of vulnerabilities."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from releaser.locks.blocks import Block
from releaser.locks.changes import Change
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability
from releaser.reporting.changes import (
    age_of,
    changes_table,
    security_lists,
    security_text,
    vulnerability_rows,
)
from tests.reporting.makers import CHANGES, UPDATED

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
GONE = CHANGES[2]
PILLOW = Change(name="pillow", old="11.1", new="11.0", bump="minor", direct=True)


def lines(*changes: Change, widest: int = 96) -> list[str]:
    return changes_table(changes, now=NOW, widest=widest).lines


def test_a_change_is_a_line_with_the_rest_below_and_fixes_come_first_then_direct_dependencies() -> None:
    assert lines(GONE, SQLPARSE, PILLOW, DJANGO) == [
        "PACKAGE   OLD    NEW    BUMP     AGE       REQUIRED BY",
        "django    5.1.2  5.1.4  patch    3 days    the project",
        "    fixes CVE-2026-1234",
        "    https://docs.example.org/releases/",
        "pillow    11.1   11.0   ↓ minor            the project",
        "gone      3.0    -      removed",
        "sqlparse  0.5.0  0.6.0  minor    3 months  django, djangorestframework and 1 more",
        "    changed because of django",
    ]


def test_a_column_about_which_nothing_is_known_is_left_away() -> None:
    assert lines(GONE) == ["PACKAGE  OLD  NEW  BUMP", "gone     3.0  -    removed"]
    assert lines(PILLOW)[0] == "PACKAGE  OLD   NEW   BUMP     REQUIRED BY"


def test_what_would_make_the_table_too_wide_goes_below() -> None:
    found = lines(SQLPARSE, DJANGO, widest=70)
    assert found[0] == "PACKAGE   OLD    NEW    BUMP   AGE"
    assert "    required by the project" in found
    assert "    required by django, djangorestframework and 1 more" in found
    assert max(map(len, found)) <= 70


@pytest.mark.parametrize("released", [None, "", "yesterday", "2026-11-17"])
def test_a_time_that_cannot_be_read_is_no_age(released: str | None) -> None:
    assert age_of(replace(PILLOW, released=released), NOW) == ""


# Vulnerabilities


FLAW = Vulnerability(name="alpha", version="1.0", id="CVE-1")
FIXABLE = replace(FLAW, fixed=("1.1",))
NEWER = Change(name="alpha", old="1.0", new="1.1", bump="minor")
HELD = Block(name="alpha", version="1.2", reason="the shop needs it", by="person")
KNOWN = replace(FLAW, id="PYSEC-1", aliases=("GHSA-1", "CVE-7"), summary="Bad", link="https://example.org/1")


def left(*flaws: Vulnerability, **facts: Any) -> list[str]:
    """Return the lines on vulnerabilities that stay."""
    section = SecuritySection(audit="known", vulnerabilities=flaws)
    ((title, found),) = security_lists(replace(UPDATED, **{"changes": (), **facts}).with_section(section))
    assert title == "Known vulnerabilities of the live release"
    return found


@pytest.mark.parametrize(
    ("section", "lines"),
    [
        (SecuritySection(), []),  # there was no query
        (SecuritySection(audit="known"), []),
        (SecuritySection(audit="unknown", audit_reason="no answer within 20 s"),
            ["Known vulnerabilities:", "  Not known: no answer within 20 s."]),
    ],
)  # fmt: skip
def test_it_is_said_if_nothing_is_known_and_why(section: SecuritySection, lines: list[str]) -> None:
    assert security_text(UPDATED.with_section(section)) == lines


@pytest.mark.parametrize(
    ("flaw", "facts", "line"),
    [
        (FLAW, {}, "CVE-1 of alpha 1.0 (not fixed in any version yet)"),
        (replace(FLAW, link="javascript:alert(1)"), {}, "CVE-1 of alpha 1.0 (not fixed in any version yet)"),
        (KNOWN, {}, "PYSEC-1 (CVE-7) of alpha 1.0: Bad (not fixed in any version yet) https://example.org/1"),
        (FIXABLE, {"on_hold": (HELD,)}, "CVE-1 of alpha 1.0 (fixed in 1.1; 1.2 is on hold: the shop needs it)"),
        (FIXABLE, {"on_hold": (replace(HELD, name="beta"),)},
            "CVE-1 of alpha 1.0 (fixed in 1.1; `releaser outdated` shows what blocks it)"),
        (FIXABLE, {"changes": (NEWER,), "live_changed": False},
            "CVE-1 of alpha 1.0 (fixed in 1.1, which this run could not make live)"),
    ],
)  # fmt: skip
def test_what_stays_has_its_known_names_and_what_keeps_the_fix_out(
    flaw: Vulnerability, facts: dict[str, Any], line: str
) -> None:
    assert left(flaw, **facts) == [line]


def test_what_strangers_write_is_one_line_of_limited_length() -> None:
    flaw = replace(FLAW, summary="x\x1b[31m\ny" * 500)
    (line,) = left(flaw)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) <= 300
    ((*_, about),) = vulnerability_rows([flaw])
    assert "\x1b" not in about


def test_a_long_list_is_cut() -> None:
    lines = left(*(replace(FLAW, id=f"CVE-{number}") for number in range(100)))
    assert len(lines) == 31
    assert lines[-1] == "and 70 more; `releaser audit` lists them"
