"""What fifty small sites on one host cost in a night: one `releaser update --sites` beside a run for each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_figures import BenchError, Cost, Figure, Part, Table

from tests.support.commands import console_script
from tests.support.crowds import OPTIONS, crowd_environment, make_crowd, without_django, write_sites
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.sites import SampleSite

COUNT = 50
FEW = 8
NIGHTS = 3


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
