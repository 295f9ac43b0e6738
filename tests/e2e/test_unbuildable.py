"""Upgrades that cannot be built: the others come in without them."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import SECONDS, body, silent, states
from tests.e2e.test_culprits import adopted, held, live_versions, passed_whole, publish
from tests.support.commands import console_script
from tests.support.wheels import write_sdist

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory


BUILD = '[build-system]\nrequires = []\nbuild-backend = "nope"\nbackend-path = ["."]\n'


def publish_unbuildable(site: SampleSite, name: str, version: str = "1.1.0") -> None:
    """Offer a version as source alone, of which the build fails."""
    files = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n{BUILD}',
        "nope.py": "raise ImportError('there is no compiler')\n",
    }
    write_sdist(site.index.path, name, version, files)


def test_what_cannot_be_built_is_held_back_and_the_others_go_live(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", "c", "d")
    publish(site, "a", "c", "d", broken=("d",))
    publish_unbuildable(site, "b")
    report = site.json("update")
    assert live_versions(site, "abcd") == {"a": "1.1.0", "b": "1.0.0", "c": "1.1.0", "d": "1.0.0"}
    assert passed_whole(site)
    assert held(report) == {"b": "1.1.0", "d": "1.1.0"}
    assert "b 1.1.0: it cannot be built: ImportError: there is no compiler" in body(site)
    assert list(states(site).values()) == ["live", "failed", "good"]
    assert len(list((site.state_dir / "releases").iterdir())) == 3
    silent(site.releaser("update"))


def test_if_there_is_nothing_else_the_failure_is_told_once(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b")
    publish_unbuildable(site, "b")
    before = site.snapshot()
    assert held(site.json("update", check=4)) == {"b": "1.1.0"}
    assert site.snapshot() == before
    assert len(list((site.state_dir / "releases").iterdir())) == 1
    silent(site.releaser("update"))


def test_without_a_release_to_compare_with_nothing_counts_as_changed(make_site: SiteFactory) -> None:
    site = make_site(packages={"a": "1.0.0", "b": "1.0.0"})
    publish(site, "a")
    publish_unbuildable(site, "b")
    report = site.json("update")
    assert live_versions(site, "ab") == {"a": "1.1.0", "b": "1.0.0"}
    assert (held(report), report["changes"]) == ({"b": "1.1.0"}, [])


def test_if_nothing_is_to_be_held_the_failure_is_told(make_site: SiteFactory) -> None:
    site = adopted(make_site, "a", "b", settings={"culprits": "report"})
    publish(site, "a")
    publish_unbuildable(site, "b")
    assert held(site.json("update", check=4)) == {}


# With `test_jobs = 2`, a search for what breaks the tests runs them twice at once


NAMES = tuple("abcdefghij")  # more than are divided by one trial at a time
# Notes when and where it runs; with some of the upgrades, it takes a while.
TESTS = """\
import json, os, pathlib, time
def test_shop(packages):
    began = time.time()
    versions = {one.__version__ for name, one in packages.items() if len(name) == 1}
    time.sleep(float(pathlib.Path("../../seconds").read_text()) if len(versions) > 1 else 0)
    with pathlib.Path("../../notes.jsonl").open("a") as notes:
        notes.write(json.dumps([began, time.time(), os.getcwd()]) + "\\n")
    assert not any(getattr(one, "BROKEN", None) for one in packages.values())
"""


def noted(site: SampleSite) -> list[tuple[float, float, str]]:
    file = site.outer.parent / "notes.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return sorted(tuple(json.loads(line)) for line in lines)


def searching(make_site: SiteFactory, seconds: float, **settings: object) -> SampleSite:
    site = adopted(make_site, *NAMES, files={"site_tests.py": TESTS}, settings=settings)
    (site.outer.parent / "seconds").write_text(str(seconds), encoding="utf-8")
    publish(site, *NAMES, broken=("g",))
    return site


def test_two_parts_are_tried_at_once_in_trees_of_their_own(make_site: SiteFactory) -> None:
    site = searching(make_site, 0.7, test_jobs=2)
    report = site.json("update")
    assert held(report) == {"g": "1.1.0"}
    assert live_versions(site, NAMES) == dict.fromkeys(NAMES, "1.1.0") | {"g": "1.0.0"}
    overlapping = [(one, two) for one, two in itertools.pairwise(noted(site)) if two[0] < one[1]]
    assert overlapping
    assert all(one[2] != two[2] for one, two in overlapping)
    assert trees(site) == []


def trees(site: SampleSite) -> list[Path]:
    return list(site.outer.glob(".site.releaser-staging*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_neither_is_left_when_the_search_is_ended(make_site: SiteFactory, number: signal.Signals) -> None:
    site = searching(make_site, 30, test_jobs=2)
    words = [str(console_script()), "update", "--project", str(site.path)]
    with subprocess.Popen(words, env=site.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(under_way(site)) == 2)
        began = time.monotonic()
        process.send_signal(number)
        process.wait(SECONDS)
    assert time.monotonic() - began < 20
    wait_until(lambda: not under_way(site))
    assert site.releaser("prune").returncode == 0
    assert trees(site) == []
    assert site.live_version("a") == "1.0.0"


def under_way(site: SampleSite) -> list[str]:
    """Return the processes of the search that run the tests."""
    found = subprocess.run(["pgrep", "-f", f"^{site.outer}/.*search.*manage.py test"], capture_output=True, text=True)
    return found.stdout.split()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
