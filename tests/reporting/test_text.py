"""Reports and answers as plain text."""

from dataclasses import replace
from typing import Any

import pytest

from releaser.answers import Blocker, OutdatedPackage
from releaser.core.announcing import add_problem
from releaser.errors import Finding
from releaser.locks.blocks import Block
from releaser.releases.journal import MailSection
from releaser.report import Outcome, RunReport
from releaser.reporting.changes import changes_table
from releaser.reporting.text import (
    closing_lines,
    live_line,
    on_hold_lines,
    outdated_text,
    output_lines,
    report_text,
    step_line,
)
from tests.reporting.makers import CHANGES, QUIET, findings

TABLE = [
    "PACKAGE        OLD    NEW  BUMP",
    "django         5.1.2  5.2  minor",
    "a-longer-name  -      1.0  added",
    "gone           3.0    -    removed",
]
ILL = replace(QUIET, exit_code=4, headline="it failed")
MEND = findings("it failed", advice="Mend it.")


def test_a_summary_has_changes_output_and_last_words_in_this_order() -> None:
    lines = report_text(replace(ILL, changes=CHANGES, output="oops"))
    assert lines[:7] == [*TABLE, "end of the output:", "  oops", "releaser update: mysite: it failed"]
    assert changes_table([], now=QUIET.started_at).lines == []


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Outcome(step="build", status="ok", seconds=6.04), "build: ok (6.0 s)"),
        (Outcome(step="pull", status="skipped", detail="nothing new"), "pull: skipped (0.0 s): nothing new"),
        (Outcome(step="test", status="failed", detail="red", seconds=61.25), "test: failed (1 min 01 s): red"),
    ],
)
def test_a_step_is_one_line(outcome: Outcome, line: str) -> None:
    assert step_line(outcome) == line


TWO = (Finding("a", message="no uv", advice="Install it."), Finding("a", message="no lock"))
MORE = (Finding("a", message="it failed: disk full", advice="Make room."), *findings("b", "b", advice="Make room."))


@pytest.mark.parametrize(
    ("report", "lines"),
    [
        (QUIET, ["releaser update: mysite: Nothing to update."]),
        (
            replace(ILL, headline="2 problems found", log_file="/srv/x.log", problems=TWO),
            ["releaser update: mysite: 2 problems found", "problem: no uv", "  what to do: Install it.",
             "problem: no lock", "live: unchanged", "log: /srv/x.log"],
        ),
        (
            replace(ILL, problems=MEND),  # said once, and its advice is kept
            ["releaser update: mysite: it failed", "  what to do: Mend it.", "live: unchanged"],
        ),
        (
            replace(ILL, problems=MORE),  # the first says more than the headline, and takes its place
            ["releaser update: mysite: it failed: disk full", "  what to do: Make room.", "problem: b",
             "live: unchanged"],
        ),
        (
            replace(ILL, problems=MEND, advice="Ask Ada."),
            ["releaser update: mysite: it failed", "  what to do: Ask Ada.", "live: unchanged"],
        ),
        (
            replace(QUIET, recovered="An earlier run was cut off.", noted="It was moved.").with_section(
                MailSection(mail="sent to ada@example.org")
            ),
            ["releaser update: mysite: Nothing to update.", "An earlier run was cut off.", "It was moved.",
             "mail: sent to ada@example.org"],
        ),
    ],
)  # fmt: skip
def test_the_last_lines_say_what_failed_whether_live_changed_and_what_to_do(
    report: RunReport, lines: list[str]
) -> None:
    assert closing_lines(report) == lines


@pytest.mark.parametrize("problems", [(), findings("it failed"), findings("another one")])
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 9, 130])
def test_whatever_failed_it_is_said_what_to_do(code: int, problems: tuple[Finding, ...]) -> None:
    words = closing_lines(replace(ILL, exit_code=code, problems=problems))
    assert words[1].startswith("  what to do: ")
    assert sum("what to do" in word for word in words) == 1


@pytest.mark.parametrize(
    ("command", "hints"), [("update", ["releaser status", "releaser update --force"]), ("rollback", ["releaser list"])]
)
def test_of_what_was_rolled_back_it_is_said_how_to_try_it_again(command: str, hints: list[str]) -> None:
    problems = findings("restart failed", advice="Mend it.")
    advice = closing_lines(replace(ILL, command=command, exit_code=6, problems=problems))[1]
    assert [one for one in hints if one not in advice] == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "live: unchanged"),
        ({"exit_code": 5, "release": "B"}, "live: unchanged"),
        ({"exit_code": 7, "live_changed": True, "release": "B"}, "live: now B"),
        ({"exit_code": 6, "release": "B"}, "live: as before; the new release was live briefly and was rolled back"),
        ({"exit_code": 6, "live_changed": True, "release": "B"}, "live: still B"),
    ],
)
def test_it_is_said_whether_live_changed(changes: dict[str, Any], line: str) -> None:
    assert live_line(replace(QUIET, **changes)) == line


def test_of_a_long_output_the_end_is_shown() -> None:
    assert output_lines("") == []
    lines = output_lines("\n".join(f"line {number}" for number in range(1000)))
    assert lines[:2] == ["end of the output:", "  line 0"]
    assert lines[-1] == "  line 999"
    assert len(lines) < 60
    assert output_lines("\x1b[31mred\x1b[0m")[1] == "  red"


LATE = "2026-11-19T03:00:00+00:00"
UNHOLD = "; to allow it: `releaser unhold alpha`"


@pytest.mark.parametrize(
    ("by", "since", "reason", "line"),
    [
        ("rollback", LATE, "rolled back", f"alpha 2.0: rolled back (since 2026-11-19){UNHOLD}"),
        ("tests", LATE, "exit code 1", f"alpha 2.0: exit code 1 (on hold by the tests since 2026-11-19){UNHOLD}"),
        ("person", LATE, "", f"alpha 2.0: on hold by you since 2026-11-19{UNHOLD}"),
        ("person", "", "ask Ada", f"alpha 2.0: ask Ada (on hold by you){UNHOLD}"),
        ("policy", "", "`upgrade` keeps it out", "alpha 2.0: `upgrade` keeps it out"),
    ],
)
def test_of_what_is_on_hold_it_is_said_by_what_and_since_when(by: str, since: str, reason: str, line: str) -> None:
    held = Block(name="alpha", version="2.0", reason=reason, by=by, since=since)
    assert on_hold_lines([held]) == [line]
    assert on_hold_lines([held], commands=False) == [line.removesuffix(UNHOLD)]


def test_it_is_said_what_the_next_update_installs_where_something_keeps_the_latest_out() -> None:
    bounded = (Blocker(by="constraint", reason="the project requires beta<2"),)
    lines = outdated_text(
        [
            OutdatedPackage(name="alpha", locked="1.0", latest="2.0", next="2.0"),
            OutdatedPackage(name="beta", locked="1.0", latest="2.0", next="1.5", blocked_by=bounded),
            OutdatedPackage(name="gamma", locked="1.0", latest="2.0", blocked_by=bounded),
        ]
    )
    assert [" ".join(line.split()) for line in lines] == [
        "PACKAGE LOCKED LATEST BLOCKED BY",
        "alpha 1.0 2.0 nothing; the next update installs it",
        "beta 1.0 2.0 constraint; the next update installs 1.5",
        "the project requires beta<2",
        "gamma 1.0 2.0 constraint",
        "the project requires beta<2",
    ]


def test_a_headline_counts_all_problems_that_the_report_lists() -> None:
    """Some are added at the end of a run, such as a release that cannot be deleted, or an unsent mail."""
    report = replace(ILL, headline="2 problems found", problems=TWO)
    assert add_problem(report, Finding("mail-failed", "no server")).headline == "3 problems found"
    assert report.with_problems(*TWO).headline == "2 problems found"
    assert ILL.with_problems(*TWO).headline == ILL.headline
