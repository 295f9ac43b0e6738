"""What fifty small sites on one host cost in a night: one `releaser update --sites` beside a run for each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_figures import BenchError, Cost, Figure, Part, Table

from tests.support.commands import console_script
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.sites import SampleSite

COUNT = 50
FEW = 8
NIGHTS = 3
_TESTS = """\
from unittest import TestCase

class Site(TestCase):
    def test_packages(self):
        import alpha, beta
"""

TESTS = "test_site.py"
# Of the site that is copied, beside `prepare=without_django`.
OPTIONS: Mapping[str, Any] = {
    "settings": {"test_command": ["python", "-m", "unittest", TESTS], "restart": "none"},
    "files": {TESTS: _TESTS},
}


def without_django(site: SampleSite) -> None:
    """Let nothing of a site remain but a test: that is what is quick."""
    site.git("rm", "--quiet", "manage.py", "site_settings.py")
    site.git("commit", "--quiet", "--message", "Do without Django")
    site.push()
    site.releaser("update", check=0)


def make_crowd(site: SampleSite, base: Path, count: int) -> list[SampleSite]:
    """Copy an adopted site so often; what `site` offers from then on, it offers to all."""
    sites = [site.copy(base / f"{number:02}") for number in range(count)]
    for one in sites:
        shutil.rmtree(one.index.path)
        one.index.path.symlink_to(site.index.path)
        one.write_dotenv()
    return sites


def crowd_environment(site: SampleSite) -> dict[str, str]:
    """Return the environment of one that is for all: nobody records what is run."""
    return site.environment({"SAMPLE_SITE_RUNS": None})


def write_sites(file: Path, sites: Sequence[SampleSite], *, first: Sequence[SampleSite] = (), more: str = "") -> Path:
    """Name these sites in a file; `more` stands before all of them."""
    entries = "".join(f'[[site]]\npath = "{site.path}"\n' for site in sites)
    file.write_text(f"first = {json.dumps([str(one.path) for one in first])}\n{more}\n{entries}", encoding="utf-8")
    return file


def compare_many_sites(place: Path) -> Part:
    """Measure a night in which nothing is new, and one in which one package is, for all sites."""
    cache = place / "uv-cache"
    cache.mkdir()
    model = SiteFactory(place, Templates(place / "templates", cache)).adopted(prepare=without_django, **OPTIONS)
    crowds = {jobs: make_crowd(model, place / f"crowd{jobs}", COUNT) for jobs in (0, 2)}
    quiet = run_nights(crowds)
    few = {jobs: sites[:FEW] for jobs, sites in crowds.items()}
    busy = run_nights(few, lambda night: model.publish("alpha", f"1.{night}.0"))
    tables = (
        Table(title=f"{COUNT} sites, nothing new", figures=quiet),
        Table(title=f"{FEW} sites, one new package", figures=busy),
    )
    cpu = max(one.median("cpu") for one in quiet) / COUNT
    return Part(title="Many sites", tables=tables, found={f"{COUNT} sites, quiet night: CPU of each site": cpu})


def run_nights(
    crowds: Mapping[int, Sequence[SampleSite]], begin: Callable[[int], object] = lambda _: None
) -> tuple[Figure, ...]:
    """Measure some nights, in each of which every crowd has its turn; `begin` comes before each."""
    costs: dict[int, list[Cost]] = {jobs: [] for jobs in crowds}
    for night in range(1, NIGHTS + 1):
        begin(night)
        for jobs, sites in crowds.items():
            costs[jobs].append(run_night(sites, jobs))
    return tuple(
        Figure(name=f"releaser, {jobs} at once" if jobs else "a run for each", costs=tuple(each))
        for jobs, each in costs.items()
    )


def run_night(sites: Sequence[SampleSite], jobs: int) -> Cost:
    """Update all in one run with so many `jobs`, or, with none, each by itself; return the seconds of wall and CPU."""
    releaser = str(console_script())
    commands = [[releaser, "update", "--quiet", "--project", str(one.path)] for one in sites]
    if jobs:
        file = write_sites(sites[0].outer.parent.parent / "sites.toml", sites)
        commands = [[releaser, "update", "--quiet", "--sites", str(file), "--jobs", str(jobs)]]
    began, before = time.perf_counter(), os.times()
    for command in commands:
        done = subprocess.run(
            command, cwd="/", env=crowd_environment(sites[0]), capture_output=True, text=True, check=False
        )
        if done.returncode:
            message = f"{command} ended with status {done.returncode}: {done.stdout} {done.stderr}"
            raise BenchError(message)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall=time.perf_counter() - began, cpu=cpu)
