"""Reports and answers as plain text."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from releaser.locking.diff import Change
from releaser.report.changes import changes_table
from releaser.report.outcome import Outcome, Problem, RunReport
from releaser.report.text import (
    aligned,
    history_text,
    last_words,
    live_line,
    output_end,
    release_text,
    sentences,
    status_text,
    step_line,
    summary,
)

QUIET = RunReport(
    command="update",
    project="shop",
    path="/srv/shop",
    host="web1",
    run_id="20261120T061200Z-42",
    started_at=datetime(2026, 11, 20, 6, 12, tzinfo=UTC),
    seconds=75.0,
    result="unchanged",
    exit_code=0,
    headline="everything is up to date",
    log_file="/srv/.releaser/shop/logs/x.log",
)
CHANGES = (
    Change(name="django", old="5.1.2", new="5.2", bump="minor"),
    Change(name="a-longer-name", old=None, new="1.0", bump="added"),
    Change(name="gone", old="3.0", new=None, bump="removed"),
)
TABLE = [
    "PACKAGE        OLD    NEW  BUMP",
    "django         5.1.2  5.2  minor",
    "a-longer-name  -      1.0  added",
    "gone           3.0    -    removed",
]


def report(**changes: Any) -> RunReport:
    return dataclasses.replace(QUIET, **changes)


def test_columns_are_as_wide_as_they_must_be_and_lines_end_with_their_last_word() -> None:
    assert aligned([["a", "bb", ""], ["ccc", "d", ""], ["", "", "e"]]) == ["a    bb", "ccc  d", "         e"]
    assert aligned([["a", "b"]], indent="  ") == ["  a  b"]
    assert aligned([]) == []


def test_changes_are_a_table_only_if_there_are_any() -> None:
    assert changes_table(CHANGES, now=QUIET.started_at).lines == TABLE
    assert changes_table([], now=QUIET.started_at).lines == []


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Outcome(step="build", status="ok", seconds=6.04), "build: ok (6.0 s)"),
        (Outcome(step="pull", status="skipped", detail="nothing new"), "pull: skipped (0.0 s): nothing new"),
        (Outcome(step="test", status="failed", detail="red", seconds=61.25), "test: failed (61.2 s): red"),
    ],
)
def test_a_step_is_one_line(outcome: Outcome, line: str) -> None:
    assert step_line(outcome) == line


def test_a_run_without_news_is_one_line() -> None:
    assert last_words(QUIET) == ["releaser update: shop: everything is up to date"]


def test_a_failure_says_what_failed_whether_live_changed_and_what_to_do() -> None:
    failed = report(
        result="refused",
        exit_code=3,
        headline="2 problems found",
        problems=(Problem(message="no uv", advice="Install it."), Problem(message="no lock")),
    )
    assert last_words(failed) == [
        "releaser update: shop: 2 problems found",
        "problem: no uv",
        "  what to do: Install it.",
        "problem: no lock",
        "live: unchanged",
        "log: /srv/.releaser/shop/logs/x.log",
    ]


def test_a_problem_that_is_the_headline_is_said_once_and_its_advice_is_kept() -> None:
    problems = (Problem(message="the tests fail", advice="Mend them."),)
    words = last_words(report(exit_code=5, headline="the tests fail", problems=problems))
    assert words[:2] == ["releaser update: shop: the tests fail", "  what to do: Mend them."]
    assert not any(word.startswith("problem") for word in words)


def test_a_problem_that_tells_more_than_the_headline_takes_its_place() -> None:
    problems = (Problem(message="no lock: disk full", advice="Make room."), Problem(message="b", advice="Make room."))
    words = last_words(report(exit_code=4, headline="no lock", problems=problems))
    assert words[:3] == ["releaser update: shop: no lock: disk full", "  what to do: Make room.", "problem: b"]
    assert "".join(words).count("Make room.") == 1


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 7, 8, 9, 130])
@pytest.mark.parametrize("problems", [(), (Problem(message="it failed"),), (Problem(message="another one"),)])
def test_whatever_failed_it_is_said_what_to_do(code: int, problems: tuple[Problem, ...]) -> None:
    words = last_words(report(exit_code=code, headline="it failed", problems=problems))
    assert words[1].startswith("  what to do: ")
    assert sum("what to do" in word for word in words) == 1


def test_the_advice_of_the_run_is_preferred_and_success_needs_none() -> None:
    assert "  what to do: Mend it." in last_words(report(exit_code=6, headline="it failed", advice="Mend it."))
    assert not any("what to do" in word for word in last_words(QUIET))


def test_of_what_was_taken_back_it_is_said_how_to_try_it_again() -> None:
    problems = (Problem(message="restart failed", advice="Mend it."),)
    failed = report(exit_code=6, headline="health check failed", problems=problems)
    assert "releaser status" in last_words(failed)[1]
    assert "releaser update --force" in last_words(failed)[1]
    assert "releaser list" in last_words(dataclasses.replace(failed, command="rollback"))[1]


@pytest.mark.parametrize(
    ("message", "advice", "said"),
    [
        ("no push", "Push.", "no push. Push."),
        ("no push.", "Push.", "no push. Push."),
        ("really?", "Push.", "really? Push."),
        ("git said:", "Push.", "git said: Push."),
        ("no push ", "", "no push"),
        ("", "Push.", "Push."),
    ],
)
def test_a_problem_and_its_advice_are_sentences(message: str, advice: str, said: str) -> None:
    assert sentences(message, advice) == said


def test_what_was_recovered_and_what_became_of_the_mail_is_said() -> None:
    words = last_words(
        report(recovered="An earlier run was cut off.", noted="It was moved.", mail="sent to ada@example.org")
    )
    assert words[1:] == ["An earlier run was cut off.", "It was moved.", "mail: sent to ada@example.org"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "live: unchanged"),
        ({"exit_code": 5, "release": "B"}, "live: unchanged"),
        ({"exit_code": 7, "live_changed": True, "release": "B"}, "live: it is B now"),
        ({"exit_code": 6, "release": "B"}, "live: as before; the new release was live briefly and was taken back"),
        ({"exit_code": 6, "live_changed": True, "release": "B"}, "live: it is B still"),
    ],
)
def test_it_is_said_whether_live_changed(changes: dict[str, Any], line: str) -> None:
    assert live_line(report(**changes)) == line


def test_of_a_long_output_the_end_is_shown() -> None:
    assert output_end(QUIET) == []
    lines = output_end(report(output="\n".join(f"line {number}" for number in range(1000))))
    assert lines[:2] == ["end of the output:", "  line 0"]
    assert lines[-1] == "  line 999"
    assert len(lines) < 60
    assert output_end(report(output="\x1b[31mred\x1b[0m"))[1] == "  red"


def test_a_summary_has_changes_output_and_last_words_in_this_order() -> None:
    lines = summary(report(changes=CHANGES, output="oops", exit_code=5, headline="the tests fail"))
    assert lines[:4] == TABLE
    assert lines[4:7] == ["end of the output:", "  oops", "releaser update: shop: the tests fail"]


DETAILS: dict[str, Any] = {
    "id": "B",
    "state": "good",
    "pinned": True,
    "created_at": "2026-11-20T06:12:00+00:00",
    "origin": "built",
    "overrides": [],
    "python": "3.11.7",
    "group": None,
    "tests": "passed",
    "tests_run": 12,
    "commit": "abc",
    "subject": "Begin",
    "staging_copied": [],
    "staging_linked": [],
    "previous": "A",
    "lock_sha256": "00",
    "size_bytes": 1000,
    "own_bytes": 400,
    "path": "/srv/x",
    "in_use_by": [7, 42],
    "processes": [],
    "changes": [],
    "held_back": [],
    "steps": [],
    "test_output": "\n",
}


def test_a_release_is_shown_as_facts() -> None:
    lines = release_text(DETAILS)
    assert lines[0] == "id:           B"
    assert {
        "pinned:       yes",
        "group:        -",
        "in_use_by:    7 42",
        "size_bytes:   1000",
        "own_bytes:    400",
    } <= set(lines)
    assert len(lines) == 17
    assert "in_use_by:    -" in release_text({**DETAILS, "in_use_by": []})
    used = release_text({**DETAILS, "processes": [{"pid": 7, "user": "www", "since": "now", "command": "worker"}]})
    assert used[-2:] == ["PROCESS  USER  SINCE  COMMAND", "7        www   now    worker"]
    assert "pinned:       no" in release_text({**DETAILS, "pinned": False})
    tried = release_text({**DETAILS, "overrides": ["alpha @ file:///srv/alpha", "beta==2"]})
    assert tried[17:] == ["override:     alpha @ file:///srv/alpha", "override:     beta==2"]


def test_a_release_is_shown_with_changes_steps_and_tests_where_there_are_any() -> None:
    lines = release_text(
        {
            **DETAILS,
            "changes": [dataclasses.asdict(change) for change in CHANGES],
            "steps": [{"step": "build", "status": "ok", "seconds": 6.04, "detail": "B"}],
            "test_output": "one\ntwo\n",
        }
    )
    assert lines[17:] == [
        "",
        *TABLE,
        "",
        "STEP   STATUS  TIME",
        "build  ok      6.0 s  B",
        "",
        "end of the test output:",
        "  one",
        "  two",
    ]


def test_the_history_is_a_table_also_of_entries_that_lack_something() -> None:
    runs: list[dict[str, Any]] = [
        {
            "started_at": "2026-11-20T06:12:00+00:00",
            "command": "update",
            "result": "activated",
            "exit_code": 0,
            "seconds": 75.04,
            "headline": "updated to B",
        },
        {},
        {"seconds": None, "exit_code": 3},
    ]
    assert history_text(runs) == [
        "WHEN (UTC)           COMMAND  RESULT     CODE  TIME    WHAT",
        "2026-11-20 06:12:00  update   activated  0     75.0 s  updated to B",
        "                                               0.0 s",
        "                                         3     0.0 s",
    ]
    assert history_text([]) == []


STATUS: dict[str, Any] = {
    "project": "shop",
    "path": "/srv/shop",
    "live": None,
    "live_python": None,
    "releases_bytes": 420_000_000,
    "free_bytes": 12_300_000_000,
    "last_run": None,
    "last_change": None,
    "running": None,
    "interrupted": False,
    "push_pending": False,
    "mails_pending": 0,
    "left_behind": [],
    "red_tests": None,
    "held_back": [],
    "quarantined": [],
    "refused_pythons": [],
    "rejected_commits": [],
    "waiting": [],
    "problems": [],
}
DISK = "disk: the releases take 420 MB, 12.3 GB are free"


def test_the_status_of_a_project_that_is_not_adopted_is_short() -> None:
    assert status_text(STATUS, age="0 s") == ["project: shop (/srv/shop)", "live: no release", DISK]


def test_the_status_stays_one_screen_when_many_versions_are_held_back() -> None:
    held = [
        {"name": f"p{number}", "version": "2", "reason": "ill", "at": "2026-11-19T00:00:00+00:00"}
        for number in range(23)
    ]
    found = status_text({**STATUS, "held_back": held}, age="0 s")
    assert found[3:] == ["held back: 23 versions (p0 2, p1 2, p2 2, p3 2, p4 2 and 18 more): ill (since 2026-11-19)"]


def test_the_status_speaks_of_one_mail_in_the_singular() -> None:
    found = status_text({**STATUS, "mails_pending": 1}, age="0 s")
    assert found[3:] == ["pending: 1 mail is not sent yet"]


def test_the_status_names_everything_that_is_of_interest() -> None:
    run = {
        "started_at": "2026-11-20T06:12:00+00:00",
        "command": "update",
        "result": "failed",
        "exit_code": 5,
        "headline": "the tests fail",
    }
    found = status_text(
        {
            **STATUS,
            "live": "B",
            "live_python": "3.11.7",
            "last_run": run,
            "last_change": {**run, "result": "activated", "exit_code": 0, "headline": "updated to B"},
            "running": {"command": "update", "pid": 42, "since": "2026-11-20T06:12:00+00:00"},
            "interrupted": True,
            "push_pending": True,
            "mails_pending": 3,
            "red_tests": {"release": "B", "since": "2026-11-19T00:00:00+00:00", "failing": ["test_a", "test_b"]},
            "left_behind": [{"release": "A", "pid": 7, "user": "www", "command": "worker", "since": "yesterday"}],
            "held_back": [{"name": "alpha", "version": "2.0", "reason": "ill", "at": "2026-11-19T00:00:00+00:00"}],
            "quarantined": [{"release": "C", "reason": "red", "at": "2026-11-18T00:00:00+00:00"}],
            "refused_pythons": [{"version": "3.13.0", "reason": "red", "at": "2026-11-18T00:00:00+00:00"}],
            "waiting": [{"release": "D", "reason": "a.0002 is missing", "at": "2026-11-18T00:00:00+00:00"}],
            "problems": ["the interpreter is gone"],
        },
        age="3 d",
    )
    assert found == [
        "project: shop (/srv/shop)",
        "live: B (3 d old, Python 3.11.7)",
        DISK,
        "last run: 2026-11-20 06:12:00 UTC, update: failed (code 5): the tests fail",
        "last change: 2026-11-20 06:12:00 UTC, update: activated (code 0): updated to B",
        "running now: releaser update, pid 42, since 2026-11-20T06:12:00+00:00",
        "not restarted: 7 of www runs on A since yesterday: worker",
        "tests of B have been failing since 2026-11-19: test_a, test_b",
        "pending: an earlier run was cut off; the next one repairs what it left",
        "pending: a commit is not pushed yet",
        "pending: 3 mails are not sent yet",
        "held back: alpha 2.0: ill (since 2026-11-19)",
        "quarantined: candidate C: red (since 2026-11-18)",
        "quarantined: Python 3.13.0: red (since 2026-11-18)",
        "waiting: candidate D: a.0002 is missing (since 2026-11-18)",
        "problem: the interpreter is gone",
    ]
