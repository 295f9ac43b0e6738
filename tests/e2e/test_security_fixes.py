"""Fixes of known vulnerabilities come early: past age and bump policy, and past nothing else."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import scenes
from tests.e2e.scenes import body
from tests.extension.test_toys import with_toy
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.sites import SampleSite, SiteFactory

ALPHA = Flaw(id="CVE-2026-1", package="alpha", fixed="1.1.0")
GATED = {"upgrade": "patch", "min_age": "7d"}


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    """A service that knows of one vulnerability."""
    with VulnerabilityService(ALPHA).serving() as serving:
        yield serving


def watched(make_site: SiteFactory, service: VulnerabilityService, **settings: str) -> SampleSite:
    """Make an adopted site for whose packages there are newer versions, kept out by its `settings`."""
    site = scenes.watched(make_site, service.url, **settings)
    for package in ("alpha", "beta"):
        site.publish(package, "1.1.0")
    return site


def test_a_fix_passes_and_nothing_else_does(make_site: SiteFactory, service: VulnerabilityService) -> None:
    site = watched(make_site, service, **GATED)
    for settings in ({"RELEASER_SECURITY_FIXES": "normal"}, {"RELEASER_AUDIT_IGNORE": "CVE-2026-1"}):
        assert site.json("update", "--dry-run", env=settings)["changes"] == []
    plan = site.json("update", "--dry-run")
    assert [(change["name"], change["new"]) for change in plan["changes"]] == [("alpha", "1.1.0")]
    report = site.json("update")
    assert report["result"] == "updated"
    assert [(change["name"], change["new"], change["fixes"]) for change in report["changes"]] == [
        ("alpha", "1.1.0", ["CVE-2026-1"])
    ]
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.0.0")
    assert [one["name"] for one in report["on_hold"]] == ["beta"]
    assert site.outbox_mails()[-1]["Subject"].startswith("✓ site: updated, security fix, alpha 1.0.0 → 1.1.0")
    site.uv("lock", "--check")


def test_a_fix_that_needs_what_is_kept_out_is_told_of_once(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service, upgrade="patch")
    site.withdraw("alpha", "1.1.0")
    site.publish("alpha", "1.1.0", requires=["beta>=1.1"])
    (problem,) = site.json("update")["problems"]
    assert "alpha 1.0.0 has the known vulnerability CVE-2026-1; 1.1.0 fixes it, but it cannot be installed" in problem
    assert "uv lock --upgrade-package 'alpha==1.1.0'" in problem
    assert site.json("update")["problems"] == []
    assert len(site.outbox_mails()) == 1


def test_a_release_that_keeps_its_place_loses_it_to_the_fix_of_a_vulnerability_that_it_would_bring(
    make_site: SiteFactory,
) -> None:
    with VulnerabilityService().serving() as service:
        site = scenes.watched(make_site, service.url)
        site.publish("gamma", "1.0.0")
        site.publish("alpha", "1.1.0", requires=["gamma"])
        door = site.outer / "door"
        door.write_text("closed until morning", encoding="utf-8")
        with_toy(site, "toy_gate", "update")
        door.unlink()
        for version in ("1.1.0", "1.2.0"):
            site.publish("gamma", version)
        service.flaws.append(Flaw(id="CVE-2026-9", package="gamma", fixed="1.1.0"))
        report: dict[str, Any] = json.loads(with_toy(site, "toy_gate", "update", "--json").stdout)
        assert (site.live_version("alpha"), site.live_version("gamma")) == ("1.1.0", "1.2.0")
        assert report["vulnerabilities"] == []


def test_what_a_person_holds_stays_and_the_mail_says_it_once(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service, upgrade="patch")
    site.releaser("hold", "alpha", "the shop needs it", check=0)
    report = site.json("update")
    assert (report["result"], site.live_version("alpha")) == ("no-changes", "1.0.0")
    (problem,) = report["problems"]
    assert "alpha 1.0.0 has the known vulnerability CVE-2026-1; 1.1.0 fixes it, but it is on hold by you" in problem
    assert "the shop needs it" in problem
    assert "releaser unhold alpha" in problem
    assert "is on hold: " in body(site)
    assert site.json("update")["problems"] == []
    assert len(site.outbox_mails()) == 1
