"""Mails about one problem are one thread, and nothing is called solved that may not be."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from releaser.errors import HookError, MigrationsError
from releaser.locks.blocks import Block
from releaser.releases.blocks import HoldsSection
from releaser.releases.journal import NOTES, MailSection, Thread, read_notes
from releaser.report import Outcome, RunReport
from releaser.reporting.threads import (
    close_threads,
    find_solved,
    message_id,
    open_thread,
    problem_of,
    references_of,
    root_of,
)
from releaser.site.windows import DueSection
from tests.reporting.makers import QUIET, STARTED

PROBLEMS = ("bug", "preflight", "build", "tests", "live tests", "rollback", "follow-up")
THREADS = tuple(Thread(problem=one, message_id=f"<{one}@x>", since=STARTED) for one in PROBLEMS)
UPDATED = replace(QUIET, result="updated", live_changed=True)
HELD = (Block(name="alpha", version="2.0", reason="red", by="tests"),)
RED_BEFORE = replace(QUIET, result="refused", exit_code=5, blame="before")
WELL = replace(QUIET, steps=(Outcome(step="test live release", status="ok"),))
AT = {"failed_at": (), "has_commits_on_hold": False, "is_due": False}
LATER = (STARTED + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        *((replace(QUIET, exit_code=code), name) for code, name in [(1, "bug"), (3, "preflight"), (7, "follow-up")]),
        (RED_BEFORE, "live tests"),
        (replace(RED_BEFORE, blame="update"), "tests"),
        (replace(QUIET, result="refused", exit_code=5, problems=HookError("no").findings), "before_live"),
        (replace(QUIET, result="refused", exit_code=5, problems=MigrationsError("no").findings), "migrations"),
        *((replace(QUIET, exit_code=code), "") for code in (0, 8, 9, 143)),
        (replace(QUIET, command="rollback", exit_code=7), ""),
    ],
)
def test_a_problem_goes_by_what_failed(report: RunReport, problem: str) -> None:
    assert problem_of(report) == problem


@pytest.mark.parametrize(
    ("report", "facts", "left"),
    [
        (UPDATED, {}, ()),
        (replace(UPDATED, exit_code=7), {}, ("follow-up",)),
        (UPDATED, {"is_due": True}, ("follow-up",)),
        (UPDATED, {"has_commits_on_hold": True}, ("tests", "rollback")),
        (replace(UPDATED, on_hold=HELD), {}, ("tests", "rollback")),
        (UPDATED.with_section(HoldsSection(holds=HELD)), {}, ("tests", "rollback")),
        (replace(UPDATED, on_hold=(replace(HELD[0], by="policy"),)), {}, ()),
        (QUIET, {}, ("tests", "live tests", "rollback")),
        (QUIET, {"failed_at": (LATER,)}, ("build", "tests", "live tests", "rollback")),
        (WELL, {}, ("tests", "rollback")),
        (replace(QUIET, exit_code=3), {}, PROBLEMS),
        (QUIET.with_section(DueSection(due_at=QUIET.started_at)), {}, PROBLEMS),
        (RED_BEFORE, {}, PROBLEMS),
        (replace(UPDATED, command="rollback"), {}, PROBLEMS),
        (replace(UPDATED, only=("alpha",)), {}, PROBLEMS),
    ],
)
def test_only_what_is_known_to_be_well_again_is_solved(
    report: RunReport, facts: dict[str, Any], left: tuple[str, ...]
) -> None:
    assert set(PROBLEMS) - set(find_solved(report, THREADS, **{**AT, **facts})) == set(left)


def test_ten_nights_are_one_thread_until_it_is_solved(tmp_path: Path) -> None:
    nights = [replace(QUIET, exit_code=3, run_id=f"r{number}") for number in range(10)]
    for night in nights:
        assert references_of(night, tmp_path) == (() if night == nights[0] else (message_id(nights[0]),))
        open_thread(night, tmp_path)
    assert (tmp_path / NOTES).stat().st_size < 600
    solved = QUIET.with_section(MailSection(solved=("preflight",)))
    assert references_of(solved, tmp_path) == (message_id(nights[0]),)
    close_threads(solved, tmp_path)
    assert read_notes(tmp_path).threads == ()
    assert references_of(nights[0], tmp_path) == ()


def test_where_there_is_no_state_the_site_and_the_problem_name_the_thread() -> None:
    refused = replace(QUIET, exit_code=3)
    assert root_of(refused) == root_of(replace(refused, run_id="another"))
    assert len({root_of(one) for one in (refused, replace(refused, path="/x"), replace(refused, exit_code=1))}) == 3


def test_a_run_has_one_message_id_and_no_other_run_has_it() -> None:
    assert message_id(replace(QUIET, headline="told again", seconds=90.0)) == message_id(QUIET)
    others = [replace(QUIET, host="web2"), replace(QUIET, run_id="2"), replace(QUIET, path="/srv/other")]
    assert len({*map(message_id, [QUIET, *others])}) == 4


@pytest.mark.parametrize(
    "odd", ["", "a b\n<c>@d", "ü", "x" * 500, "..", "-", "a_b", "\udcff", "web1.example.org", "=?utf-8?q?=0A?="]
)
def test_every_message_id_is_well_formed(odd: str) -> None:
    atoms = r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
    assert re.fullmatch(rf"<{atoms}@{atoms}>", message_id(replace(QUIET, host=odd, run_id=odd, path=odd)))
