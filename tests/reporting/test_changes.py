"""What is said of each package change, and of vulnerabilities."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from releaser.locks.blocks import Block
from releaser.locks.lock import Change
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability
from releaser.report import RunReport
from releaser.reporting.changes import (
    age_of,
    changes_table,
    security_lists,
    security_text,
    vulnerability_rows,
)
from tests.reporting.makers import QUIET

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


def test_security_fixes_come_first_and_then_what_the_project_requires() -> None:
    pillow = Change(name="pillow", old="11.1", new="11.0", bump="minor", direct=True)
    rows = changes_table([GONE, SQLPARSE, pillow, DJANGO], now=NOW).rows
    assert [row.cells[0] for row in rows] == ["django", "pillow", "gone", "sqlparse"]
    assert [row.cells[3] for row in rows] == ["patch", "↓ minor", "removed", "minor"]


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


@pytest.mark.parametrize("released", [None, "", "yesterday", "2026-11-17"])
def test_a_time_that_cannot_be_read_is_no_age(released: str | None) -> None:
    assert age_of(Change(name="alpha", old="1", new="2", bump="major", released=released), NOW) == ""


# Vulnerabilities


REPORT = replace(QUIET, result="updated", headline="updated", live_changed=True)
LEFT = "Known vulnerabilities of the live release"


def flaw(known_as: str = "CVE-1", name: str = "alpha", *fixed: str, **more: Any) -> Vulnerability:
    return Vulnerability(name=name, version="1.0", id=known_as, fixed=fixed, **more)


def known(report: RunReport, *found: Vulnerability) -> RunReport:
    return report.with_section(SecuritySection(audit="known", vulnerabilities=found))


def left(one: Vulnerability, **more: Any) -> str:
    """Return the line on one vulnerability that stays."""
    ((title, (line,)),) = security_lists(known(replace(REPORT, **more), one))
    assert title == LEFT
    return line


def test_when_nobody_was_asked_or_nothing_is_known_nothing_is_said() -> None:
    assert security_lists(REPORT) == security_lists(known(REPORT)) == []
    assert security_text(REPORT) == []


def test_that_it_is_unknown_is_said_with_the_reason() -> None:
    report = REPORT.with_section(SecuritySection(audit="unknown", audit_reason="no answer within 20 s"))
    assert security_text(report) == ["Known vulnerabilities:", "  Not known: no answer within 20 s."]


def test_what_stays_says_what_keeps_the_fix_out() -> None:
    held = Block(name="alpha", version="1.2", reason="the shop needs it", by="person")
    assert left(flaw()) == "CVE-1 of alpha 1.0 (not fixed in any version yet)"
    assert left(flaw("CVE-1", "alpha", "1.1"), on_hold=(held,)) == (
        "CVE-1 of alpha 1.0 (fixed in 1.1; 1.2 is on hold: the shop needs it)"
    )
    other = replace(held, name="beta")
    assert left(flaw("CVE-1", "alpha", "1.1"), on_hold=(other,)) == (
        "CVE-1 of alpha 1.0 (fixed in 1.1; `releaser outdated` shows what blocks it)"
    )
    change = Change(name="alpha", old="1.0", new="1.1", bump="minor")
    assert left(flaw("CVE-1", "alpha", "1.1"), changes=(change,), live_changed=False) == (
        "CVE-1 of alpha 1.0 (fixed in 1.1, which this run could not make live)"
    )


def test_the_name_that_people_know_stands_beside_the_other() -> None:
    line = left(flaw("PYSEC-1", aliases=("GHSA-1", "CVE-7"), summary="Bad", link="https://example.org/1"))
    assert line == "PYSEC-1 (CVE-7) of alpha 1.0: Bad (not fixed in any version yet) https://example.org/1"
    assert left(flaw(link="javascript:alert(1)")) == "CVE-1 of alpha 1.0 (not fixed in any version yet)"


def test_what_strangers_write_is_one_line_of_limited_length() -> None:
    line = left(flaw(summary="x\x1b[31m\ny" * 500))
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) <= 300
    ((*_, about),) = vulnerability_rows([flaw(summary="x\x1b[31m\ny" * 500)])
    assert "\x1b" not in about


def test_a_long_list_is_cut() -> None:
    report = known(REPORT, *(flaw(f"CVE-{number}") for number in range(100)))
    ((_, lines),) = security_lists(report)
    assert len(lines) == 31
    assert lines[-1] == "and 70 more; `releaser audit` lists them"
