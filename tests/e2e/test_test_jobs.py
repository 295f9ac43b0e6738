"""With `test_jobs = 2`, a search for what breaks the tests runs them twice at once."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.scenes import SECONDS
from tests.e2e.test_culprits import adopted, held, live_versions, publish
from tests.support.commands import console_script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.sites import SampleSite, SiteFactory

NAMES = tuple("abcdefghij")
# Notes when and where it runs; with some of the upgrades, it takes a while.
TESTS = """\
import json, os, pathlib, time
def test_shop(packages):
    began = time.time()
    versions = {{one.__version__ for name, one in packages.items() if len(name) == 1}}
    time.sleep({seconds} if len(versions) > 1 else 0)
    with pathlib.Path("../../notes.jsonl").open("a") as notes:
        notes.write(json.dumps([began, time.time(), os.getcwd()]) + "\\n")
    assert not any(getattr(one, "BROKEN", None) for one in packages.values())
"""


def noted(site: SampleSite) -> list[tuple[float, float, str]]:
    file = site.outer.parent / "notes.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return sorted(tuple(json.loads(line)) for line in lines)


def searching(make_site: SiteFactory, seconds: float, **settings: object) -> SampleSite:
    site = adopted(make_site, *NAMES, files={"site_tests.py": TESTS.format(seconds=seconds)}, settings=settings)
    publish(site, *NAMES, broken=("g",))
    return site


def test_two_parts_are_tried_at_once_in_trees_of_their_own(make_site: SiteFactory) -> None:
    site = searching(make_site, 1.5, test_jobs=2)
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
    found = subprocess.run(["pgrep", "-f", f"{site.outer}/.*search.*manage.py test"], capture_output=True, text=True)
    return found.stdout.split()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
