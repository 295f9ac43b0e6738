"""Security fixes alone: by the setting, by the option, and in a pause."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.e2e.scenes import body, silent, watched
from tests.faults.clock import at_another_time
from tests.support.osv import Flaw, VulnerabilityService
from tests.support.sites import SampleSite, SiteFactory

FLAW = Flaw(id="CVE-2026-1", package="alpha", fixed="1.1.0")
NIGHT = timedelta(days=1)
ONLY = ("update", "--only", "security")


@pytest.fixture
def service() -> Iterator[VulnerabilityService]:
    with VulnerabilityService().serving() as serving:
        yield serving


def publish(site: SampleSite, *versions: str) -> None:
    """Publish these versions, such as `alpha 1.1.0 needs beta>=1.1.0`."""
    for one in versions:
        name, version, *needed = one.replace(" needs", "").split(" ")
        site.publish(name, version, requires=needed)


def live(site: SampleSite) -> list[str]:
    return [site.live_version(name) for name in ("alpha", "beta")]


def test_a_pause_over_three_nights_with_a_security_fix_and_the_first_night_after_it(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url)
    publish(site, "alpha 1.1.0", "alpha 1.2.0", "beta 1.1.0")
    pushed = site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    site.releaser("pause", "--for", "60h", "--except-security", "the sale", check=0)
    before, mails = (site.live_id(), site.head()), len(site.outbox_mails())
    assert "updates other than security fixes are paused until" in site.releaser("status").stdout
    silent(site.releaser("update"))  # the first night
    assert ((site.live_id(), site.head()), len(site.outbox_mails())) == (before, mails)
    service.flaws.append(FLAW)  # the second
    assert at_another_time(site, NIGHT, "update").returncode == 0
    assert (live(site), len(site.outbox_mails())) == (["1.1.0", "1.0.0"], mails + 1)
    assert pushed in site.git("log", "--format=%H")
    assert "Updates other than security fixes are paused until" in body(site)
    assert "the sale" in body(site)
    fixed = site.live_id()
    silent(at_another_time(site, 2 * NIGHT, "update"))  # the third
    silent(at_another_time(site, 2 * NIGHT, "update", "--if-due"))
    assert site.live_id() == fixed
    assert at_another_time(site, 3 * NIGHT, "update").returncode == 0  # the first night after it
    assert live(site) == ["1.2.0", "1.1.0"]
    assert "paused" not in body(site)


@pytest.mark.story
def test_only_the_lowest_fix_goes_live_with_what_it_needs(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url, upgrade="security")
    publish(site, "alpha 1.1.0 needs beta>=1.1.0", "alpha 1.2.0", "beta 1.1.0", "gamma 1.0.0")
    silent(site.releaser("update"))
    asked = site.json(*ONLY)
    assert (asked["result"], asked["headline"]) == ("no-changes", "the live release has no known vulnerability")
    assert {one["next"] for one in site.json("outdated")} == {None}
    assert '`upgrade = "security"` excludes it' in site.releaser("outdated").stdout
    service.flaws.append(FLAW)
    planned = site.json("update", "--dry-run")["changes"]
    assert [(one["name"], one["new"]) for one in planned] == [("alpha", "1.1.0"), ("beta", "1.1.0")]
    report = site.json("update")
    assert [(one["name"], one["new"], one["fixes"]) for one in report["changes"]] == [
        ("alpha", "1.1.0", ["CVE-2026-1"]),
        ("beta", "1.1.0", []),
    ]
    assert site.json("update")["headline"] == asked["headline"]
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    assert site.json("update")["result"] == "updated"  # with the setting, new commits go live as always
    assert live(site) == ["1.1.0", "1.1.0"]


def test_without_an_answer_it_is_not_said_that_there_is_no_fix(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    site = watched(make_site, service.url)
    publish(site, "alpha 1.1.0")
    service.mood = "fails"
    for words in (ONLY, (*ONLY, "--dry-run")):
        failed = site.releaser(*words, check=4).stderr
        assert "no fixes could be looked up, because the query for known vulnerabilities failed" in failed
    site.releaser("pause", "--except-security", check=0)
    assert site.json("update", check=4)["exit_code"] == 4
    site.releaser("resume", check=0)
    site.env["RELEASER_UPGRADE"] = "security"
    site.releaser("update", check=4)
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    report = site.json("update")  # the code does not wait for the service
    assert (report["result"], report["audit"], live(site)[0]) == ("updated", "unknown", "1.0.0")


def test_a_fix_that_may_not_go_live_brings_no_commit_with_it(
    make_site: SiteFactory, service: VulnerabilityService
) -> None:
    service.flaws.append(FLAW)
    site = watched(make_site, service.url)
    publish(site, "alpha 1.1.0", "alpha 1.2.0")
    site.releaser("hold", "alpha", "the shop needs it", check=0)
    before = site.live_id(), site.head()
    text = re.sub(r"^revision = \d+$", "revision = 9", site.lock_text(), flags=re.MULTILINE)
    site.push_from_elsewhere({"uv.lock": text})  # neither code nor packages
    report = site.json(*ONLY)
    assert report["headline"] == "no permitted version fixes a known vulnerability of the live release"
    assert "releaser unhold alpha" in report["problems"][0]
    assert site.json(*ONLY)["problems"] == []  # reported once; with a problem, no commit is taken in any case
    assert site.head() == before[1]
    site.push_from_elsewhere({"shop/news.py": "NEWS = 1\n"})
    assert site.json(*ONLY)["headline"] == report["headline"]
    assert (site.live_id(), site.head()) == before
    site.releaser("unhold", "alpha", check=0)
    assert site.json(*ONLY)["only_security"]
    assert live(site)[0] == "1.1.0"


def test_where_no_fixes_can_be_chosen(make_site: SiteFactory) -> None:
    site = make_site.adopted()  # without a service
    without_service, without_choice = "because `vulnerability_service` is `none`", "chooses no security fixes"
    for settings, command, code, said in (
        ({}, ONLY, 3, without_service),
        ({}, ("pause", "--except-security"), 3, without_service),
        ({"RELEASER_UPGRADE": "security"}, ("check",), 3, without_service),
        ({"RELEASER_UPGRADE": "none"}, ONLY, 3, without_choice),
        ({"RELEASER_UPGRADE": "none"}, ("pause", "--except-security", "--dry-run"), 3, without_choice),
        ({}, ("update", "--only", "everything"), 2, "--only"),
        ({"RELEASER_UPGRADE_PACKAGES": "alpha = security"}, ("check",), 3, "UPGRADE_PACKAGES"),
    ):
        refused = site.releaser(*command, env=settings, check=code)
        assert said in refused.stdout + refused.stderr
    assert not (site.state_dir / "pause.json").exists()
