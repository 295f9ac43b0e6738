"""Whatever `status` shows as held back can be let in again by the name that it shows, and is tried again then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import silent
from tests.e2e.test_migrations import NEW, Migrating
from tests.support.sites import RED_TESTS, TESTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

# The site is well with what it has, and ill with anything newer.
WELL = "import alpha, beta\nassert alpha.__version__ == beta.__version__ == '1.0.0'\n"


def shown(site: SampleSite) -> dict[str, list[str]]:
    """Return the names under which `status` shows what is held back, by what it is; see that it does."""
    status, text = site.json("status"), site.releaser("status", check=0).stdout
    names = {
        "packages": [one["name"] for one in status["held_back"]],
        "candidates": [one["release"] for one in (*status["quarantined"], *status["waiting"])],
        "commits": [one["commit"][:12] for one in status["rejected_commits"]],
    }
    assert all(name in text for some in names.values() for name in some)
    return {kind: some for kind, some in names.items() if some}


def let_all_in(site: SampleSite) -> None:
    """Let in by its name whatever is shown, until nothing is."""
    while names := [name for some in shown(site).values() for name in some]:
        site.releaser("unhold", names[0], check=0)
        assert names[0] not in [name for some in shown(site).values() for name in some]


def test_versions_that_make_the_site_ill(make_site: SiteFactory) -> None:
    settings = {"health_check": ".venv/bin/python well.py", "health_retries": 0}
    site = make_site.adopted(settings=settings, files={"well.py": WELL})
    for name in ("alpha", "beta"):
        site.publish(name, "1.1.0")
    backed_out = site.json("update", check=6)["release"]
    assert shown(site) == {"packages": ["alpha", "beta"], "candidates": [backed_out]}
    silent(site.releaser("update"))
    let_all_in(site)
    site.releaser("update", check=6)
    let_all_in(site)
    site.releaser("update", check=0, env={"RELEASER_HEALTH_CHECK": "true"})
    assert (site.live_version("alpha"), site.live_version("beta")) == ("1.1.0", "1.1.0")


def test_a_version_alone_by_its_name(make_site: SiteFactory) -> None:
    """The candidate goes with it: else nothing would be tried again."""
    settings = {"health_check": ".venv/bin/python well.py", "health_retries": 0}
    site = make_site.adopted(settings=settings, files={"well.py": WELL})
    site.publish("alpha", "1.1.0")
    site.releaser("update", check=6)
    site.releaser("unhold", "alpha", check=0)
    assert shown(site) == {}
    site.releaser("update", check=6)


def test_a_candidate_that_failed(make_site: SiteFactory) -> None:
    site = make_site.adopted(settings={"culprits": "off"})
    site.publish("alpha", "1.1.0", broken=True)
    failed = site.json("update", check=5)["release"]
    assert shown(site) == {"candidates": [failed]}
    silent(site.releaser("update"))
    let_all_in(site)
    site.releaser("update", check=5)


@pytest.mark.story
def test_a_version_that_the_tests_fail_with(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.publish("alpha", "1.1.0", broken=True)
    site.publish("beta", "1.1.0")
    site.releaser("update", check=0)
    assert shown(site)["packages"] == ["alpha"]
    silent(site.releaser("update"))
    let_all_in(site)
    assert "alpha" in site.releaser("update").stderr


def test_a_commit_that_fails(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    theirs = site.push_from_elsewhere({TESTS: RED_TESTS})
    site.releaser("update", check=5)
    assert shown(site)["commits"] == [theirs[:12]]
    silent(site.releaser("update"))
    let_all_in(site)
    site.releaser("update", check=5)


def test_a_candidate_that_waits_for_its_migrations(make_site: SiteFactory, tmp_path: Path) -> None:
    found = Migrating(make_site, tmp_path, setting="refuse")
    found.publish()
    waiting = found.site.json("update", check=5)["release"]
    assert shown(found.site) == {"candidates": [waiting]}
    silent(found.site.releaser("update"))
    let_all_in(found.site)
    assert NEW in found.site.releaser("update", check=5).stderr
