"""The newest version that works goes live, and what failed is exactly what is kept out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.scenes import body
from tests.e2e.test_bad_tools import proxy
from tests.e2e.test_culprits import adopted, live_versions, passed_whole, publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.sites import SiteFactory

RED_FROM_5 = """\
def test_shop(packages):
    assert int(packages["a"].__version__.split(".")[0]) < 5, "no room for " + packages["a"].__version__
"""


def held(report: Mapping[str, Any], name: str) -> list[str]:
    return [one["version"] for one in report["held_back"] if one["name"] == name]


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


# Code and packages


def test_no_commit_is_blamed_while_a_part_of_the_upgrades_passes(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"abcdef", files={"site_tests.py": GREEN}, settings={"culprits": "report"})
    publish(site, *"abcdef")
    site.push_from_elsewhere({"site_tests.py": NEEDS_A_WITHOUT_E})
    assert site.json("update", check=5)["culprits"] == ["e 1.1.0"]
    assert "to blame" not in body(site)
    assert [one["by"] for one in site.json("status")["held_back"]] == []


GREEN = "def test_shop(packages):\n    pass\n"


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


def test_what_passes_goes_live_though_its_requirement_cannot_be_found_out(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"abcdef", files={"site_tests.py": GREEN})
    publish(site, *"abcdef")
    site.push_from_elsewhere({"site_tests.py": NEEDS_A_WITHOUT_E})
    count = site.outer / "count"
    gone = f'echo >> {count}; [ $(wc -l < {count}) -gt 8 ] && {{ echo "error: gone" >&2; exit 2; }}'
    report = site.json("update", env=proxy(site, "' --no-install-local --link-mode '", gone))
    assert live_versions(site, "abcdef") == dict.fromkeys("abcdf", "1.1.0") | {"e": "1.0.0"}
    assert report["exit_code"] == 0
