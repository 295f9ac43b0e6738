"""Reports and answers as plain text."""

import dataclasses
from typing import Any

import pytest

from releaser.answers import Blocker, OutdatedPackage
from releaser.errors import Finding
from releaser.releases.journal import MailSection
from releaser.report import Outcome, RunReport
from releaser.reporting.changes import changes_table
from releaser.reporting.text import closing_lines, live_line, outdated_text, output_lines, report_text, step_line
from tests.reporting.makers import CHANGES, QUIET

TABLE = [
    "PACKAGE        OLD    NEW  BUMP",
    "django         5.1.2  5.2  minor",
    "a-longer-name  -      1.0  added",
    "gone           3.0    -    removed",
]


def report(**changes: Any) -> RunReport:
    return dataclasses.replace(QUIET, **changes)


def test_changes_are_a_table_only_if_there_are_any() -> None:
    assert changes_table(CHANGES, now=QUIET.started_at).lines == TABLE
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


def test_a_failure_says_what_failed_whether_live_changed_and_what_to_do() -> None:
    failed = report(
        result="refused",
        exit_code=3,
        headline="2 problems found",
        log_file="/srv/x.log",
        problems=(Finding("a", message="no uv", advice="Install it."), Finding("a", message="no lock")),
    )
    assert closing_lines(failed) == [
        "releaser update: mysite: 2 problems found",
        "problem: no uv",
        "  what to do: Install it.",
        "problem: no lock",
        "live: unchanged",
        "log: /srv/x.log",
    ]


def test_a_problem_that_is_the_headline_is_said_once_and_its_advice_is_kept() -> None:
    problems = (Finding("a", message="the tests fail", advice="Mend them."),)
    words = closing_lines(report(exit_code=5, headline="the tests fail", problems=problems))
    assert words[:2] == ["releaser update: mysite: the tests fail", "  what to do: Mend them."]
    assert not any(word.startswith("problem") for word in words)


def test_a_problem_that_tells_more_than_the_headline_takes_its_place() -> None:
    problems = (
        Finding("a", message="no lock: disk full", advice="Make room."),
        Finding("a", message="b", advice="Make room."),
    )
    words = closing_lines(report(exit_code=4, headline="no lock", problems=problems))
    assert words[:3] == ["releaser update: mysite: no lock: disk full", "  what to do: Make room.", "problem: b"]
    assert "".join(words).count("Make room.") == 1


@pytest.mark.parametrize("problems", [(), (Finding("a", message="it failed"),), (Finding("a", message="another one"),)])
def test_whatever_failed_it_is_said_what_to_do_and_the_advice_of_the_run_is_preferred(
    problems: tuple[Finding, ...],
) -> None:
    for code in (1, 2, 3, 4, 5, 6, 7, 8, 9, 130):
        words = closing_lines(report(exit_code=code, headline="it failed", problems=problems))
        assert words[1].startswith("  what to do: ")
        assert sum("what to do" in word for word in words) == 1
    assert "  what to do: Mend it." in closing_lines(report(exit_code=6, headline="it failed", advice="Mend it."))
    assert closing_lines(QUIET) == ["releaser update: mysite: Nothing to update."]


def test_of_what_was_taken_back_it_is_said_how_to_try_it_again() -> None:
    problems = (Finding("a", message="restart failed", advice="Mend it."),)
    failed = report(exit_code=6, headline="health check failed", problems=problems)
    assert "releaser status" in closing_lines(failed)[1]
    assert "releaser update --force" in closing_lines(failed)[1]
    assert "releaser list" in closing_lines(dataclasses.replace(failed, command="rollback"))[1]


def test_what_was_recovered_and_what_became_of_the_mail_is_said() -> None:
    words = closing_lines(
        report(recovered="An earlier run was cut off.", noted="It was moved.").with_section(
            MailSection(mail="sent to ada@example.org")
        )
    )
    assert words[1:] == ["An earlier run was cut off.", "It was moved.", "mail: sent to ada@example.org"]


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
    assert live_line(report(**changes)) == line


def test_of_a_long_output_the_end_is_shown() -> None:
    assert output_lines("") == []
    lines = output_lines("\n".join(f"line {number}" for number in range(1000)))
    assert lines[:2] == ["end of the output:", "  line 0"]
    assert lines[-1] == "  line 999"
    assert len(lines) < 60
    assert output_lines("\x1b[31mred\x1b[0m")[1] == "  red"


def test_a_summary_has_changes_output_and_last_words_in_this_order() -> None:
    lines = report_text(report(changes=CHANGES, output="oops", exit_code=5, headline="the tests fail"))
    assert lines[:4] == TABLE
    assert lines[4:7] == ["end of the output:", "  oops", "releaser update: mysite: the tests fail"]


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
