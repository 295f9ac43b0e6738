"""A site whose updates cannot go live needs attention, on every night until they can; only the first one is mailed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.scenes import silent
from tests.e2e.test_many_sites import releaser, sites_file
from tests.support.sites import SampleSite, SiteFactory


def _break_live_tests(site: SampleSite) -> None:
    """Let the tests fail with whatever packages, and something newer be there."""
    site.break_tests()
    site.publish("alpha", "1.2.0")


def _push_broken_code(site: SampleSite) -> None:
    site.push_from_elsewhere({"site_tests.py": "def test_shop(packages):\n    assert not packages\n"})


def _mend_tests(site: SampleSite) -> None:
    site.mend_tests()


def _push_good_code(site: SampleSite) -> None:
    site.push_from_elsewhere({"site_tests.py": site._original_tests + "\n"})


def _colours(site: SampleSite, file: Path) -> dict[str, Any]:
    """Return what each way to look at the site says: whether it is yellow."""
    page = site.outer / "page.html"
    site.releaser("report", "--offline", "--html", page, check=0)
    many = releaser(site, "status", "--sites", file, "--json")
    return {
        "status": "updates cannot go live" in site.releaser("status", check=0).stdout
        or "(code " in site.releaser("status", check=0).stdout,
        "nagios": site.releaser("status", "--nagios").returncode == 1,
        "page": "needs attention" in page.read_text(encoding="utf-8"),
        "status --all": many.returncode != 0 and json.loads(many.stdout)[0]["exit_code"] == many.returncode,
    }


@pytest.mark.parametrize(
    ("wrong", "right"),
    [(_break_live_tests, _mend_tests), (_push_broken_code, _push_good_code)],
    ids=["the live tests fail", "a commit fails"],
)
def test_it_stays_yellow_until_something_goes_live(
    wrong: Callable[[SampleSite], object], right: Callable[[SampleSite], object], make_site: SiteFactory
) -> None:
    site = make_site.adopted("1.1.0")
    file = sites_file([site])
    assert set(_colours(site, file).values()) == {False}
    wrong(site)
    site.releaser("update", check=5)
    mails = len(site.outbox_mails())
    assert set(_colours(site, file).values()) == {True}
    silent(site.releaser("update"))
    assert site.json("status")["blocked"]
    assert set(_colours(site, file).values()) == {True}
    assert len(site.outbox_mails()) == mails
    assert "releaser_updates_blocked" in site.releaser("status", "--prometheus", check=0).stdout
    right(site)
    site.releaser("update", check=0)
    assert site.json("status")["blocked"] == ""
    assert set(_colours(site, file).values()) == {False}
