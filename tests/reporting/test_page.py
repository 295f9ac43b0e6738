"""The page about a site: complete in itself, harmless, and right about what it counts."""

import base64
import hashlib
import html
import re
import shlex
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from releaser.answers import Blocker, CommitOnHold, OnHold, OutdatedPackage, RunBrief
from releaser.locks.origins import Deviation
from releaser.locks.vulnerabilities import Vulnerability
from releaser.releases.journal import FailingLiveTests
from releaser.releases.leases import LeftBehind
from releaser.releases.listing import DriftAnswer, Row
from releaser.report import Outcome, Result
from releaser.reporting.many_sites import SiteAnswer
from releaser.reporting.page import (
    LastRun,
    Overview,
    packages_by_age,
    page_of,
    page_of_sites,
    runs_by_week,
    show_time,
)
from releaser.reporting.servers import Server, ServerReport
from releaser.system.files import plain
from tests.reporting.test_answers import STATUS
from tests.support.chromium import MISSING, chromium
from tests.support.guards import require

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
LAST = run(timedelta(hours=3), "refused", 5)
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

WELL = replace(
    FULL,
    status=replace(FULL.status, vulnerable=0, last_deployment=None, on_hold=()),
    vulnerabilities=(),
)


def a_server(*sites: SiteAnswer, name: str = "web1", ago: timedelta = timedelta(0)) -> Server:
    return Server(name=name, place=f"/srv/{name}.json", report=ServerReport(host=name, at=NOW - ago, sites=sites))


def state_of(page: str) -> str:
    """Return the word in the first badge, which is about everything on the page."""
    found = re.search(r'<span class="badge badge-\w+">([^<]+)<', page)
    return found[1] if found else ""


def assert_harmless(page: str) -> None:
    """Check that a page fetches nothing, and that its policy permits only its own style and its own script."""
    assert re.findall(r"<(link|img|iframe|object|form)\b|\bsrc=|@import|url\(|\s(?:on\w+|style)=", page) == []
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
    rules = dict(one.split(" ", 1) for one in policy.replace("&#39;", "'").split("; "))
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", page, re.DOTALL)
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("found", [NOTHING, FULL], ids=["nothing", "full"])
def test_the_page_needs_nothing_else_and_runs_only_its_own_script(found: Overview) -> None:
    page = page_of(found)
    assert_harmless(page)
    assert set(re.findall(r'href="([^"]+)"', page)) <= {"https://x.example/", "https://cve.example/"}


LONG_AGO = run(timedelta(days=3))
TESTS = OnHold(name="django", version="6.0", release="", reason="", at="2026-11-22T03:00:00+00:00", by="tests")
NOT_WELL: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a setting is wrong": ({"problems": ("`keep` is no number",)}, "broken", "is no number", "check"),
    "no release": ({"live": None, "live_age_seconds": None}, "broken", "No release is live.", "init"),
    "a failed update": ({"last_deployment": LAST}, "needs attention", "ended with exit code 5: it was so", "history"),
    "blocked": ({"blocked": "all of it failed"}, "needs attention", "Updates cannot go live: all", "outdated"),
    "an old update": ({"last_success": LONG_AGO}, "needs attention", "successful update was 3 d ago.", "update"),
    "a very old update": ({"last_success": run(timedelta(days=8))}, "broken", "was 8 d ago.", "update"),
    "an old update of a weekly site": (
        {"last_success": run(timedelta(days=9)), "interval_seconds": 7 * 86400.0},
        "needs attention", "The last successful update was 9 d ago.", "update",
    ),
    "vulnerable": ({"vulnerable": 2}, "needs attention", "2 packages with known vulnerabilities.", "audit"),
    "not audited": ({"vulnerable": None}, "needs attention", "was not checked for known vulnerabilities.", "audit"),
    "interrupted": ({"interrupted": True}, "needs attention", "A run was interrupted.", "update"),
    "not pushed": ({"push_pending": True}, "needs attention", "A commit has not been pushed.", "update"),
    "mails that fail": ({"mails_pending": 2}, "needs attention", "2 mails waiting to be sent.", "test-mail"),
    "to accept": (
        {"asked": (Deviation(name="a", version="1", what="index", old="x", new="y"),)},
        "needs attention", "1 package waiting for", "status",
    ),
    "old processes": (
        {"left_behind": (LeftBehind(pid=1, user="www", release="A", since="", command="x"),)},
        "needs attention", "1 process of an earlier release.", "status",
    ),
    "red tests": (
        {"failing_live_tests": FailingLiveTests(release="B", since="", reason="1 failed", failing=())},
        "needs attention", "The tests of the live release fail: 1 failed.", "check --tests",
    ),
    "not restarted": ({"not_restarted": "no server"}, "needs attention", "Updates restart nothing", "check"),
    "changed files": (
        {"drift": DriftAnswer(packages=(), files=())},
        "needs attention", "Packages or files of the live release were changed.", "verify",
    ),
    "on hold by the tests": (
        {"on_hold": (TESTS, replace(TESTS, name="pillow", version="12"))},
        "needs attention", "Updates skip django 6.0, pillow 12: the tests fail with them.", "outdated",
    ),
    "on hold by a rollback": (
        {"on_hold": (replace(TESTS, by="rollback"),)},
        "needs attention", "Updates skip django 6.0: the site was rolled back with it.", "outdated",
    ),
    "a commit on hold": (
        {"commits_on_hold": (CommitOnHold(commit="abc", code_key="", subject="Sell tea", reason="", at=""),)},
        "needs attention", "1 commit on hold: Sell tea.", "status",
    ),
    "a release that waits": (
        {"waiting_reason": "X is ready and waits: why"}, "needs attention", "X is ready and", "status",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("facts", "state", "said", "command"), NOT_WELL.values(), ids=NOT_WELL)
def test_a_site_is_not_well_for_each_of_these_reasons(
    facts: dict[str, Any], state: str, said: str, command: str
) -> None:
    status = replace(WELL.status, path="/srv/the shop", **facts)
    for page in (
        page_of(replace(WELL, status=status)),
        page_of_sites([a_server(SiteAnswer(site=status.path, exit_code=0, answer=plain(status)))], NOW),
    ):
        assert state_of(page) == state
        (alarms,) = re.findall(r"<ul>(.*?)</ul>", page, re.DOTALL)
        assert said in re.sub("<[^>]+>", "", alarms)
        lines = map(shlex.split, re.findall(r'<code class="command">([^<]+)<', html.unescape(alarms)))
        assert ["releaser", *command.split(), "--project", "/srv/the shop"] in [
            [*words[:2], *words[-2:]] if command == "history" else words for words in lines
        ]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"on_hold": (replace(TESTS, by="person"),)},
        {"vulnerable": None, "is_audited": False},
        {"last_success": run(timedelta(hours=40))},
        {"last_success": run(timedelta(days=7, hours=20)), "interval_seconds": 7 * 86400.0},
        {"waits": "the next update is due on Monday", "proposal": "a proposal waits for review"},
    ],
)
def test_a_site_is_well_without_a_reason_to_act(facts: dict[str, Any]) -> None:
    page = page_of(replace(WELL, status=replace(WELL.status, **facts)))
    assert state_of(page) == "well"
    assert "<p>Nothing needs your attention.</p>" in page


def test_what_is_not_known_of_vulnerabilities_is_said() -> None:
    unknown = replace(WELL, status=replace(WELL.status, vulnerable=None), unanswered="a proxy")
    page = page_of(unknown)
    assert state_of(page) == "needs attention"
    assert "The last query for known vulnerabilities failed: a proxy." in page
    assert "Not known: the last query got no answer." in page
    assert "Not checked since the live release changed." in page_of(replace(unknown, unanswered=""))
    off = page_of(replace(unknown, unanswered="", status=replace(unknown.status, is_audited=False)))
    assert "Not checked: the setting <code>vulnerability_service</code> is <code>none</code>." in off


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-11-22T03:00:59+00:00", "2026-11-22 03:00 UTC"),
        ("2026-11-22T03:00:00+02:00", "2026-11-22 01:00 UTC"),
        (NOW, "2026-11-23 09:00 UTC"),
        ("0001-01-01T00:00:00+14:00", "an unknown time"),
        ("never", "an unknown time"),
    ],
)
def test_each_time_has_its_zone(at: str | datetime, shown: str) -> None:
    assert show_time(at) == shown
    page = page_of(replace(FULL, runs=(replace(LAST, started_at="2026-11-22T03:00:59+00:00"),)))
    assert re.findall(r"20\d\d-\d\d-\d\d \d\d:\d\d(?! UTC)", page) == []


# Chromium asks for a permission that a page without an address cannot have; so the second way to copy is tried, too.
PRESS = "document.querySelector('button').click(); getSelection().toString()"


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
def test_no_page_is_wider_than_the_window(width: int) -> None:
    require(shutil.which("chromium"), MISSING)
    long = "x" * 400
    status = replace(
        WELL.status, path=f"/srv/{long}", live=long, waiting_reason=f"`{long}`", problems=(f"https://x.example/{long}",)
    )
    sites = [replace(FINE, answer=plain(status), site=status.path), replace(FINE, errors=(long,), answer=None)]
    servers = [a_server(*sites, name=long), a_server(*[FINE] * 30), Server(name="web3", place=f"/{long}", problem=long)]
    with chromium() as browser:
        for page in (
            page_of(replace(FULL, status=status)),
            page_of_sites(servers, NOW),
            page_of_sites(servers[:1], NOW),
        ):
            browser.show(page, width=width)
            assert browser.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.slow
def test_a_button_copies_each_command_and_without_a_script_a_click_selects_it() -> None:
    require(shutil.which("chromium"), MISSING)
    page = page_of(FULL)
    with chromium() as browser:
        browser.show(page, width=1200)
        assert browser.evaluate("document.querySelectorAll('.command + button').length") == page.count('"command"')
        assert browser.evaluate(PRESS) == "releaser history -n 5 --project /srv/shop"
        browser.show(page.replace("Copy", "Changed"), width=1200)  # no longer the script that the policy permits
        assert browser.evaluate("document.querySelectorAll('button').length") == 0
        assert browser.evaluate("getComputedStyle(document.querySelector('.command')).userSelect") == "all"


def test_it_says_what_is_to_be_done_and_what_there_is() -> None:
    page, text = page_of(FULL), re.sub(r"<[^>]+>|\s+", " ", page_of(FULL))
    assert state_of(page) == "needs attention"
    assert '<a href="https://x.example/">' in page
    for said in (
        "The last update ended with exit code 5", "1 package with known vulnerabilities", "An update waits.", "CVE-1",
        "tests: &lt;script&gt;", "nothing; the next update installs it", "2 packages with a known upload time",
        "Runs per week", "releaser unhold django --project /srv/shop",
    ):  # fmt: skip
        assert said in " ".join(text.split()), said
    empty = page_of(NOTHING)
    assert state_of(empty) == "broken"
    for said in ("No release is live.", "Newer versions are not known: No query was made.", "None yet."):
        assert said in empty
    assert ".entry { display: inline-block }" in page
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
        SiteAnswer(site="/srv/well", exit_code=0, answer=plain(WELL.status)),
        SiteAnswer(site="/srv/full", exit_code=0, answer=plain(FULL.status)),
        *(SiteAnswer(site=f"/srv/{BAD}", exit_code=3, answer=one, errors=(f"releaser: {BAD}",)) for one in forged),
    ]
    page = page_of_sites([a_server(*answers)], NOW)
    assert_harmless(page)
    assert re.findall(r'href="([^"]+)"', page) == [f"#server-1-{number}" for number in range(1, 7)]
    words = re.findall(r'<tr class="site"><td><span class="badge badge-\w+">([^<]+)<', page)
    assert words == ["broken"] * 4 + ["needs attention", "well"]
    assert "<td>1 package on hold, 1 package vulnerable</td>" in page
    assert BAD not in page


FINE = SiteAnswer(site="/srv/well", exit_code=0, answer=plain(WELL.status))


@pytest.mark.parametrize(
    ("server", "state", "said"),
    [
        (a_server(FINE), "well", ""),
        (a_server(FINE, ago=timedelta(hours=25)), "well", ""),
        (a_server(FINE, ago=timedelta(hours=27)), "needs attention", "The report is 1 d old."),
        (a_server(FINE, ago=timedelta(hours=-1)), "needs attention", "The clock of the server is 1 h ahead."),
        (Server(name="web1", place="/x", problem=f"no answer {BAD}"), "broken", "No answer &lt;script&gt;"),
        (a_server(replace(FINE, answer=plain(NOTHING.status))), "broken", ""),
        (a_server(replace(FINE, answer={"project": "shop"})), "broken", ""),
        (a_server(), "well", ""),
    ],
)
def test_each_server_has_a_row_that_says_whether_its_sites_are_well(server: Server, state: str, said: str) -> None:
    page = page_of_sites([a_server(FINE, name="web0"), server], NOW)
    assert_harmless(page)
    assert BAD not in page
    assert state_of(page) == state
    table = page[page.index("<table>") : page.index("</table>")]
    (row,) = [one for one in table.split("<tr")[2:] if ">web1<" in one]
    assert f">{state}</span>" in row
    assert said in row
    assert ("not known" in row) is (server.report is None)
    of_another_version = any(len(site.answer) == 1 for site in server.report.sites) if server.report else False
    assert ("Its status cannot be read (exit code 0); it may be that of another version" in page) is of_another_version
    if state != "well":
        assert 'title="well"' not in row  # nor are the sites of an old report
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'\bid="([^"]+)"', page))


FORGED = "/srv/x\x1b[201~\nreboot\n"


def test_another_server_writes_no_command_that_does_something_else() -> None:
    texts: dict[str, Any] = dict.fromkeys(("live", "waits", "blocked"), BAD)
    texts |= {"waiting_reason": f"`{BAD}` javascript:alert(1)", "problems": (BAD,)}
    status = replace(WELL.status, path=FORGED, project=BAD, last_run=replace(LAST, started_at=BAD), **texts)
    sites = [SiteAnswer(site=one, exit_code=0, answer=plain(status)) for one in (FORGED, "relative", "", f"/{BAD}")]
    page = page_of_sites([a_server(*sites, name=BAD)], NOW)
    assert_harmless(page)
    assert BAD not in page
    lines = [shlex.split(html.unescape(one)) for one in re.findall(r'<code class="command">([^<]+)<', page)]
    assert {line[-1] for line in lines} == {f"/{BAD}"}
