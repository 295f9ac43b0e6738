"""The newest version that works goes live, and what failed is exactly what is kept out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.scenes import body
from tests.e2e.test_culprits import adopted, live_versions, passed_whole, publish
from tests.e2e.test_unbuildable import publish_unbuildable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.sites import SampleSite, SiteFactory

RED_FROM_5 = """\
def test_shop(packages):
    assert int(packages["a"].__version__.split(".")[0]) < 5, "no room for " + packages["a"].__version__
"""


def held(report: Mapping[str, Any], name: str) -> list[str]:
    return [one["version"] for one in report["held_back"] if one["name"] == name]


def runs(site: SampleSite) -> int:
    return len(site.manage_runs("test"))


def days_later(site: SampleSite, days: float) -> None:
    """Let all that the holds know have happened earlier."""
    file = site.state_dir / "holds.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    for hold in content["entries"]:
        for key in ("at", "tried_at"):
            if hold[key]:
                hold[key] = (datetime.fromisoformat(hold[key]) - timedelta(days=days)).isoformat(timespec="seconds")
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.story
def test_the_newest_patch_of_what_is_live_goes_live_the_same_night(make_site: SiteFactory) -> None:
    site = make_site.adopted(packages={"a": "4.2.1", "b": "1.0.0"}, files={"site_tests.py": RED_FROM_5})
    for version in ("4.2.2", "4.2.9", "5.0.1", "5.0.7", "5.2.12", "6.0"):
        site.publish("a", version)
    report = site.json("update")
    assert live_versions(site, "a") == {"a": "4.2.9"}
    assert held(report, "a") == ["6.0", "5.2.12", "5.0.7"]
    assert passed_whole(site)
    reasons = {one["version"]: one["reason"] for one in report["held_back"]}
    assert "no room for 5.2.12" in reasons["5.2.12"]
    text = body(site)
    for version in ("6.0", "5.2.12", "5.0.7"):
        assert f"a {version}: the tests failed with it: AssertionError: no room for {version}" in text
    assert [one["version"] for one in site.json("status")["held_back"]] == ["6.0", "5.2.12", "5.0.7"]

    (newer,) = site.json("outdated")
    assert (newer["name"], newer["latest"]) == ("a", "6.0")
    assert "the tests failed with it" in newer["kept_by"][0]["reason"]


def test_of_several_that_are_to_come_in_lower_each_finds_its_own(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c")
    publish(site, "a", "b", broken=("a", "b"), version="3.0.0")
    publish(site, "a", "b", broken=("b",), version="2.0.0")
    publish(site, "b", version="1.5.0")
    publish(site, "c")
    report = site.json("update")
    assert live_versions(site, "abc") == {"a": "2.0.0", "b": "1.5.0", "c": "1.1.0"}
    assert (held(report, "a"), held(report, "b")) == (["3.0.0"], ["3.0.0", "2.0.0"])


def test_with_one_run_left_the_live_series_is_tried(make_site: SiteFactory) -> None:
    tests, settings = {"site_tests.py": RED_FROM_5}, {"culprit_runs": 2}
    site = make_site.adopted(packages={"a": "4.2.1", "b": "1.0.0"}, files=tests, settings=settings)
    for version in ("4.2.9", "5.0.7", "5.2.12", "6.0"):
        site.publish("a", version)
    site.releaser("update", check=0)
    assert live_versions(site, "a") == {"a": "4.2.9"}


def test_a_lower_version_of_what_cannot_be_built_comes_in(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish(site, "a", version="1.5.0")
    publish_unbuildable(site, "a", version="2.0.0")
    report = site.json("update")
    assert (live_versions(site, "a"), held(report, "a")) == ({"a": "1.5.0"}, ["2.0.0"])


# What is known


def test_a_new_version_of_a_culprit_gets_one_run_a_week_and_the_rest_goes_live(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish(site, "a", broken=("a",))
    site.releaser("update", check=5)

    publish(site, "a", broken=("a",), version="1.2.0")
    publish(site, "b")
    before = runs(site)
    report = site.json("update")
    assert (live_versions(site, "ab"), runs(site)) == ({"a": "1.0.0", "b": "1.1.0"}, before + 2)
    assert held(report, "a") == ["1.1.0", "1.2.0"]

    publish(site, "a", version="1.3.0")
    publish(site, "b", version="1.2.0")
    report = site.json("update")
    assert (live_versions(site, "ab"), runs(site)) == ({"a": "1.0.0", "b": "1.2.0"}, before + 3)
    day = (datetime.now(UTC) + timedelta(days=7)).date().isoformat()
    reason = next(one["reason"] for one in report["held_back"] if one["version"] == "1.3.0")
    assert reason == f"1.2.0 failed when it was tried last; the next try is from {day} on"

    days_later(site, 8)
    site.releaser("update", check=0)
    assert live_versions(site, "a") == {"a": "1.3.0"}
    assert site.json("status")["held_back"] == []


def test_code_that_the_failing_test_touches_gives_a_culprit_one_run_a_week(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish(site, "a", "b", broken=("a",))
    site.releaser("update", check=0)
    before = runs(site)
    tests = (site.path / "site_tests.py").read_text(encoding="utf-8")
    site.push_from_elsewhere({"site_tests.py": tests + "\n# Fixed?\n"})
    report = site.json("update")
    assert (runs(site), report["culprits"]) == (before + 2, ["a 1.1.0"])
    assert live_versions(site, "ab") == {"a": "1.0.0", "b": "1.1.0"}

    site.push_from_elsewhere({"site_tests.py": tests + "\n# Now!\n"})
    site.releaser("update", check=0)
    assert runs(site) == before + 3

    days_later(site, 8)
    site.push_from_elsewhere({"site_tests.py": "def test_shop(packages):\n    pass\n"})
    site.releaser("update", check=0)
    assert runs(site) == before + 4
    assert live_versions(site, "ab") == {"a": "1.1.0", "b": "1.1.0"}


# Code and packages


BY_MODE = """\
def test_shop(packages):
    wanted = {"old": "1.0.0", "new": "2.0.0"}[open("mode.txt").read().strip()]
    assert packages["a"].__version__ == wanted, "a " + packages["a"].__version__
"""


def test_no_commit_is_blamed_while_a_part_of_the_upgrades_passes(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"abcdef", files={"site_tests.py": GREEN}, settings={"culprits": "report"})
    publish(site, *"abcdef")
    site.push_from_elsewhere({"site_tests.py": NEEDS_A_WITHOUT_E})
    assert site.json("update", check=5)["culprits"] == ["e 1.1.0"]
    assert "to blame" not in body(site)
    assert [one["by"] for one in site.json("status")["held_back"]] == []


GREEN = "def test_shop(packages):\n    pass\n"
OLD_ONLY = "def test_shop(packages):\n    assert packages['a'].__version__ == '1.0.0', 'too new'\n"
NEW_ONLY = "def test_shop(packages):\n    assert packages['a'].__version__ != '1.0.0', 'too old'\n"


NEEDS_A_WITHOUT_E = """\
def test_shop(packages):
    assert packages["a"].__version__ != "1.0.0", "something is missing"
    assert packages["e"].__version__ == "1.0.0", "something is wrong"
"""


# Budget and reasons


def test_what_was_found_is_held_and_the_rest_is_named_until_the_next_night(make_site: SiteFactory) -> None:
    names = tuple("abcdefgh")
    tests = "def test_shop(packages):\n    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())\n"
    site = adopted(make_site, *names, files={"site_tests.py": tests}, settings={"culprit_runs": 6})
    publish(site, *names, broken=("c", "f", "g"))
    report = site.json("update")
    assert report["exit_code"] == 0
    undecided = [one["name"] for one in report["held_back"] if one["by"] == "undecided"]
    assert undecided
    assert "c 1.1.0" in report["culprits"]
    assert "undecided" in body(site)
    status = site.json("status")
    assert sorted(undecided) == sorted(one["name"] for one in status["held_back"] if one["by"] == "undecided")
    outlook = {one["name"]: one["kept_by"] for one in site.json("outdated")}
    assert all(any(why["by"] == "undecided" for why in outlook[name]) for name in undecided)


def test_each_culprit_has_its_own_reason(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"abcdef", files={"site_tests.py": OWN_REASONS})
    publish(site, *"abcdef")
    report = site.json("update")
    reasons = {one["name"]: one["reason"] for one in report["held_back"]}
    assert set(reasons) == {"b", "e"}
    assert "the cart is empty" in reasons["b"]
    assert "the till is locked" in reasons["e"]
    outputs = {one["name"]: one["output"] for one in report["held_back"]}
    assert "the till is locked" not in outputs["b"]
    assert "the cart is empty" not in outputs["e"]
    failed = next(row["id"] for row in site.json("list") if row["state"] == "failed")
    text = body(site)
    assert text.count(f"see `releaser show {failed}`") == 2
    assert all(line in text for line in outputs["e"].splitlines())
    assert "the cart is empty" in site.releaser("show", failed).stdout


OWN_REASONS = """\
def test_shop(packages):
    assert packages["b"].__version__ == "1.0.0", "the cart is empty"
    assert packages["e"].__version__ == "1.0.0", "the till is locked"
"""
