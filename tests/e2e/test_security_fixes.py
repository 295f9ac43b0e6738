"""Fixes of known vulnerabilities come early: past age and bump policy, and past nothing else."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.scenes import body, watched
from tests.extension.test_toys import with_toy
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.sites import SampleSite, SiteFactory

ALPHA = Flaw(id="CVE-2026-1", package="alpha", fixed="1.1.0")


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    """A service that knows of one vulnerability."""
    with VulnerabilityService(ALPHA).serving() as serving:
        yield serving


def test_a_fix_passes_and_nothing_else_does(make_site: SiteFactory, service: VulnerabilityService) -> None:
    site = watched(make_site, service.url, upgrade="patch", min_age="7d")
    for package in ("alpha", "beta"):
        site.publish(package, "1.1.0")
    for settings in ({"RELEASER_SECURITY_FIXES": "normal"}, {"RELEASER_AUDIT_IGNORE": "CVE-2026-1"}):
        assert site.json("update", "--dry-run", env=settings)["changes"] == []
    assert {one["name"]: one["next"] for one in site.json("outdated")} == {"alpha": "1.1.0", "beta": None}
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


def need_what_is_kept_out(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0", requires=["beta>=1.1"])
    site.publish("beta", "1.1.0")
    site.env["RELEASER_UPGRADE"] = "patch"


def hold(site: SampleSite) -> None:
    site.publish("alpha", "1.1.0")
    site.releaser("hold", "alpha", "the shop needs it", check=0)


def roll_back(site: SampleSite) -> None:
    site.update_to("alpha", "1.2.0")
    site.releaser("rollback", check=0)


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (need_what_is_kept_out, ["it cannot be installed", "uv lock --upgrade-package 'alpha==1.1.0'"]),
        (hold, ["it is on hold by you", "the shop needs it", "releaser unhold alpha"]),
        (roll_back, ["it was rolled back"]),
    ],
)
def test_a_fix_that_may_not_come_in_is_told_of_once(
    make_site: SiteFactory, service: VulnerabilityService, prepare: Callable[[SampleSite], None], said: list[str]
) -> None:
    site = watched(make_site, service.url)
    prepare(site)
    mails = len(site.outbox_mails())
    first, second = site.json("update"), site.json("update")
    assert (first["result"], second["result"], site.live_version("alpha")) == ("no-changes", "no-changes", "1.0.0")
    (problem,) = first["problems"]
    assert "alpha 1.0.0 has the known vulnerability CVE-2026-1; 1.1.0 fixes it, but" in problem
    assert [one for one in said if one not in problem] == []
    assert second["problems"] == []
    assert [one["id"] for one in second["vulnerabilities"]] == ["CVE-2026-1"]
    (mail,) = site.outbox_mails()[mails:]
    assert "! site: alpha 1.0.0 has the known vulnerability" in mail["Subject"]
    assert said[0] in body(site)


def test_a_release_that_keeps_its_place_loses_it_to_the_fix_of_a_vulnerability_that_it_would_bring(
    make_site: SiteFactory,
) -> None:
    with VulnerabilityService().serving() as service:
        site = watched(make_site, service.url)
        site.publish("gamma", "1.0.0")
        site.publish("alpha", "1.1.0", requires=["gamma"])
        door = site.outer / "door"
        door.write_text("closed until morning", encoding="utf-8")
        with_toy(site, "toy_gate", "update")
        door.unlink()
        for version in ("1.1.0", "1.2.0"):
            site.publish("gamma", version)
        service.flaws.append(Flaw(id="CVE-2026-9", package="gamma", fixed="1.1.0"))
        report = json.loads(with_toy(site, "toy_gate", "update", "--json").stdout)
        assert (site.live_version("alpha"), site.live_version("gamma")) == ("1.1.0", "1.2.0")
        assert report["vulnerabilities"] == []
