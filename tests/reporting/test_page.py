"""The page about a site: complete in itself, harmless, and right about what it counts."""

import base64
import hashlib
import html
import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from releaser.answers import Blocker, OutdatedPackage, RunBrief
from releaser.locks.origins import Deviation
from releaser.locks.vulnerabilities import Vulnerability
from releaser.releases.journal import MailSection
from releaser.releases.listing import Row
from releaser.report import Result
from releaser.reporting.hold_status import OnHold
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
from releaser.reporting.style import DAY, NIGHT
from releaser.system.files import plain
from tests.reporting.makers import BRIEF, BROKEN, REFUSED, STATUS, UPDATED, changed, failed
from tests.reporting.makers import WELL as WELL_STATUS
from tests.reporting.test_mail import everything_is, html_of
from tests.support.chromium import MISSING, Chromium, chromium
from tests.support.guards import require

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
BAD = "<script>alert('1')</script>"


def run(ago: timedelta, result: Result = "no-changes", code: int = 0) -> RunBrief:
    return replace(
        BRIEF, started_at=(NOW - ago).isoformat(), result=result, exit_code=code, headline=f"it was so: {BAD}"
    )


NOTHING = Overview(
    at=NOW, status=STATUS, releases=(), runs=(), last=LastRun(), outdated=None, outdated_reason="no query was made",
    vulnerabilities=(), uploaded=(),
)  # fmt: skip
FAILED, GOOD = run(timedelta(hours=3), "refused", 5), run(timedelta(hours=9))
WELL = replace(NOTHING, status=replace(WELL_STATUS, path="/srv/the shop", last_deployment=None, last_success=GOOD))
FULL = replace(
    WELL,
    status=changed(
        WELL.status,
        last_deployment=FAILED,
        waits="an update waits",
        on_hold=(OnHold(name="django", version="6.0", release="", reason=BAD, at="2026-11-22T03:00:00+00:00"),),
    ),
    releases=(
        Row(id="20261120T061200Z", state="live", live=True, created_at=NOW, path="/x", subject=BAD, size_bytes=5),
    ),
    runs=(FAILED, GOOD),
    last=LastRun(steps=failed("test", detail=BAD), problems=(f"see https://x.example/ {BAD}",)),
    outdated=(
        OutdatedPackage(name="django", locked="5.2", latest="6.0", blocked_by=(Blocker(by="tests", reason=BAD),)),
        OutdatedPackage(name="pillow", locked="11.0", latest="11.1"),
    ),
    vulnerabilities=(
        Vulnerability(name="pillow", version="11.0", id="CVE-1", link="https://cve.example/", summary=BAD),
    ),
    uploaded=(NOW - timedelta(days=400), NOW - timedelta(days=2)),
)
FINE = SiteAnswer(site="/srv/well", exit_code=0, answer=plain(WELL.status))


def a_server(*sites: SiteAnswer, name: str = "web1", ago: timedelta = timedelta(0)) -> Server:
    return Server(name=name, place=f"/srv/{name}.json", report=ServerReport(host=name, at=NOW - ago, sites=sites))


def state_of(page: str) -> str:
    """Return the word in the first badge, which is about everything on the page."""
    found = re.search(r'<span class="badge badge-\w+">([^<]+)<', page)
    return found[1] if found else ""


def commands_on(page: str) -> list[list[str]]:
    """Return the words of each command that can be copied."""
    return [shlex.split(html.unescape(one)) for one in re.findall(r'<code class="command">([^<]+)<', page)]


def assert_harmless(page: str) -> None:
    """Check that a page fetches nothing, and that its policy permits only its own style and its own script."""
    assert BAD not in page
    assert re.findall(r"<(link|img|iframe|object|form)\b|\bsrc=|@import|url\(|\s(?:on\w+|style)=", page) == []
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', page)
    rules = dict(one.split(" ", 1) for one in policy.replace("&#39;", "'").split("; "))
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", page, re.DOTALL)
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize(
    ("facts", "state", "alarms"),
    [
        ({}, "well", []),
        ({"interrupted": True}, "needs attention", [("A run was interrupted.", "update")]),
        ({"interrupted": True, "waiting_reason": f"it waits: {BAD}", "live": None}, "broken", [("No release is live.",
            "init"), ("A run was interrupted.", "update"), (f"It waits: {BAD}.", "status")]),
    ],
)  # fmt: skip
def test_it_begins_with_what_keeps_a_site_from_being_well_the_worst_first(
    facts: dict[str, Any], state: str, alarms: list[tuple[str, str]]
) -> None:
    status = replace(WELL.status, **facts)
    page = page_of(replace(WELL, status=status))
    of_sites = page_of_sites([a_server(SiteAnswer(site=status.path, exit_code=0, answer=plain(status)))], NOW)
    assert ("<p>Nothing needs your attention.</p>" in page) is (not alarms)
    lines = [f"{text}releaser {command} --project '/srv/the shop'" for text, command in alarms]
    for one in (page, of_sites):
        assert_harmless(one)
        assert state_of(one) == state
        items = re.findall(r"<li class=[^>]*>(.*?)</li>", one)
        assert [html.unescape(re.sub(r"<[^>]+>", "", item)) for item in items] == lines


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


def test_it_says_what_is_to_be_done_and_what_there_is() -> None:
    page, empty = page_of(FULL), page_of(NOTHING)
    text = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for said in (
        "The last update ended with exit code 5", "An update waits.", "CVE-1",
        "tests: &lt;script&gt;", "nothing; the next update installs it", "2 packages with a known upload time",
        "Runs per week", "releaser unhold django --project",
    ):  # fmt: skip
        assert said in text, said
    assert {*re.findall(r'href="([^"]+)"', page)} == {"https://x.example/", "https://cve.example/"}
    assert re.findall(r"20\d\d-\d\d-\d\d \d\d:\d\d(?! UTC)", page) == []
    assert ".entry { display: inline-block }" in page
    assert re.search(r'<span class="entry"><span class="key [\w-]+"></span> failed</span>', page)
    assert (state_of(page), state_of(empty)) == ("needs attention", "broken")
    for said in ("No release is live.", "Newer versions are not known: No query was made.", "None yet."):
        assert said in empty
    for one in (page, empty):
        assert_harmless(one)


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


# --- many sites ---


def test_the_page_about_many_sites_has_the_worst_first_and_believes_none() -> None:
    forged = [{**plain(FULL.status), "last_success": {**plain(FAILED), "started_at": "never"}}, 5, None, {}]
    moved = Deviation(name="a", version="1", what="index", old="x", new="y")
    busy = changed(FULL.status, interrupted=True, push_pending=True, mails_pending=2, asked=(moved,))
    answers = [
        FINE,
        SiteAnswer(site="/srv/busy", exit_code=0, answer=plain(busy)),
        *(SiteAnswer(site=f"/srv/{BAD}", exit_code=3, answer=one, errors=(f"releaser: {BAD}",)) for one in forged),
    ]
    page = page_of_sites([a_server(*answers)], NOW)
    assert_harmless(page)
    assert re.findall(r'href="([^"]+)"', page) == [f"#server-1-{number}" for number in range(1, 7)]
    words = re.findall(r'<tr class="site"><td><span class="badge badge-\w+">([^<]+)<', page)
    assert words == ["broken"] * 4 + ["needs attention", "well"]
    pending = "a run was interrupted, a push, 2 mails, `releaser accept`, 1 package on hold"
    assert f"<td>{pending}</td>" in page


UNREADABLE = "Its status cannot be read (exit code 0); it may be that of another version"


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
    assert state_of(page) == state
    table = page[page.index("<table>") : page.index("</table>")]
    (row,) = [one for one in table.split("<tr")[2:] if ">web1<" in one]
    assert f">{state}</span>" in row
    assert said in row
    assert ("not known" in row) is (server.report is None)
    of_another_version = server.report is not None and any(len(site.answer) == 1 for site in server.report.sites)
    assert (UNREADABLE in page) is of_another_version
    if state != "well":
        assert 'title="well"' not in row  # nor are the sites of an old report
    assert {*re.findall(r'href="#([^"]+)"', page)} <= {*re.findall(r'\bid="([^"]+)"', page)}


def test_another_server_writes_no_command_that_does_something_else() -> None:
    forged = "/srv/x\x1b[201~\nreboot\n"
    texts: dict[str, Any] = dict.fromkeys(("live", "waits", "blocked"), BAD)
    texts |= {"waiting_reason": f"`{BAD}` javascript:alert(1)", "problems": (BAD,)}
    status = replace(WELL.status, path=forged, project=BAD, last_run=replace(FAILED, started_at=BAD), **texts)
    sites = [SiteAnswer(site=one, exit_code=0, answer=plain(status)) for one in (forged, "relative", "", f"/{BAD}")]
    page = page_of_sites([a_server(*sites, name=BAD)], NOW)
    assert_harmless(page)
    assert {line[-1] for line in commands_on(page)} == {f"/{BAD}"}


# --- as a browser shows it ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    require(shutil.which("chromium"), MISSING)
    with chromium() as found:
        yield found


# How many dots each empty cell has at its sides, without those before it.
HANGING_DOTS = """[...new Set([...document.querySelectorAll("td:empty")].map(
    cell => [[cell, "::before"], [cell.previousElementSibling, "::after"]]
        .filter(where => getComputedStyle(...where).content.includes("·")).length))]"""
LONG = "x" * 400
LONG_STATUS = changed(
    WELL.status, path=f"/srv/{LONG}", live=LONG, waiting_reason=f"`{LONG}`", problems=(f"https://x.example/{LONG}",)
)
LONG_SERVERS = [
    a_server(replace(FINE, answer=plain(LONG_STATUS)), replace(FINE, errors=(LONG,), answer=None), name=LONG),
    a_server(*[FINE] * 30),
    Server(name="web3", place=f"/{LONG}", problem=LONG),
]


@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 1200])
def test_no_page_is_wider_than_the_window_and_its_colours_are_those_of_the_hour(browser: Chromium, width: int) -> None:
    long_mail = replace(
        everything_is("x" * 300), path="/srv/" + "y" * 200, advice="`" + "z" * 200 + "`",
        headline="https://example.org/" + "a" * 200,
    ).with_section(MailSection(solved=("build",)))  # fmt: skip
    pages = [
        page_of(NOTHING),
        page_of(FULL),
        page_of(replace(FULL, status=LONG_STATUS)),
        page_of_sites(LONG_SERVERS, NOW),
        page_of_sites(LONG_SERVERS[:1], NOW),
        *(html_of(one).replace("<details", "<details open") for one in (UPDATED, BROKEN, REFUSED, long_mail)),
    ]
    for page, dark in itertools.product(pages, (False, True)):
        browser.show(page, width=width, dark=dark)
        assert browser.evaluate("document.documentElement.scrollWidth") == width
        colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour == "rgb({}, {}, {})".format(*bytes.fromhex((NIGHT if dark else DAY)["page"][1:]))
        if "preheader" in page:  # a mail, in which nothing scrolls by itself
            assert browser.evaluate("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollWidth))") <= width
    browser.show(page_of(FULL).replace("</td></tr>", "</td><td></td></tr>"), width=375)
    assert browser.evaluate(HANGING_DOTS) == [0]


@pytest.mark.slow
def test_a_button_copies_each_command_and_without_a_script_a_click_selects_it(browser: Chromium) -> None:
    page = page_of(FULL)
    browser.show(page, width=1200)
    assert browser.evaluate("document.querySelectorAll('.command + button').length") == page.count('"command"')
    # Chromium asks for a permission that a page without an address cannot have; so the second way is tried, too.
    press = "document.querySelector('button').click(); getSelection().toString()"
    assert browser.evaluate(press) == "releaser history -n 5 --project '/srv/the shop'"
    browser.show(page.replace("Copy", "Changed"), width=1200)  # no longer the script that the policy permits
    assert browser.evaluate("document.querySelectorAll('button').length") == 0
    assert browser.evaluate("getComputedStyle(document.querySelector('.command')).userSelect") == "all"
