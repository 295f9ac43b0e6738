"""Pictures for the documentation: mails as Chromium shows them on a phone and on a desk, by day and by night.

    .venv/bin/python scripts/pictures.py [--only WORD]

Each function below that is marked `@picture` is given Chromium, and yields names and contents of files.
"""

from __future__ import annotations

import argparse
import random
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from terminal_pictures import errors, terminals  # noqa: E402

from releaser.answers import Blocker, OutdatedPackage, RunBrief, Status  # noqa: E402
from releaser.errors import Finding  # noqa: E402
from releaser.locks.blocks import Block, CulpritsSection  # noqa: E402
from releaser.locks.changes import Change  # noqa: E402
from releaser.locks.vulnerabilities import SecuritySection, Vulnerability  # noqa: E402
from releaser.releases.blocks import FailedTestsSection, HoldsSection  # noqa: E402
from releaser.releases.listing import Row  # noqa: E402
from releaser.report import HealthCheckResult, Outcome, Result, RunReport  # noqa: E402
from releaser.reporting import page as pages  # noqa: E402
from releaser.reporting.hold_status import OnHold  # noqa: E402
from releaser.reporting.mail import render_bodies  # noqa: E402
from releaser.reporting.mail_setup import explain_recipients  # noqa: E402
from releaser.reporting.many_sites import SiteAnswer  # noqa: E402
from releaser.reporting.page import LastRun, Overview, page_of  # noqa: E402
from releaser.reporting.servers import Server, ServerReport  # noqa: E402
from releaser.site.addresses import Address, MailSettings  # noqa: E402
from releaser.site.restart_settings import OutageSection  # noqa: E402
from releaser.site.site import Pulled  # noqa: E402
from releaser.system.files import plain  # noqa: E402
from releaser.tools.git_state import Commit  # noqa: E402
from tests.reporting.makers import STATUS  # noqa: E402
from tests.support.chromium import Chromium, chromium  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Picture = Callable[[Chromium], Iterator[tuple[str, bytes]]]

PLACE = ROOT / "docs" / "images"
PICTURES: list[Picture] = []


def picture(make: Picture) -> Picture:
    """Let a function be one of those that make pictures."""
    PICTURES.append(make)
    return make


# Mails

NIGHT = datetime(2026, 11, 21, 3, 12, 1, tzinfo=UTC)
BEFORE, NEW = "20261120T061200Z", "20261121T031201Z"
COMMITS = (
    Commit(id="3f2a9c0be17d5a60a4e2c9d1f7b35e8c6a90d214", subject="Show the opening hours", author="Ada Lovelace"),
    Commit(id="8c1d5e7f02b94c3ad6e1f0a7b2c4d8e9f1a3b5c7", subject="Sell tea by the pound", author="Grace Hopper"),
)
DJANGO = Change(
    name="django", old="5.1.2", new="5.1.4", bump="patch", direct=True, released="2026-11-18T08:00:00+00:00",
    link="https://docs.example.org/en/5.1/releases/",
)  # fmt: skip
PILLOW = Change(
    name="pillow", old="11.0.0", new="11.1.0", bump="minor", direct=True, released="2026-11-09T08:00:00+00:00",
    link="https://pillow.example.org/changes",
)  # fmt: skip
SQLPARSE = Change(
    name="sqlparse", old="0.5.1", new="0.5.2", bump="patch", through=("django",), released="2026-08-09T08:00:00+00:00",
    dragged_by=("django",),
)  # fmt: skip
DJANGO_6 = replace(DJANGO, new="6.0", bump="major", link="https://docs.example.org/en/6.0/releases/")
RED = """\
test_basket (shop.tests.BasketTest.test_basket) ... ERROR
test_opening_hours (shop.tests.HoursTest.test_opening_hours) ... ok

======================================================================
ERROR: test_basket (shop.tests.BasketTest.test_basket)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "/srv/shop_stuff/.releaser-staging/shop/shop/tests.py", line 41, in test_basket
    page = self.client.get("/basket/")
  File "/srv/shop_stuff/.releaser/shop/releases/20261121T031201Z/venv/lib/python3.12/site-packages/django/test/c.py"
    response = super().get(path, data=data, secure=secure, headers=headers, **extra)
  File "/srv/shop_stuff/.releaser-staging/shop/shop/views.py", line 17, in basket
    return render(request, "basket.html", {"form": BasketForm(use_required_attribute=True)})
TypeError: BaseForm.__init__() got an unexpected keyword argument 'use_required_attribute'

----------------------------------------------------------------------
Ran 214 tests in 12.804s

FAILED (errors=1)
"""
STEPS = tuple(
    Outcome(step=step, status="ok", detail=detail, seconds=seconds)
    for step, seconds, detail in (
        ("preflight", 0.4, ""), ("fetch", 0.6, "2 new commits"), ("resolve", 1.2, "2 package changes"),
        ("build", 6.8, "59 packages"), ("test", 14.1, "214 tests"), ("flip", 0.0, f"{BEFORE} → {NEW}"),
        ("restart", 0.0, "touched config/tmp/restart.txt"),
        ("health check", 2.1, "https://shop.example.org/health answered 200"), ("commit", 0.0, "uv.lock"),
        ("push", 0.5, "to origin"),
    )
)  # fmt: skip
UPDATED = RunReport(
    command="update", project="shop", path="/srv/shop_stuff/shop", host="web1", run_id=f"{NEW}-4711", started_at=NIGHT,
    seconds=29.4, result="updated", exit_code=0, live_changed=True, release=NEW, previous=BEFORE,
    headline=f"updated to {NEW}: 3 packages changed, 2 new commits", changes=(DJANGO, PILLOW, SQLPARSE),
    pulled=Pulled(old=COMMITS[-1].id, new=COMMITS[0].id, count=2), commits=COMMITS, commit=COMMITS[0].id,
    subject=COMMITS[0].subject, steps=STEPS, log_file=f"/srv/shop_stuff/.releaser/shop/logs/{NEW}-4711.log",
)  # fmt: skip
HELD = Block(
    name="django", version="6.0", by="tests", since="2026-11-21T03:12:44+00:00", release=NEW, output=RED,
    reason="TypeError: BaseForm.__init__() got an unexpected keyword argument 'use_required_attribute'",
    tests=("shop.tests.BasketTest.test_basket",),
)  # fmt: skip
OCTOBER = "2026-10-01T09:00:00+00:00"
PICKLES = Vulnerability(
    name="django", version="5.1.2", id="CVE-2026-53908", summary="SQL injection in HasKey(lhs, rhs) on Oracle",
    fixed=("5.1.4",), link="https://osv.example.org/vulnerability/CVE-2026-53908",
)  # fmt: skip
UNFIXED = Vulnerability(
    name="pillow", version="11.0.0", id="GHSA-44wm-f244-xhp3", aliases=("CVE-2026-28219",), fixed=("11.1.0",),
    summary="Buffer overflow in _imagingcms.c", link="https://osv.example.org/vulnerability/GHSA-44wm-f244-xhp3",
)  # fmt: skip
URL = "https://shop.example.org/health"
HEALTH = f"health check failed: {URL} answered 500 with {NEW}"
FOOTER = explain_recipients(
    MailSettings(admins=(Address(name="Ada", address="ada@example.org"),)),
    {"admins": "/srv/shop_stuff/.env: ADMINS_JSON"}, Path(UPDATED.path), own=False,
)  # fmt: skip
MAILS = {
    "updated": UPDATED,
    "refused": replace(
        UPDATED, result="refused", exit_code=5, live_changed=False, blame="update", changes=(DJANGO_6,), output=RED,
        headline="the tests failed with the new packages or commits and passed on the live release: this update is"
        " the cause",
        pulled=None, commits=(),
        advice=f"See the end of the output, or all of it with `releaser show {NEW}`; this candidate is not tried again"
        " until a package or the code changes.",
        steps=(*STEPS[:4], Outcome(step="test", status="failed", detail="exit code 1", seconds=14.1)),
    ).with_section(FailedTestsSection(failed_tests=(f"test_basket ({HELD.tests[0]})",))),
    "held-back": replace(
        UPDATED, changes=(PILLOW,), on_hold=(HELD,),
        headline=f"updated to {NEW}: 1 package changed, 1 on hold because the tests fail with django 6.0",
        pulled=None, commits=(),
    ).with_section(CulpritsSection(culprits=("django 6.0",))),
    "rolled-back": replace(
        UPDATED, result="rolled-back", exit_code=6, live_changed=False, headline=HEALTH,
        problems=(Finding("health-check-failed", HEALTH),), changes=(DJANGO, SQLPARSE),
        answers=(
            HealthCheckResult(release=NEW, good=False, text=f"{URL} answered 500", body="Server Error (500)"),
            HealthCheckResult(release=BEFORE, good=True, text=f"{URL} answered 200"),
        ),
        steps=(
            *STEPS[:7], Outcome(step="health check", status="failed", detail=HEALTH, seconds=30.2),
            Outcome(step="flip back", status="ok", detail=f"{NEW} → {BEFORE}"),
        ),
    ).with_section(HoldsSection(holds=tuple(
        Block(name=one.name, version=one.new or "", reason=HEALTH, by="rollback", since=HELD.since, release=NEW)
        for one in (DJANGO, SQLPARSE)
    ))),
    "not-restarted": replace(
        UPDATED, result="updated-not-restarted", exit_code=7, pulled=None, commits=(),
        headline=f"{UPDATED.headline}, but the site was not restarted",
        problems=(
            Finding(
                "restart-nothing", "updates do not restart the site: `restart` is auto, but /srv/shop_stuff/shop has"
                " neither tmp/ nor config/tmp/",
                'For gunicorn (process 812), set `restart = "systemctl reload shop"`.',
            ),
        ),
        changes=(DJANGO, PILLOW, SQLPARSE, replace(SQLPARSE, name="tzdata", old="2026.2", new="2026.1", through=())),
    ).with_section(OutageSection(restart_skipped="no config/tmp/ or tmp/ with a restart.txt")),
    "security": replace(
        UPDATED, changes=(replace(DJANGO, fixes=("CVE-2026-53908",)), SQLPARSE),
        headline=f"updated to {NEW}: 2 packages changed", pulled=None, commits=(),
        on_hold=(Block(name="pillow", version="11.1.0", by="person", reason="ask Ada", since=OCTOBER),),
    ).with_section(SecuritySection(audit="known", fixed=(PICKLES,), vulnerabilities=(UNFIXED,))),
}  # fmt: skip


@picture
def mails(browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Show the mail about each kind of outcome."""
    for name, report in MAILS.items():
        _, html = render_bodies(report, footer=FOOTER)
        yield from each_way(browser, f"mail-{name}", html)


# The page about a site

RESULTS: list[Result] = ["updated", "updated", "failed", "rolled-back", "refused"]
HEADLINES = {
    "updated": f"updated to {NEW}: 3 packages changed", "no-changes": "everything is up to date",
    "rolled-back": "health check failed: https://shop.example.org/health answered 500",
    "failed": "the venv could not be built: the index does not answer",
}  # fmt: skip


def a_run(ago: timedelta, result: Result) -> RunBrief:
    """Make a run that ended so."""
    code = {"updated": 0, "no-changes": 0, "failed": 4, "rolled-back": 6}.get(result, 5)
    seconds = {"no-changes": 4.2, "failed": 1.1}.get(result, 71.0) + ago.days % 7 * 0.7
    said = HEADLINES.get(result, "the tests fail with django 6.0")
    return RunBrief(
        command="update", run_id="", started_at=(NIGHT - ago).isoformat(), seconds=seconds, result=result,
        exit_code=code, headline=said,
    )  # fmt: skip


def with_facts(status: Status, **facts: Any) -> Status:
    """Return a status with other facts; those of capabilities are known when it runs only."""
    return replace(status, **facts)


def a_site() -> Overview:
    """Make a site on which an update was refused."""
    chance = random.Random("page")  # noqa: S311 - the same picture every time
    last = a_run(timedelta(0), "refused")
    runs = (
        last,
        *(
            a_run(timedelta(days=days), chance.choice(RESULTS) if chance.random() < 0.3 else "no-changes")
            for days in range(1, 180)
        ),
    )
    status = with_facts(
        STATUS, live="20261120T061200Z", live_age_seconds=26 * 3600.0, live_python="3.12.3", last_run=last,
        last_deployment=last,
        vulnerable=1, last_success=next(run for run in runs if not run.exit_code),
        on_hold=(
            OnHold(name="django", version="6.0", release="", reason="its tests fail", at=last.started_at, by="tests"),
        ),
    )  # fmt: skip
    return Overview(
        at=NIGHT + timedelta(hours=5), status=status, runs=runs, outdated_reason="",
        releases=tuple(
            Row(
                id=f"202611{20 - days}T061200Z", state=("live", "previous", "good", "good")[days], live=not days,
                created_at=NIGHT, path="", python="3.12.3", changes=(DJANGO, PILLOW, SQLPARSE)[days % 3 :],
                size_bytes=120_000_000, commit=COMMITS[days % 2].id, subject=COMMITS[days % 2].subject,
            )
            for days in range(4)
        ),
        last=LastRun(
            steps=MAILS["refused"].steps,
        ),
        outdated=(
            OutdatedPackage(
                name="django", locked="5.1.4", latest="6.0",
                blocked_by=(Blocker(by="tests", reason="the tests fail with django 6.0"),),
            ),
            OutdatedPackage(name="pillow", locked="11.0.0", latest="11.1.0"),
        ),
        vulnerabilities=(
            Vulnerability(name="pillow", version="11.0.0", id="CVE-2026-1234", fixed=("11.1.0",), summary="Overflow."),
        ),
        uploaded=tuple(sorted(NIGHT - timedelta(days=chance.expovariate(1 / 200)) for _ in range(60))),
    )  # fmt: skip


@picture
def page(browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Show the page about a site."""
    with mock.patch.object(pages, "this_host", return_value="web1"):
        yield from each_way(browser, "page", page_of(a_site()))


@picture
def sites(browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Show the pages about many sites, with one that is missing and one with a failed update, and about servers."""
    found = a_site()
    quiet = found.status.last_success
    well = with_facts(found.status, last_run=quiet, last_deployment=quiet, vulnerable=0, on_hold=())
    stands = {
        "shop": found.status,
        "blog": with_facts(well, vulnerable=2),
        "wiki": replace(well, push_pending=True),
        **{
            name: replace(well, live=f"202611{day}T031201Z", live_age_seconds=(21 - day) * 86400.0)
            for day, name in ((17, "forum"), (18, "library"))
        },
    }
    answers = [
        SiteAnswer(site=f"/srv/{name}_stuff/{name}", exit_code=0, answer=plain(replace(one, project=name)))
        for name, one in stands.items()
    ]
    why = "releaser: /srv/museum_stuff/museum does not exist"
    answers.append(SiteAnswer(site="/srv/museum_stuff/museum", exit_code=3, answer=None, errors=(why,)))

    def report(name: str, *sites: SiteAnswer, hours: int = 0) -> Server:
        made = ServerReport(host=name, at=found.at - timedelta(hours=hours), sites=sites)
        return Server(name=name, place=f"https://{name}.example.org/releaser.json", report=made)

    alone = [replace(report("web1", *answers), place="")]
    refused = "it cannot be reached: Connection refused"
    several = [
        replace(report("web1", *answers[3:5]), place=""),
        report("web2", *answers[:3]),
        report("web3", answers[4], hours=50),
        Server(name="web4", place="https://web4.example.org/releaser.json", problem=refused),
    ]
    with mock.patch.object(pages, "this_host", return_value="web1"):
        yield from each_way(browser, "sites", pages.page_of_sites(alone, found.at))
        yield from each_way(browser, "servers", pages.page_of_sites(several, found.at))


def each_way(browser: Chromium, name: str, html: str) -> Iterator[tuple[str, bytes]]:
    """Show a page on a phone and on a desk, by day and by night."""
    for width in (390, 1200):
        for scheme in ("light", "dark"):
            browser.show(html, width=width, dark=scheme == "dark")
            yield f"{name}-{width}-{scheme}.webp", browser.picture("webp")


@picture
def documentation(browser: Chromium) -> Iterator[tuple[str, bytes]]:
    """Show the first page of the site that `make docs` has built; none without a site."""
    page = ROOT / "site" / "index.html"
    for width, height in ((390, 844), (1200, 900)) if page.exists() else ():
        browser.visit(page.as_uri(), width=width, height=height)
        yield f"site-{width}.webp", browser.picture("webp", whole=False)


picture(terminals)
picture(errors)


def main() -> int:
    """Make the pictures, or those with a word in the names of their functions."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("--only", default="", help="only pictures whose function has this in its name")
    parser.add_argument("--to", type=Path, default=PLACE, help="where they go")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    try:
        with chromium() as browser:
            for make in PICTURES:
                for name, content in make(browser) if options.only in make.__name__ else ():
                    (options.to / name).write_bytes(content)
                    print(f"{name}  {len(content) // 1024} KB")
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
