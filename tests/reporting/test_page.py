"""The page about a site: complete in itself, harmless, and right about what it counts."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from releaser.answers import Blocker, OnHold, OutdatedPackage, RunBrief
from releaser.locks.vulnerabilities import Vulnerability
from releaser.releases.listing import Row
from releaser.report import Outcome, Result
from releaser.reporting.many_sites import SiteAnswer
from releaser.reporting.page import LastRun, Overview, packages_by_age, page_of, page_of_sites, runs_by_week
from releaser.system.files import plain
from tests.reporting.test_answers import STATUS

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
BAD = "<script>alert('1')</script>"


def run(ago: timedelta, result: Result = "no-changes", code: int = 0) -> RunBrief:
    return RunBrief(
        command="update",
        run_id="1",
        started_at=(NOW - ago).isoformat(),
        seconds=61.0,
        result=result,
        exit_code=code,
        headline=f"it was so: {BAD}",
    )


NOTHING = Overview(
    at=NOW, status=STATUS, releases=(), runs=(), last=LastRun(), outdated=None, outdated_reason="no query was made",
    vulnerabilities=(), uploaded=(),
)  # fmt: skip
LAST = run(timedelta(hours=3), "failed", 5)
FULL = replace(
    NOTHING,
    status=replace(
        STATUS,
        live="20261120T061200Z",
        live_python="3.12.3",
        live_age_seconds=90.0,
        last_deployment=LAST,
        vulnerable=1,
        last_success=run(timedelta(hours=9)),
        waits="an update waits",
        on_hold=(OnHold(name="django", version="6.0", release="", reason=BAD, at="2026-11-22T03:00:00+00:00"),),
    ),
    releases=(
        Row(id="20261120T061200Z", state="live", live=True, created_at=NOW, path="/x", subject=BAD, size_bytes=5),
    ),
    runs=(LAST, run(timedelta(hours=9))),
    last=LastRun(
        steps=(Outcome(step="test", status="failed", detail=BAD),), problems=(f"see https://x.example/ {BAD}",)
    ),
    outdated=(
        OutdatedPackage(name="django", locked="5.2", latest="6.0", blocked_by=(Blocker(by="tests", reason=BAD),)),
        OutdatedPackage(name="pillow", locked="11.0", latest="11.1"),
    ),
    vulnerabilities=(
        Vulnerability(name="pillow", version="11.0", id="CVE-1", link="https://cve.example/", summary=BAD),
    ),
    uploaded=(NOW - timedelta(days=400), NOW - timedelta(days=2)),
)

WELL = replace(FULL, status=replace(FULL.status, vulnerable=None, last_deployment=None), vulnerabilities=())


@pytest.mark.parametrize("found", [NOTHING, FULL], ids=["nothing", "full"])
def test_the_page_needs_nothing_else_and_runs_nothing(found: Overview) -> None:
    page = page_of(found)
    assert re.findall(r"<(script|link|img|iframe|object|form)\b|\bsrc=|@import|url\(|\son\w+=", page) == []
    assert set(re.findall(r'href="([^"]+)"', page)) <= {"https://x.example/", "https://cve.example/"}


def test_it_says_what_is_to_be_done_and_what_there_is() -> None:
    page, text = page_of(FULL), re.sub(r"<[^>]+>|\s+", " ", page_of(FULL))
    assert '<span class="badge badge-amber">needs attention</span>' in page
    assert '<a href="https://x.example/">' in page
    for said in (
        "the last update ended with code 5", "1 package with known vulnerabilities", "An update waits.", "CVE-1",
        "tests: &lt;script&gt;", "nothing; the next update installs it", "2 packages of which the lock says",
    ):  # fmt: skip
        assert said in " ".join(text.split()), said
    empty = page_of(NOTHING)
    assert 'badge-red">broken</span>' in empty
    for said in ("no release is live", "It is not known what is newer: no query was made.", "There has been none."):
        assert said in empty
    asked = page_of(replace(WELL, unanswered="a proxy"))
    assert "The last run that asked got no answer: a proxy." in asked
    assert 'badge-amber">needs attention</span>' in asked
    assert 'badge-green">well</span>' in page_of(WELL)
    assert "th, .entry { white-space: nowrap }" in page
    assert re.search(r'<span class="entry"><span class="key [\w-]+"></span> failed</span>', page)


def test_runs_are_counted_by_the_week_that_began_on_monday() -> None:
    ago = [timedelta(0), timedelta(hours=8), timedelta(hours=10), timedelta(days=7, hours=10), timedelta(weeks=40)]
    bars = runs_by_week([*map(run, ago), run(timedelta(hours=1), "failed")], NOW)
    assert [(bar.label, bar.parts) for bar in bars[-3:]] == [
        ("09 Nov", ((1, "muted", "no changes"),)),
        ("16 Nov", ((1, "muted", "no changes"),)),
        ("23 Nov", ((2, "muted", "no changes"), (1, "red", "failed"))),
    ]
    assert sum(bar.total for bar in bars) == 5


def test_versions_are_counted_by_their_age() -> None:
    days = [0, 29, 30, 91, 364, 365, 5000]
    bars = packages_by_age([NOW - timedelta(days=one) for one in days], NOW)
    assert [(bar.label, bar.total) for bar in bars] == [
        ("new", 2), ("1 mo +", 1), ("3 mo +", 1), ("6 mo +", 1), ("1 y +", 1), ("2 y +", 1),
    ]  # fmt: skip


def test_the_page_about_many_sites_has_the_worst_first_and_believes_none() -> None:
    forged = [{**plain(FULL.status), "last_success": {**plain(LAST), "started_at": "never"}}, 5, None, {}]
    answers = [
        SiteAnswer(
            site="/srv/well", exit_code=0, answer=plain(replace(FULL.status, vulnerable=0, last_deployment=None))
        ),
        SiteAnswer(site="/srv/full", exit_code=0, answer=plain(FULL.status)),
        *(SiteAnswer(site=f"/srv/{BAD}", exit_code=3, answer=one, errors=(f"releaser: {BAD}",)) for one in forged),
    ]
    page = page_of_sites(answers, NOW)
    assert re.findall(r"<(script|link|img|iframe|object|form)\b|\bsrc=|@import|url\(|\son\w+=", page) == []
    assert re.findall(r'href="([^"]+)"', page) == [f"#site-{number}" for number in range(1, 7)]
    words = re.findall(r'<tr class="site"><td><span class="badge badge-\w+">([^<]+)<', page)
    assert words == ["broken"] * 4 + ["needs attention", "well"]
    assert "<td>1 package on hold, 1 package vulnerable</td>" in page
    assert BAD not in page
