"""Updates of which a part breaks the tests: that part is found and held back, and the rest goes live."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.e2e.scenes import body, silent, states
from tests.e2e.test_bad_tools import proxy
from tests.e2e.test_unbuildable import publish_unbuildable
from tests.support.sites import SampleSite, SiteFactory


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


def test_what_breaks_the_tests_or_cannot_be_built_is_held_back_and_the_rest_goes_live(make_site: SiteFactory) -> None:
    """Of `a` and `c`, that work only apart, one is held back."""
    names = "abcdefgh"
    site = adopted(make_site, *names, files={"site_tests.py": BROKEN + NOT_TOGETHER})
    publish(site, *names.replace("b", ""), broken="e")
    publish_unbuildable(site, "b")
    report = site.json("update")
    assert (report["result"], report["exit_code"]) == ("updated", 0)
    assert live_versions(site, names) == dict.fromkeys(names, "1.1.0") | dict.fromkeys("bce", "1.0.0")
    assert passed_whole(site)
    assert len(report["changes"]) == 5
    assert held(report) == dict.fromkeys("bce", "1.1.0")
    assert {one["by"] for one in report["on_hold"]} == {"tests"}
    assert report["culprits"] == ["c 1.1.0 with a 1.1.0", "e 1.1.0"]
    (mail,) = site.outbox_mails()
    assert mail["subject"].startswith("! site: updated, 2 on hold, a 1.0.0 → 1.1.0 and 4 m")
    text = " ".join(body(site).split())
    for said in (
        "b 1.1.0: it cannot be built: ImportError: there is no compiler",
        "c 1.1.0: together with a 1.1.0, and not alone, the tests failed",
        "AssertionError: e 1.1.0 breaks the site",
    ):
        assert said in text
    assert site.remote_head() == site.head()
    site.uv("lock", "--check")
    assert list(states(site).values()) == ["live", "failed", "good"]
    assert not site.path.with_name(".site.releaser-staging").exists()
    assert len(site.releases()) == 3

    runs = len(site.manage_runs("test"))
    silent(site.releaser("update"))
    assert (len(site.manage_runs("test")), len(site.outbox_mails())) == (runs, 1)
    publish(site, "e", version="1.1.1")
    report = site.json("update")
    assert [(one["name"], one["new"]) for one in report["changes"]] == [("e", "1.1.1")]
    assert len(site.manage_runs("test")) == runs + 1
    assert live_versions(site, "ce") == {"c": "1.0.0", "e": "1.1.1"}


BROKEN = """\
def test_packages(packages):
    for name, one in packages.items():
        assert not hasattr(one, "BROKEN"), f"{name} {one.__version__} breaks the site"
"""
NOT_TOGETHER = """\
def test_shop(packages):
    assert "1.0.0" in (packages["a"].__version__, packages["c"].__version__), "a and c do not go together"
"""
# With everything, when that is repeated, and with a part of it.
FAILS_THREE_TIMES = """\
import pathlib
def test_shop(packages):
    if any(one.__version__ == "1.1.0" for one in packages.values()):
        runs = pathlib.Path("../../runs")
        runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
        assert len(runs.read_text()) > 3, "the network was slow"
"""
FAILS_ONCE = """\
import pathlib, sys
def test_now_and_then(packages):
    failed = pathlib.Path(sys.prefix).resolve().parent / "failed"
    if packages["a"].__version__ == "1.1.0" and not failed.exists():
        failed.touch()
        raise AssertionError("not today")
"""


@pytest.mark.parametrize(
    ("tests", "culprits", "code", "named", "told"),
    [
        (BROKEN, "report", 5, ["b 1.1.0"], "b 1.1.0 breaks the update: the tests failed with it"),
        (FAILS_THREE_TIMES, "hold", 5, [], "the tests both fail and pass with the same packages"),
        (FAILS_ONCE, "hold", 0, [], "failed once, and passed when repeated"),
    ],
    ids=["report", "fails three times", "fails once"],
)
def test_nothing_is_held_back(
    make_site: SiteFactory, tests: str, culprits: str, code: int, named: list[str], told: str
) -> None:
    site = adopted(make_site, *"abc", files={"site_tests.py": tests}, settings={"culprits": culprits})
    publish(site, *"abc", broken="b")
    before = site.snapshot()
    report = site.json("update", check=code)
    assert (site.snapshot() == before) == bool(code)
    assert (report["culprits"], report["on_hold"], site.json("status")["on_hold"]) == (named, [], [])
    assert told in " ".join(report["problems"])
    assert told in " ".join(body(site).split())
    assert len(site.releases()) == 2
    silent(site.releaser("update"))


def full(site: SampleSite, search: str, others: str) -> dict[str, str | None]:
    """Return settings for a uv that does something before it installs for a search, or else for a release."""
    return proxy(
        site, "' sync '", f'case "$UV_PROJECT_ENVIRONMENT" in\n*/.releaser-search) {search} ;;\n*) {others} ;;\nesac'
    )


NO_SPACE = "{ echo 'error: No space left on device' >&2; exit 2; }"


def test_nothing_is_held_back_because_there_is_no_room_to_search(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c")
    publish(site, "a", "b", "c", broken="b")
    report = site.json("update", check=5, env=full(site, NO_SPACE, ":"))
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


@pytest.mark.story
def test_the_next_lower_version_goes_live_the_same_night(make_site: SiteFactory) -> None:
    site = make_site.adopted(packages={"a": "4.2.1", "b": "1.0.0"}, files={"site_tests.py": RED_FROM_6})
    for version in ("4.2.9", "5.2.1", "5.2.12", "6.0.1"):
        site.publish("a", version)
    site.publish("b", "1.1.0")
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "5.2.12", "b": "1.1.0"}
    assert (held(report), report["culprits"]) == ({"a": "6.0.1"}, ["a 6.0.1"])
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
    report = site.json("update", env=full(site, ":", f"echo >> {count}; [ $(wc -l < {count}) -gt 2 ] && {NO_SPACE}"))
    assert (report["exit_code"], live_versions(site, "ab")) == (0, {"a": "1.0.0", "b": "1.1.0"})
    assert len(site.releases()) == 3
    site.json("update")
    assert live_versions(site, "ab") == {"a": "1.5.0", "b": "1.1.0"}


def test_of_a_search_that_is_cut_off_nothing_undecided_goes_live(make_site: SiteFactory) -> None:
    names = "abcdefgh"
    tests = "def test_shop(packages):\n    assert not any(hasattr(one, 'BROKEN') for one in packages.values())\n"
    site = adopted(make_site, *names, files={"site_tests.py": tests}, settings={"culprit_runs": 6})
    publish(site, *names, broken="cfg")
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
