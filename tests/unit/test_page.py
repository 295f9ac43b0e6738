"""The page: what it says of a site, in small things. Every text in it may be a stranger's."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from releaser.errors import Problem
from releaser.fleet.every import LARGEST_ANSWER, Answer, view_answer
from releaser.report.history import Record
from releaser.report.page import SiteReport, render_page, shorten_history, view_site, view_unknown
from tests.support.pages import find_references

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
STATUS: dict[str, Any] = {
    "headline": "The site is well.", "live": "20261120T061200Z", "previous": None, "last_run": None,
    "last_updated": None, "well": True, "attention": [], "on_hold": [], "pending": [], "pending_changes": {},
    "pause": None, "paused_until": None, "ready": None, "decision": None, "running": None,
}  # fmt: skip
AUDIT = {"at": "2026-11-20T06:12:00Z", "packages": {"tea": "1.0"}}
ADVISORY = {"name": "tea", "version": "1.0", "id": "CVE-2026-1", "link": "javascript:alert(1)"}
DECISION = {"kind": "nothing", "at": "2026-11-20T06:12:00Z", "sentence": "Everything is up to date."}
PAUSE = {"kind": "everything", "by": "person", "reason": ""}
HOLD = {"kind": "package", "name": "tea", "version": None, "reason": "by you", "since": None, "until": None}
SKIPPED = {"name": "tea", "version": "2.0", "reason": "is on hold by you", "by": "hold", "holder": "tea"}
RELEASE = {
    "id": "20261120T071200Z", "state": "failed", "live": False, "pinned": False, "created_at": "2026-11-20T07:12:00Z",
    "python": "3.11.7", "lock_sha256": "", "size_bytes": 1, "own_bytes": 1, "in_use": False, "in_use_by": [],
    "commit": "3f2a9c1", "path": "/", "changes": [{"name": "tea", "old": "1.0", "new": "2.0", "bump": "major"}],
}  # fmt: skip


def make_report(**changes: Any) -> SiteReport:
    """Return the report of a site that is well, but for changes of it, and of its status."""
    values = {"headline": "", "name": "shop", "directory": "/srv/shop", "releases": [], "history": [], "versions": {}}
    status = STATUS | {name: value for name, value in changes.items() if name in STATUS or name == "audit"}
    own = {name: value for name, value in changes.items() if name in values}
    return msgspec.convert(values | own | {"status": status}, SiteReport)


def record(days: int, result: Any, headline: str = "", command: str = "update") -> Record:
    """Return a run some days ago."""
    return Record("20261101T000000Z", command, AT - timedelta(days=days), result, 0, headline)


@pytest.mark.parametrize(
    ("changes", "word", "waiting"),
    [
        ({}, "well", "none"),
        ({"well": False}, "needs attention", "none"),
        ({"attention": [{"code": "x", "message": "Bad.", "advice": ""}]}, "needs attention", "none"),
        ({"live": None}, "needs attention", "none"),
        ({"pause": PAUSE}, "paused", "none"),
        ({"pause": PAUSE, "well": False}, "needs attention", "none"),
        ({"on_hold": [HOLD | {"by": "person"}]}, "well", "1 on hold"),
        ({"decision": DECISION | {"skipped": [SKIPPED, SKIPPED | {"is_live": True}]}}, "well", "1 outdated"),
        ({"releases": [RELEASE]}, "well", "1 outdated"),
        ({"audit": AUDIT | {"advisories": [ADVISORY]}, "well": False}, "needs attention", "1 vulnerable"),
        ({"pending": ["3f2a9c1"], "well": False}, "needs attention", "1 not pushed"),
    ],
)
def test_state_of_a_site(changes: dict[str, Any], word: str, waiting: str) -> None:
    """Green is only a site that is well."""
    view = view_site(make_report(**changes), AT)
    assert (view.word, view.waiting, view.colour == "green") == (word, waiting, word == "well")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "Not known: nothing has asked about the live release."),
        ({"audit": AUDIT | {"unknown": "no answer"}}, "It is unknown whether packages have known vulnerabilities"),
        ({"audit": AUDIT}, "No known vulnerabilities"),
        ({}, "Not known: no update has looked yet."),
        ({"decision": DECISION}, "As the update of 2026-11-20 06:12 decided. Everything is up to date."),
        ({"decision": DECISION | {"skipped": [SKIPPED]}, "on_hold": [HOLD | {"by": "person"}]},
         "To allow tea: <code>releaser unhold tea --project /srv/shop</code>"),
        ({"decision": DECISION | {"skipped": [SKIPPED]}, "on_hold": [HOLD | {"by": "setting"}]},
         "2.0 is on hold by you."),
        ({"releases": [RELEASE]}, "2.0 is in release 20261120T071200Z, which failed."),
        ({"previous": "20261119T061200Z"}, "<code>releaser rollback --project /srv/shop</code> goes back to 20261119"),
        ({"ready": "20261120T071200Z"}, "<code>releaser update --project /srv/shop</code> makes it live."),
    ],
)  # fmt: skip
def test_sentences(changes: dict[str, Any], sentence: str) -> None:
    page = render_page([view_site(make_report(**changes), AT)])
    assert sentence in re.sub(r"\s+", " ", page)


@pytest.mark.parametrize(
    "changes", [{}, {"last_updated": "0001-01-01T00:00:00+14:00"}, {"running": {"command": "x", "pid": 1}}, {"live": 5}]
)
def test_what_a_site_makes_up_of_itself_does_no_harm(changes: dict[str, Any]) -> None:
    answer = msgspec.to_builtins(make_report(headline="Well.", name="bank", directory="/srv/bank"))
    answer["status"] |= changes
    view = view_answer(Answer("/srv/shop", "shop", 0, answer=answer), "shop")
    assert (view.name, view.directory, view.word) == ("shop", "/srv/shop", "unknown" if changes else "well")


def test_calendar() -> None:
    """The most urgent result of a day counts; what takes no release live, is too old or in the future, does not."""
    history = [record(0, "updated"), record(0, "failed"), record(1, "no-changes"), record(2, "done", command="pin")]
    calendar = view_site(make_report(history=[*history, record(300, "updated"), record(-3, "updated")]), AT).calendar
    assert calendar is not None
    today, yesterday, before = calendar.days[-1], calendar.days[-2], calendar.days[-3]
    assert (today.colour, today.words) == ("red", "2026-11-20: update failed, update updated")
    assert (yesterday.colour, before.colour, before.words) == ("quiet", "", "2026-11-18: no run")
    assert (today.column, today.row, len(calendar.days)) == (25, 4, 25 * 7 + 5)
    assert calendar.summary == "Runs by day since 2026-05-25: 1 failed, 1 updated, 1 no changes."


def test_law_42_the_report_of_a_site_with_a_run_an_hour_is_an_answer_that_is_read() -> None:
    history = [
        msgspec.structs.replace(record(number // 24, "failed", "é" * 1000), run=f"20261101T{number:06}Z", steps=[])
        for number in range(2000)
    ]
    report = make_report(history=shorten_history(history))
    assert len(msgspec.json.format(msgspec.json.encode(report), indent=2)) < 0.75 * LARGEST_ANSWER
    page = render_page([view_site(report, AT)])
    assert page.count("é" * 199) == 20


def test_texts_are_escaped_and_nothing_is_loaded() -> None:
    """HTML and control characters stay text; a link is one of https. Of many sites, the worst is the first."""
    attack = "<script src=https://x.example/></script>\x1b[2J\u202e"
    report = make_report(
        name=attack,
        directory=f"/srv/{attack}",
        history=[record(1, "failed", attack)],
        audit=AUDIT | {"advisories": [ADVISORY | {"summary": attack}, ADVISORY | {"link": "https://osv.example/1"}]},
    )
    view, unknown = view_site(report, AT), view_unknown("tea", "/srv/tea", (Problem("x", attack, attack),))
    for sites in ([view], [view, unknown, view]):
        page = render_page(sites)
        assert find_references(page) == {"https://osv.example/1"}
        assert not re.search("<script|\x1b|\u202e", page)
    assert page.index('badge-red">unknown') < page.index('badge-green">well')
