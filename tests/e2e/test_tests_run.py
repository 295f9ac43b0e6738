"""Tests that prove nothing are no pass: none was run, or their runner did not get to its end. The number is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.scenes import states

if TYPE_CHECKING:
    from tests.support.sites import SampleSite, SiteFactory

TWO_TESTS = "def test_one(packages):\n    pass\ndef test_two(packages):\n    pass\n"
LEAVES = "import os\ndef test_one(packages):\n    os._exit(0)\n"


def adopted(make_site: SiteFactory, tests: str = TWO_TESTS) -> SampleSite:
    site = make_site.adopted(files={"site_tests.py": tests})
    site.publish("alpha", "1.1.0")
    return site


def test_no_test_at_all_is_no_pass(make_site: SiteFactory) -> None:
    """How other runners say so is in the tests of `candidate.output`."""
    site = make_site.adopted(files={"site_tests.py": ""})
    site.publish("alpha", "1.1.0")
    before = site.live_id()
    report = site.json("update", check=5)
    assert "not a single test was run" in report["headline"]
    assert site.live_id() == before
    assert "failed" in states(site).values()
    assert "test_command" in report["problems"][0]


def test_a_run_that_ends_early_is_no_pass(make_site: SiteFactory) -> None:
    site = adopted(make_site, LEAVES)
    before = site.live_id()
    report = site.json("update", check=5)
    assert "without the last line of their runner" in report["headline"]
    assert site.live_id() == before


def test_the_number_is_kept_and_a_fall_is_told(make_site: SiteFactory) -> None:
    site = adopted(make_site)
    first = site.json("update", check=0)
    assert first["problems"] == []
    assert site.json("show", first["release"])["tests_run"] == 2
    assert "tests_run:" in site.releaser("show", first["release"], check=0).stdout
    site.push_from_elsewhere({"site_tests.py": "def test_one(packages):\n    pass\n"})
    second = site.json("update", check=0)
    (problem,) = second["problems"]
    assert problem.startswith(f"1 test was run with {second['release']}, where 2 were with {first['release']}")
    assert site.live_id() == second["release"]
    site.publish("alpha", "1.2.0")
    assert site.json("update", check=0)["problems"] == []
