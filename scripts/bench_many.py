"""Compares a night of 200 small sites on one host: one `releaser update --sites`, and a run for each site."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_figures import BenchError, Cost, Figure, Part, T, Table

from tests.e2e.scenes import from_server
from tests.support.commands import console_script
from tests.support.simple_index import serving
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.simple_index import SimpleIndex
    from tests.support.sites import SampleSite
COUNT = 200
FEW = 16
JOBS = 2
NIGHTS = 3
# The aims.
CPU = f"{COUNT} sites, quiet night: CPU of each site"
MEMORY = f"{COUNT} sites, quiet night: memory of releaser"
QUESTIONS = f"{COUNT} sites, quiet night: questions about each package"
FETCHES = f"{COUNT} sites, quiet night: fetches from the repository of {COUNT // 2}"
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


class Night(NamedTuple):
    """The questions about each package, and the fetches from one repository, of all sites in one quiet night."""

    questions: float
    fetches: int


@dataclass(frozen=True, kw_only=True)
class Host:
    """Many sites of one host, half of them clones of one repository, with one index; nothing is new."""

    model: SampleSite
    sites: list[SampleSite]
    _index: SimpleIndex
    _fetches: Path

    @classmethod
    @contextlib.contextmanager
    def serving(cls, place: Path, count: int) -> Iterator[Host]:
        """Make so many sites, and serve their index during the block; a first night has filled the caches."""
        cache = place / "uv-cache"
        cache.mkdir()
        factory = SiteFactory(place, Templates(place / "templates", cache))
        model = factory.adopted(prepare=without_django, **OPTIONS)
        with serving(model.index.path) as index:
            index.lifetime = "max-age=600"  # as that of PyPI
            from_server(model, index.url, lock=True)
            model.releaser("update", check=0)
            sites = make_crowd(model, place / "crowd", count)
            fetches = make_clones(sites[: count // 2])
            run_night(sites, JOBS)  # fills the caches
            yield cls(model=model, sites=sites, _index=index, _fetches=fetches)

    def count(self, act: Callable[[], T]) -> tuple[T, Night]:
        """Return what `act` returns, and what the sites asked and fetched in that night."""
        self._index.asked.clear()
        self._fetches.write_text("", encoding="utf-8")
        found = act()
        questions = len(self._index.asked) / max(1, len({*self._index.asked}))
        return found, Night(questions, len(self._fetches.read_text(encoding="utf-8").splitlines()))


def compare_many_sites(place: Path) -> Part:
    """Measure a night in which nothing is new, and one in which one package is, for all sites."""
    with Host.serving(place, COUNT) as host:
        few = host.sites[COUNT // 2 :][:FEW]
        peak, night = host.count(lambda: measure_memory_of_night(host.sites))
        quiet = tuple(run_night(host.sites, JOBS) for _ in range(NIGHTS))
        alone = run_nights(few)
        busy = run_nights(few, lambda night: host.model.publish("alpha", f"1.{night}.0"))
    all_sites = Figure(name=f"releaser, {JOBS} at once", costs=quiet)
    tables = (
        Table(title=f"{COUNT} sites, {COUNT // 2} of one repository, nothing new", figures=(all_sites,)),
        Table(title=f"{FEW} sites, nothing new", figures=alone),
        Table(title=f"{FEW} sites, one new package", figures=busy),
    )
    found = {
        CPU: all_sites.median("cpu") / COUNT,
        MEMORY: peak / 1e6,
        QUESTIONS: night.questions,
        FETCHES: night.fetches,
    }
    note = "Memory is the proportional set size of all processes of releaser (proc(5)), with one site at a time."
    return Part(title="Many sites", tables=tables, found=found, notes=(note,))


def make_clones(sites: Sequence[SampleSite]) -> Path:
    """Let sites be clones of the repository of the first, and return the file with a line for each fetch from it."""
    script, lines = sites[0].outer.parent.parent / "upload-pack", sites[0].outer.parent.parent / "fetches"
    lines.touch()
    script.write_text(f'#!/bin/sh\necho >>{lines}\nexec git-upload-pack "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    for site in sites:
        site.git("remote", "set-url", "origin", sites[0].remote)
        site.git("config", "remote.origin.uploadpack", script)
    return lines


def measure_memory_of_night(sites: Sequence[SampleSite]) -> int:
    """Return the most bytes that the processes of releaser had during a night, by proportional set size.

    Those that are about to become another program share all their pages, and would be counted while these move.
    """
    words, own, most = update_words(sites, 1), os.path.realpath(sys.executable), 0
    with subprocess.Popen(words, cwd="/", env=crowd_environment(sites[0]), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            earlier = {*_descendants(process.pid, own)}
            time.sleep(0.1)
            most = max(most, sum(map(_memory_of, earlier.intersection(_descendants(process.pid, own)))))
    if process.returncode:
        message = f"{words} ended with status {process.returncode}"
        raise BenchError(message)
    return most


def _descendants(pid: int, program: str) -> Iterator[int]:
    """Yield a process and those below it that run a program, without those that other programs start."""
    try:
        if os.path.realpath(f"/proc/{pid}/exe") != program:
            return
        yield pid
        below = " ".join(one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return
    for child in map(int, below.split()):
        yield from _descendants(child, program)


def _memory_of(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def run_nights(sites: Sequence[SampleSite], begin: Callable[[int], object] = lambda _: None) -> tuple[Figure, ...]:
    """Measure some nights: the first half of some sites with a run for each, and the other in one run, in turns.

    `begin` comes before each night.
    """
    half = len(sites) // 2
    crowds = {0: sites[:half], JOBS: sites[half:]}
    costs: dict[int, list[Cost]] = {jobs: [] for jobs in crowds}
    for night in range(1, NIGHTS + 1):
        begin(night)
        for jobs, each in crowds.items():
            costs[jobs].append(run_night(each, jobs))
    return tuple(
        Figure(name=f"{half} sites, {jobs} at once" if jobs else f"{half} sites, a run for each", costs=tuple(each))
        for jobs, each in costs.items()
    )


def update_words(sites: Sequence[SampleSite], jobs: int) -> list[str]:
    """Return the command that updates all in one run."""
    file = write_sites(sites[0].outer.parent.parent / "sites.toml", sites)
    return [str(console_script()), "update", "--quiet", "--sites", str(file), "--jobs", str(jobs)]


def run_night(sites: Sequence[SampleSite], jobs: int) -> Cost:
    """Update all in one run with so many `jobs`, or, with none, each by itself; return the seconds of wall and CPU."""
    releaser = str(console_script())
    commands = [[releaser, "update", "--quiet", "--project", str(one.path)] for one in sites]
    if jobs:
        commands = [update_words(sites, jobs)]
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
