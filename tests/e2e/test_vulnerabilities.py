"""Known vulnerabilities in an update: what it fixes, what stays and why, and that no run fails over the answer."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.scenes import body, step, steps, watched
from tests.support.osv import Flaw, Mood, VulnerabilityService
from tests.support.sites import SiteFactory

ALPHA = Flaw(id="PYSEC-2026-1", package="alpha", fixed="1.1.0", aliases=("CVE-2026-1",), summary="Lets anybody in")
BETA = Flaw(id="CVE-2026-2", package="beta")


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    """A service that knows of a vulnerability with a fix, and of one without."""
    with VulnerabilityService(ALPHA, BETA).serving() as serving:
        yield serving


@pytest.mark.story
def test_an_update_tells_first_what_it_fixes_and_what_stays(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url)
    report = site.json("update")
    assert (report["result"], report["audit"], "audit" in steps(report)) == ("no-changes", "", False)
    assert service.questions == []  # a night without anything new asks nobody
    site.publish("alpha", "1.2.0")
    finished = site.releaser("update", check=0)
    assert "Known vulnerabilities fixed by this run:\n  PYSEC-2026-1 (CVE-2026-1) of alpha 1.0.0" in finished.stderr
    report = site.json("history")[0]
    assert [(one["id"], one["name"], one["version"]) for one in report["fixed"]] == [("PYSEC-2026-1", "alpha", "1.0.0")]
    assert [(one["id"], one["name"]) for one in report["vulnerabilities"]] == [("CVE-2026-2", "beta")]
    assert (report["audit"], report["audit_reason"]) == ("known", "")
    assert [change["fixes"] for change in report["changes"]] == [["PYSEC-2026-1"]]
    assert step(report, "audit")["detail"] == "2 known vulnerabilities"
    assert step(report, "audit candidate")["detail"] == "1 known vulnerability"
    (mail,) = site.outbox_mails()
    assert mail["Subject"].startswith("✓ site: updated, security fix, alpha 1.0.0 → 1.2.0")
    for kind in ("plain", "html"):
        text = re.sub("<[^>]*>", "", body(site, kind=kind))
        places = [
            text.index(words)
            for words in (
                "Known vulnerabilities fixed by this run",
                "PYSEC-2026-1 (CVE-2026-1) of alpha 1.0.0: Lets anybody in https://example.org/PYSEC-2026-1",
                "Known vulnerabilities of the live release",
                "CVE-2026-2 of beta 1.0.0 (not fixed in any version yet) https://example.org/CVE-2026-2",
                "To undo this",
                "Package changes",
            )
        ]
        assert places == sorted(places)
    shown = site.json("show", site.live_id())
    assert shown["changes"][0]["fixes"] == ["PYSEC-2026-1"]


def test_the_page_asks_for_vulnerabilities_and_is_not_well_without_an_answer(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url)
    page = site.outer / "page.html"
    cases: tuple[tuple[list[str], Mood, str], ...] = (
        (["--offline"], "is well", "was not checked for known vulnerabilities"),
        ([], "is well", "2 packages with known vulnerabilities"),
        ([], "fails", "The last query for known vulnerabilities failed"),
    )
    for words, mood, said in cases:
        service.mood = mood
        site.releaser("report", "--html", page, *words, check=0)
        text = page.read_text(encoding="utf-8")
        assert said in text
        assert "needs attention" in text
        assert ("PYSEC-2026-1" in text) is (words == [] and mood == "is well")


def test_a_fix_that_breaks_the_tests_is_told_and_the_others_go_live(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    service.flaws[:] = [ALPHA, Flaw(id="CVE-2026-3", package="beta", fixed="1.1.0")]
    site = watched(make_site, service.url)
    site.publish("alpha", "1.1.0")
    site.publish("beta", "1.1.0", broken=True)
    report = site.json("update")
    assert (report["result"], report["culprits"]) == ("updated", ["beta 1.1.0"])
    assert {change["name"]: change["fixes"] for change in report["changes"]} == {"alpha": ["PYSEC-2026-1"]}
    assert [one["id"] for one in report["fixed"]] == ["PYSEC-2026-1"]
    (problem,) = report["problems"]
    assert "beta 1.0.0 has the known vulnerability CVE-2026-3; 1.1.0 fixes it, but the tests failed" in problem
    assert problem.count("failed with it") == 1
    assert service.asked_about == {("alpha", "1.1.0"), *((name, "1.0.0") for name in ("alpha", "beta", "localtools"))}
    subject = site.outbox_mails()[-1]["Subject"]
    assert subject.startswith("! site: updated, problem, beta 1.1.0 on hold, sec")  # which is cut before the host
    assert subject.endswith("]")


def test_that_the_answer_is_unknown_stops_nothing_and_is_told_once_until_the_service_has_answered(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    """Programs read it each time."""
    site = watched(make_site, service.url)

    def night(version: str, mood: Mood) -> Any:
        service.mood = mood
        site.publish("alpha", version)
        started = time.monotonic()
        report = site.json("update", env={"RELEASER_AUDIT_TIMEOUT": "60s" if mood == "is well" else "1s"})
        assert time.monotonic() - started < 30
        assert (report["result"], report["exit_code"], report["problems"]) == ("updated", 0, [])
        assert report["audit"] == ("known" if mood == "is well" else "unknown")
        assert bool(report["audit_reason"]) == (mood != "is well")
        assert site.live_version("alpha") == version
        return report

    report = night("1.1.0", "hangs")
    assert (report["vulnerabilities"], report["fixed"]) == ([], [])
    assert step(report, "audit")["status"] == "warning"
    assert "audit candidate" not in steps(report)  # whoever does not answer is not asked twice
    (line,) = [line for line in body(site).splitlines() if "Not known: " in line]
    assert len(line) < 200
    assert site.outbox_mails()[-1]["Subject"].startswith("✓ site: updated alpha 1.0.0 → 1.1.0")
    night("1.2.0", "fails")
    assert "Not known" not in body(site)
    assert "unknown:" not in body(site), "nor among the steps"
    newest = json.loads((site.state_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert (newest["audit"], newest["audit_told"], bool(newest["audit_reason"])) == ("unknown", True, True)
    night("1.4.0", "is well")
    assert "Not known" not in body(site)
    night("1.5.0", "fails")
    assert "Not known: " in body(site)
