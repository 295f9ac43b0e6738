"""A commit that breaks the tests or the site is left out by itself; packages go on without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.scenes import silent, states
from tests.support.sites import RED_TESTS, TESTS

if TYPE_CHECKING:
    from tests.support.sites import SiteFactory

_WELL = "test ! -e sick.txt"


def test_packages_come_in_although_a_commit_is_bad(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    before = site.head()
    theirs = site.push_from_elsewhere({TESTS: RED_TESTS}, message="Close the shop")
    for name in ("alpha", "beta"):
        site.publish(name, "1.1.0")
    finished = site.releaser("update", check=5)
    assert f"commit {theirs[:12]} (Close the shop) breaks the tests" in finished.stderr
    assert f"releaser unhold {theirs[:12]}" in finished.stderr
    report = site.json("update")
    assert [one["name"] for one in report["changes"]] == ["alpha", "beta"]
    assert site.git("diff", "--name-only", before, "HEAD") == "uv.lock"
    silent(site.releaser("update"))


def test_the_same_with_the_search_switched_off(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"culprits": "off"})
    site.push_from_elsewhere({TESTS: RED_TESTS})
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=5)
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"


def test_a_bad_commit_alone_is_tried_once(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    theirs = site.push_from_elsewhere({TESTS: RED_TESTS})
    site.releaser("update", check=5)
    silent(site.releaser("update"))
    assert f"held back: commit {theirs[:12]}" in site.releaser("status", check=0).stdout
    site.releaser("unhold", theirs[:12], check=0)
    site.releaser("update", check=5)
    newer = site.push_from_elsewhere({TESTS: "def test_nothing(packages):\n    pass\n"})
    site.releaser("update", check=0)
    assert site.head() == newer
    assert "held back" not in site.releaser("status", check=0).stdout


def test_a_commit_that_makes_the_site_ill_does_not_freeze_packages(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"health_check": _WELL, "health_retries": 0})
    before, live = site.head(), site.live_id()
    site.push_from_elsewhere({"sick.txt": ""})
    site.publish("alpha", "1.1.0")
    report = site.json("update", check=6)
    assert (site.head(), site.live_id(), states(site)[report["release"]]) == (before, live, "bad")
    assert not (site.path / "sick.txt").exists()
    site.releaser("update", check=0)
    assert site.live_version("alpha") == "1.1.0"
    assert not (site.path / "sick.txt").exists()
