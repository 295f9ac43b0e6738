"""Updates of which a part breaks the tests: that part is found and held back, and the rest goes live."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.e2e.scenes import body, silent, states, steps
from tests.e2e.test_bad_tools import proxy
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
    return {one["name"]: one["version"] for one in report["on_hold"]}


def test_two_of_twenty_are_held_back_and_the_others_go_live(make_site: SiteFactory) -> None:
    site = adopted(make_site, *TWENTY)
    bad = ("p05", "p16")
    publish(site, *TWENTY, broken=bad)
    report = site.json("update")
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    versions = live_versions(site, TWENTY)
    assert {name for name, version in versions.items() if version == "1.1.0"} == set(TWENTY) - set(bad)
    assert passed_whole(site)
    assert len(report["changes"]) == 18
    assert held(report) == {"p05": "1.1.0", "p16": "1.1.0"}
    assert {one["by"] for one in report["on_hold"]} == {"tests"}
    assert report["culprits"] == ["p05 1.1.0", "p16 1.1.0"]
    # All of them: the candidate with everything, the live release, the search, what repeats it, and what went live.
    runs = len(site.manage_runs("test"))
    assert runs <= 18
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("! site: updated, 2 on hold, p01 1.0.0 → 1.1.0 and 17 m")
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


def test_two_that_break_the_tests_only_together_are_named_as_a_pair(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"abcd", files={"site_tests.py": NOT_TOGETHER})
    publish(site, *"abcd")
    report = site.json("update")
    assert live_versions(site, "abcd") == {"a": "1.1.0", "b": "1.1.0", "c": "1.0.0", "d": "1.1.0"}
    assert report["culprits"] == ["c 1.1.0 with a 1.1.0"]
    (entry,) = report["on_hold"]
    assert (entry["name"], entry["by"]) == ("c", "tests")
    assert entry["reason"].startswith("together with a 1.1.0, and not alone, the tests failed with it")
    assert "c 1.1.0: together with a 1.1.0, and not alone, the tests failed" in " ".join(body(site).split())


NOT_TOGETHER = """\
def test_shop(packages):
    assert "1.0.0" in (packages["a"].__version__, packages["c"].__version__), "a and c do not go together"
"""


def test_if_nothing_is_to_be_held_nothing_is(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c", settings={"culprits": "report"})
    publish(site, "a", "b", "c", broken=("b",))
    before = site.snapshot()
    report = site.json("update", check=5)
    assert site.snapshot() == before
    assert report["culprits"] == ["b 1.1.0"]
    assert report["on_hold"] == []
    assert "b 1.1.0 breaks the update: the tests failed with it" in body(site)
    assert "culprit search" in steps(report)
    assert site.json("status")["on_hold"] == []
    silent(site.releaser("update"))


def in_search(text: str) -> str:
    """Return what does `text` for an environment that is built to search for culprits."""
    return f'case "$UV_PROJECT_ENVIRONMENT" in\n*/.releaser-search)\n{text}\n;;\nesac'


def test_nothing_is_held_back_because_there_is_no_room_to_search(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c")
    publish(site, "a", "b", "c", broken=("b",))
    full = in_search("echo 'error: No space left on device' >&2; exit 2")
    report = site.json("update", check=5, env=proxy(site, "' sync '", full))
    assert any("no part of the upgrades can be installed" in problem for problem in report["problems"])
    assert "the next update searches for the cause again" in report["advice"]
    assert not any("not tried again" in problem for problem in report["problems"])
    assert (report["culprits"], report["on_hold"]) == ([], [])
    report = site.json("update")
    assert report["culprits"] == ["b 1.1.0"]
    assert live_versions(site, "abc") == {"a": "1.1.0", "b": "1.0.0", "c": "1.1.0"}


# The next lower version gets one try the same night


RED_FROM_6 = """\
def test_shop(packages):
    assert int(packages["a"].__version__.split(".")[0]) < 6, "no room for " + packages["a"].__version__
"""


def versions_held(report: Mapping[str, Any], name: str) -> list[str]:
    return [one["version"] for one in report["on_hold"] if one["name"] == name]


def framework(make_site: SiteFactory, tests: str) -> SampleSite:
    site = make_site.adopted(packages={"a": "4.2.1", "b": "1.0.0"}, files={"site_tests.py": tests})
    for version in ("4.2.2", "4.2.9", "5.2.1", "5.2.12", "6.0", "6.0.1"):
        site.publish("a", version)
    return site


@pytest.mark.story
def test_the_next_lower_version_goes_live_the_same_night(make_site: SiteFactory) -> None:
    site = framework(make_site, RED_FROM_6)
    site.publish("b", "1.1.0")
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "5.2.12", "b": "1.1.0"}
    assert versions_held(report, "a") == ["6.0.1"]
    assert report["culprits"] == ["a 6.0.1"]
    assert passed_whole(site)
    assert "a 6.0.1: the tests failed with it: AssertionError: no room for 6.0.1" in body(site)
    (newer,) = site.json("outdated")
    assert (newer["name"], newer["latest"]) == ("a", "6.0.1")
    assert "the tests failed with it" in newer["blocked_by"][0]["reason"]
    silent(site.releaser("update"))


def test_what_passes_goes_live_though_the_lower_version_cannot_be_installed(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"ab")
    site.publish("a", "1.5.0")
    site.publish("a", "2.0.0", broken=True)
    publish(site, "b")
    count = site.outer / "count"
    full = f'echo >> {count}; [ $(wc -l < {count}) -gt 2 ] && {{ echo "error: No space left on device" >&2; exit 2; }}'
    text = f'case "$UV_PROJECT_ENVIRONMENT" in\n*/.releaser-search) ;;\n*) {full} ;;\nesac'
    report = site.json("update", env=proxy(site, "' sync '", text))
    assert (report["exit_code"], live_versions(site, "ab")) == (0, {"a": "1.0.0", "b": "1.1.0"})
    assert len(list((site.state_dir / "releases").iterdir())) == 3
    site.json("update")
    assert live_versions(site, "ab") == {"a": "1.5.0", "b": "1.1.0"}


# Code and packages


# Budget and reasons


def test_a_failure_that_does_not_come_again_in_the_search_holds_nothing_back(make_site: SiteFactory) -> None:
    site = adopted(make_site, *"ab", files={"site_tests.py": FAILS_THREE_TIMES})
    publish(site, *"ab")
    before = site.snapshot()
    report = site.json("update", check=5)
    assert site.snapshot() == before
    assert (report["culprits"], report["on_hold"]) == ([], [])
    assert any("the tests both fail and pass with the same packages" in one for one in report["problems"])
    assert len(list((site.state_dir / "releases").iterdir())) == 2  # the live one and the one that failed
    silent(site.releaser("update"))


# With everything, when that is repeated, and with a part of it.
FAILS_THREE_TIMES = """\
import pathlib
def test_shop(packages):
    if any(one.__version__ == "1.1.0" for one in packages.values()):
        runs = pathlib.Path("../../runs")
        runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
        assert len(runs.read_text()) > 3, "the network was slow"
"""


def test_tests_that_fail_at_times_hold_nothing_back(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", files={"site_tests.py": FLAKY})
    publish(site, "a", "b")
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "1.1.0", "b": "1.1.0"}
    assert (report["on_hold"], report["culprits"]) == ([], [])
    assert "failed once, and passed when repeated" in report["problems"][0]


FLAKY = """\
import pathlib, sys
def test_now_and_then(packages):
    failed = pathlib.Path(sys.prefix).resolve().parent / "failed"
    if packages["a"].__version__ == "1.1.0" and not failed.exists():
        failed.touch()
        raise AssertionError("not today")
"""


def test_of_a_search_that_is_cut_off_nothing_undecided_goes_live(make_site: SiteFactory) -> None:
    names = tuple("abcdefgh")
    tests = "def test_shop(packages):\n    assert not any(getattr(one, 'BROKEN', None) for one in packages.values())\n"
    site = adopted(make_site, *names, files={"site_tests.py": tests}, settings={"culprit_runs": 6})
    publish(site, *names, broken=("c", "f", "g"))
    report = site.json("update")
    assert report["exit_code"] == 0
    undecided = [one["name"] for one in report["on_hold"] if one["by"] == "undecided"]
    assert undecided == list("defgh")
    assert report["culprits"] == ["c 1.1.0"]
    assert live_versions(site, names) == dict.fromkeys(names, "1.0.0") | dict.fromkeys("ab", "1.1.0")
    assert "undecided, and not live: d, e, f, g, h" in " ".join(body(site).split())
    assert [(one["name"], one["by"]) for one in site.json("status")["on_hold"]] == [("c", "tests")]
    site.releaser("update")
    assert live_versions(site, names) == dict.fromkeys(names, "1.1.0") | dict.fromkeys("cfg", "1.0.0")
