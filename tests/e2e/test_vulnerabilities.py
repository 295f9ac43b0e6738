"""Known vulnerabilities in an update: what it fixes, what stays and why, and that no run fails over the answer."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.e2e.scenes import body, step, steps, watched
from tests.support.osv import Flaw, Mood, VulnerabilityService
from tests.support.sites import SampleSite, SiteFactory

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


def test_an_answer_that_does_not_come_is_unknown_and_stops_nothing(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url, audit_timeout="1s")
    site.publish("alpha", "1.2.0")
    service.mood = "hangs"
    started = time.monotonic()
    report = site.json("update")
    assert time.monotonic() - started < 30
    assert (report["result"], report["exit_code"], report["problems"]) == ("updated", 0, [])
    assert (report["audit"], report["vulnerabilities"], report["fixed"]) == ("unknown", [], [])
    assert report["audit_reason"]
    assert step(report, "audit")["status"] == "warning"
    assert "audit candidate" not in steps(report)  # whoever does not answer is not asked twice
    assert site.live_version("alpha") == "1.2.0"
    assert "Not known: " in body(site)
    assert site.outbox_mails()[-1]["Subject"].startswith("✓ site: updated alpha 1.0.0 → 1.2.0")


def test_what_is_held_back_although_it_fixes_something_is_told_once(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url)
    site.update_to("alpha", "1.2.0")
    site.releaser("rollback", check=0)  # now 1.2.0 is left out of updates
    first, second = site.json("update"), site.json("update")
    assert first["result"] == second["result"] == "no-changes"
    (problem,) = first["problems"]
    assert "alpha 1.0.0 has the known vulnerability PYSEC-2026-1; 1.1.0 fixes it" in problem
    assert "it was rolled back" in problem
    assert second["problems"] == []
    assert [one["id"] for one in second["vulnerabilities"]] == ["PYSEC-2026-1", "CVE-2026-2"]
    assert "! site: alpha 1.0.0 has the known vulnerability" in site.outbox_mails()[-1]["Subject"]


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
    assert service.asked_about == {
        ("alpha", "1.0.0"),
        ("alpha", "1.1.0"),
        ("beta", "1.0.0"),
        ("localtools", "1.0.0"),
    }
    subject = site.outbox_mails()[-1]["Subject"]
    assert subject.startswith("! site: updated, problem, beta 1.1.0 on hold, sec")  # which is cut before the host
    assert subject.endswith("]")


def night(site: SampleSite, service: VulnerabilityService, version: str, mood: Mood) -> str:
    """Let an update bring something; return its mail."""
    service.mood = mood
    site.publish("alpha", version)
    report = site.json("update", env={"RELEASER_AUDIT_TIMEOUT": "60s" if mood == "is well" else "1s"})
    assert (report["result"], report["audit"]) == ("updated", "known" if mood == "is well" else "unknown")
    return body(site)


def test_that_it_is_unknown_is_told_once_until_the_service_has_answered(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    """Programs read it each time."""
    site = watched(make_site, service.url)
    first = night(site, service, "1.1.0", "fails")
    (line,) = [line for line in first.splitlines() if "Not known: " in line]
    assert len(line) < 200
    mail = night(site, service, "1.2.0", "fails")
    assert "Not known" not in mail
    assert "unknown:" not in mail, "nor among the steps"
    newest = json.loads((site.state_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert (newest["audit"], newest["audit_told"], bool(newest["audit_reason"])) == ("unknown", True, True)
    assert "Not known" not in night(site, service, "1.4.0", "is well")
    assert "Not known: " in night(site, service, "1.5.0", "fails")
