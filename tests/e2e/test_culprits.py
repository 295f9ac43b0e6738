"""Updates of which a part breaks the tests: that part is found and held back, and the rest goes live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.scenes import body, silent, states, steps
from tests.e2e.test_bad_tools import proxy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.sites import SampleSite, SiteFactory

TWENTY = tuple(f"p{number:02}" for number in range(1, 21))


def adopted(make_site: SiteFactory, *names: str, **options: Any) -> SampleSite:
    return make_site.adopted(packages=dict.fromkeys(names, "1.0.0"), **options)


def publish(site: SampleSite, *names: str, broken: Sequence[str] = (), version: str = "1.1.0") -> None:
    for name in names:
        site.publish(name, version, broken=name in broken)


def live_versions(site: SampleSite, names: Sequence[str]) -> dict[str, str]:
    code = f"import importlib.metadata as m; print(*(m.version(one) for one in {list(names)!r}))"
    return dict(zip(names, site.python(code).split(), strict=True))


def passed_whole(site: SampleSite) -> bool:
    """Whether the live release has passed all tests, as it is."""
    return any(run["release"] == site.live_id() for run in site.passed_tests())


def held(report: Mapping[str, Any]) -> dict[str, str]:
    return {one["name"]: one["version"] for one in report["held_back"]}


def test_two_of_twenty_are_held_back_and_the_others_go_live(make_site: SiteFactory) -> None:
    site = adopted(make_site, *TWENTY)
    bad = ("p05", "p16")
    publish(site, *TWENTY, broken=bad)
    report = site.json("update")
    assert (report["result"], report["exit_code"]) == ("activated", 0)
    versions = live_versions(site, TWENTY)
    assert {name for name, version in versions.items() if version == "1.1.0"} == set(TWENTY) - set(bad)
    assert passed_whole(site)
    assert len(report["changes"]) == 18
    assert held(report) == {"p05": "1.1.0", "p16": "1.1.0"}
    assert {one["by"] for one in report["held_back"]} == {"tests"}
    assert report["culprits"] == ["p05 1.1.0", "p16 1.1.0"]
    # All of them: the candidate with everything, the live release, the search, and what went live.
    runs = len(site.manage_runs("test"))
    assert runs <= 14
    (mail,) = site.outbox_mails()
    assert mail["subject"].endswith("updated, 18 packages, 2 held back")
    text = body(site)
    for name in bad:
        assert f"{name} 1.1.0" in text
        assert f"AssertionError: {name} 1.1.0 breaks the site" in text
    assert site.remote_head() == site.head()
    site.uv("lock", "--check")

    assert list(states(site).values()) == ["live", "failed", "good"]
    assert not site.path.with_name(".site.releaser-staging").exists()
    assert len(list((site.state_dir / "releases").iterdir())) == 3

    silent(site.releaser("update"))
    assert len(site.manage_runs("test")) == runs
    assert len(site.outbox_mails()) == 1

    publish(site, "p05", version="1.1.1")
    report = site.json("update")
    assert [(one["name"], one["new"]) for one in report["changes"]] == [("p05", "1.1.1")]
    assert len(site.manage_runs("test")) == runs + 1
    assert live_versions(site, bad) == {"p05": "1.1.1", "p16": "1.0.0"}


def test_what_needs_a_culprit_stays_with_it(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c")
    publish(site, "b", broken=("b",))
    site.publish("a", "1.1.0", requires=["b>=1.1"])
    publish(site, "c")
    report = site.json("update")
    assert live_versions(site, "abc") == {"a": "1.0.0", "b": "1.0.0", "c": "1.1.0"}
    assert report["culprits"] == ["b 1.1.0"]
    (entry,) = report["held_back"]
    assert (entry["name"], entry["together"]) == ("b", ["a 1.1.0"])
    assert "b 1.1.0, with a 1.1.0: the tests failed with it" in body(site)
    site.releaser("unhold", "a", check=0)
    assert site.json("status")["held_back"] == []


def test_tests_that_fail_at_times_hold_nothing_back(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", files={"site_tests.py": FLAKY})
    publish(site, "a", "b")
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "1.1.0", "b": "1.1.0"}
    assert (report["held_back"], report["culprits"]) == ([], [])
    assert "failed once, and passed when repeated" in report["problems"][0]


FLAKY = """\
import pathlib, sys
def test_now_and_then(packages):
    failed = pathlib.Path(sys.prefix).resolve().parent / "failed"
    if packages["a"].__version__ == "1.1.0" and not failed.exists():
        failed.touch()
        raise AssertionError("not today")
"""


def test_another_group_that_fails_by_itself_is_not_held_against_upgrades(make_site: SiteFactory) -> None:
    tests = "import importlib.metadata as m\ndef test_shop(packages):\n    m.version('localtools')\n"
    site = adopted(make_site, "a", "b", files={"site_tests.py": tests})
    publish(site, "a", "b")
    site.write_dotenv({"RELEASER_GROUP": "staging"})
    report = site.json("update", check=5)
    assert (report["culprits"], report["held_back"]) == ([], [])
    assert any("no package is to blame" in problem for problem in report["problems"])
    silent(site.releaser("update"))


@pytest.mark.parametrize("mode", ["report", "off"])
def test_if_nothing_is_to_be_held_nothing_is(make_site: SiteFactory, mode: str) -> None:
    site = adopted(make_site, "a", "b", "c", settings={"culprits": mode})
    publish(site, "a", "b", "c", broken=("b",))
    before = site.snapshot()
    report = site.json("update", check=5)
    assert site.snapshot() == before
    assert report["culprits"] == (["b 1.1.0"] if mode == "report" else [])
    assert report["held_back"] == []
    assert ("b 1.1.0 breaks the update: the tests failed with it" in body(site)) == (mode == "report")
    assert ("culprit search" in steps(report)) == (mode == "report")
    assert not (site.state_dir / "holds.json").exists()
    silent(site.releaser("update"))


def test_nothing_is_held_back_because_there_is_no_room_to_search(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c")
    publish(site, "a", "b", "c", broken=("b",))
    full = "echo 'error: No space left on device' >&2; exit 2"
    report = site.json("update", check=5, env=proxy(site, "' --no-install-local --link-mode '", full))
    assert any("no part of the upgrades can be installed" in problem for problem in report["problems"])
    assert "the next update searches again" in report["advice"]
    assert not any("not tried again" in problem for problem in report["problems"])
    assert (report["culprits"], report["held_back"]) == ([], [])
    report = site.json("update")
    assert report["culprits"] == ["b 1.1.0"]
    assert live_versions(site, "abc") == {"a": "1.1.0", "b": "1.0.0", "c": "1.1.0"}


# Kills releaser, the parent of the tests, at the third run with some of the upgrades, and never again.
KILLS = """\
import os, pathlib, signal
def test_shop(packages):
    versions = [one.__version__ for one in packages.values()]
    runs = pathlib.Path("../runs")
    if len(set(versions)) > 1:
        runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
        if runs.read_text() == "xxx":
            os.kill(os.getppid(), signal.SIGKILL)
    assert not any(getattr(one, "BROKEN", None) for one in packages.values())
"""


def test_a_search_that_is_killed_begins_again_at_the_next_update(make_site: SiteFactory) -> None:
    names = tuple("abcdefgh")
    site = adopted(make_site, *names, groups={"local": ["a"]}, files={"site_tests.py": KILLS})
    publish(site, *names, broken=("c",))
    assert site.releaser("update").returncode == -9
    assert site.live_version("a") == "1.0.0"
    report = site.json("update")
    assert report["culprits"] == ["c 1.1.0"]
    assert live_versions(site, names) == dict.fromkeys(names, "1.1.0") | {"c": "1.0.0"}
    assert not site.path.with_name(".site.releaser-staging").exists()
    assert len(list((site.state_dir / "releases").iterdir())) == 4
