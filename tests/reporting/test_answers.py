"""What commands that only ask print for people."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from releaser.answers import ReleaseDetails
from releaser.locks.origins import Deviation
from releaser.releases.integrity import Defect, Kind
from releaser.releases.journal import FailingLiveTests
from releaser.releases.key import ReleaseKey
from releaser.releases.listing import User
from releaser.releases.verify import Verified
from releaser.report import Outcome
from releaser.reporting.hold_status import FailedCandidate, OnHold, WaitingCandidate
from releaser.reporting.text import HISTORY, history_rows, release_text, sound_text, status_text, verified_text
from releaser.site.run_lock import Holder
from releaser.system.files import plain
from releaser.system.words import table
from tests.releases.makers import NOW, a_manifest
from tests.reporting.makers import BRIEF, CHANGES, STATUS, changed
from tests.reporting.test_text import TABLE

MANIFEST = a_manifest(
    id="B", created_at=NOW, group=None, tests_run=12, commit="abc", subject="Begin", previous="A", changes=()
)
DETAILS = ReleaseDetails(
    **plain(MANIFEST), state="good", live=False, pinned=True, in_use_by=(7, 42), processes=(), path="/srv/x",
    works=True, broken=False, damage=None, on_hold=(), steps=(), test_output="\n",
)  # fmt: skip


def test_a_release_is_shown_as_facts() -> None:
    lines = release_text(DETAILS)
    assert (lines[0], len(lines)) == ("id:           B", 17)
    assert {
        "pinned:       yes", "created_at:   2026-11-20T06:12:00+00:00", "group:        -", "in_use_by:    7 42",
        "size_bytes:   1000", "own_bytes:    400",
    } <= {*lines}  # fmt: skip
    assert {"pinned:       no", "in_use_by:    -"} <= {*release_text(replace(DETAILS, pinned=False, in_use_by=()))}


USER = User(pid=7, user="www", since="now", command="worker")
OVERRIDES = ("alpha @ file:///srv/alpha", "beta==2")


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({"processes": (USER,)}, ["", "PROCESS  USER  SINCE  COMMAND", "7        www   now    worker"]),
        ({"overrides": OVERRIDES}, ["override:     alpha @ file:///srv/alpha", "override:     beta==2"]),
        ({"changes": CHANGES}, ["", *TABLE]),
        ({"steps": (Outcome(step="build", status="ok", seconds=6.04, detail="B"),)}, ["", "STEP   STATUS  TIME",
            "build  ok      6.0 s  B"]),
        ({"test_output": "one\ntwo\n"}, ["", "end of the test output:", "  one", "  two"]),
    ],
)  # fmt: skip
def test_below_the_facts_of_a_release_is_what_else_there_is(facts: dict[str, Any], lines: list[str]) -> None:
    assert release_text(replace(DETAILS, **facts))[17:] == lines


def test_the_history_is_a_table_also_of_entries_that_lack_something() -> None:
    run = plain(replace(BRIEF, run_id="20261120T061200Z-123", result="updated", seconds=75.04, headline="updated to B"))
    assert table([HISTORY, *history_rows([run, {}, {"seconds": None, "exit_code": 3}])]) == [
        "RUN (UTC)             COMMAND  RESULT   CODE  TIME        WHAT",
        "20261120T061200Z-123  update   updated  0     1 min 15 s  updated to B",
        "                                              0.0 s",
        "                                        3     0.0 s",
    ]


NOT_ADOPTED = [
    "project: shop (/srv/shop)",
    "live: no release yet. Run `releaser init` to adopt the project.",
    "disk: the releases take 420 MB, 12.3 GB are free",
]


def on_hold(name: str, version: str = "2") -> OnHold:
    return OnHold(name=name, version=version, release="", reason="ill", at="2026-11-19T00:00:00+00:00")


def moved(name: str, since: str = "") -> Deviation:
    return Deviation(name=name, version="1", what="index", old="I", new="J", since=since)


def test_the_status_stays_one_screen_whatever_there_is_many_of() -> None:
    assert status_text(STATUS) == NOT_ADOPTED
    names = [f"p{number}" for number in range(23)]
    assert status_text(changed(STATUS, on_hold=(*map(on_hold, names),))) == [
        *NOT_ADOPTED,
        "on hold: 23 versions (p0 2, p1 2, p2 2, p3 2, p4 2 and 18 more): ill (since 2026-11-19)",
    ]
    assert status_text(replace(STATUS, asked=(*map(moved, names),)))[12:] == [
        "to be accepted: p9 1 now comes from J (before: I); `releaser accept p9`",
        "to be accepted: 13 more; `--json` shows all",
    ]


def test_the_status_names_everything_that_is_of_interest() -> None:
    key = ReleaseKey(lock_sha256="", code_key="", python="", group=None)
    at = "2026-11-18T00:00:00+00:00"
    status = changed(
        STATUS,
        live="B",
        live_python="3.11.7",
        live_age_seconds=3 * 86400.0,
        newer_python="3.13.1",
        last_run=replace(BRIEF, result="refused", exit_code=5, headline="the tests fail"),
        last_change=replace(BRIEF, result="updated", headline="updated to B"),
        running=Holder(command="update", pid=42, since="2026-11-20T06:12:00+00:00"),
        interrupted=True,
        push_pending=True,
        mails_pending=3,
        asked=(moved("e", since=at),),
        failing_live_tests=FailingLiveTests(release="B", since=at, reason="", failing=("test_a", "test_b")),
        blocked="20261119T031200Z failed: 1 failed",
        not_restarted="updates restart nothing",
        without_sandbox=True,
        on_hold=(on_hold("alpha", "2.0"),),
        failed_candidates=(FailedCandidate(key=key, release="C", reason="red", at=at, sick=False),),
        waiting=(WaitingCandidate(key=key, release="D", reason="a.0002 is missing", at=at),),
        problems=("the interpreter is gone",),
    )
    assert status_text(status) == [
        "project: shop (/srv/shop)",
        "live: B (3 d old, Python 3.11.7)",
        "newer Python: 3.13.1 is installed; `releaser rebuild --python 3.13.1` moves the site to it",
        "disk: the releases take 420 MB, 12.3 GB are free",
        "last run: 2026-11-20 06:12:00 UTC, update refused (exit code 5): the tests fail",
        "last change: 2026-11-20 06:12:00 UTC, update: updated to B",
        "running now: releaser update, pid 42, since 2026-11-20T06:12:00+00:00",
        "to be accepted: e 1 now comes from J (before: I); `releaser accept e` (since 2026-11-18)",
        "tests of B have been failing since 2026-11-18: test_a, test_b",
        "updates cannot go live: 20261119T031200Z failed: 1 failed",
        "warning: updates restart nothing",
        "tests and builds run without a sandbox; see `releaser check`",
        "pending: an earlier run was interrupted; the next run finishes or undoes it",
        "pending: a commit is not pushed yet",
        "pending: 3 mails not sent yet",
        "on hold: alpha 2.0: ill (since 2026-11-19)",
        "failed: candidate C: red (since 2026-11-18)",
        "waiting: candidate D: a.0002 is missing (since 2026-11-18)",
        "problem: the interpreter is gone",
    ]


def answer(*defects: Defect) -> Verified:
    return Verified(release="R", live=True, started=True, ok=not defects, problems=defects, files=3, seconds=0.25)


def gone(number: int) -> Defect:
    return Defect(kind="missing", path=f"lib/python3.11/site-packages/alpha/{number}.py", message="it is gone")


def test_problems_of_a_release_are_grouped_by_kind() -> None:
    package = Defect(kind="package", package="beta", message="it is 1.1, and the lock says 1.0")
    start = Defect(kind="start", message="it does not\nstart")
    assert verified_text(answer(gone(1), package, gone(2), start), whole=False) == [
        "R: 4 problems",
        "  start (1):",
        "    it does not start",
        "  packages (1):",
        "    beta: it is 1.1, and the lock says 1.0",
        "  missing (2):",
        "    alpha/1.py: it is gone",
        "    alpha/2.py: it is gone",
    ]
    for kind in get_args(Kind):
        assert verified_text(answer(Defect(kind=kind, message="it is so")), whole=True)[0] == "R: 1 problem"
    assert sound_text(answer()) == "R is unchanged since it was sealed: 3 files read in 0.2 s"


def test_a_long_list_is_cut_short_unless_all_is_asked_for() -> None:
    many = answer(*map(gone, range(12)))
    assert verified_text(many, whole=False)[-2:] == ["    alpha/9.py: it is gone", "    and 2 more; -v shows all"]
    assert len(verified_text(many, whole=True)) == 14
