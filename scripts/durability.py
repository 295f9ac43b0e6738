"""What `make durability` prints: what it costs that a power cut does no harm, on the disk at hand.

The flip is measured with its syncs, for releases that are on the disk already; the seal of a venv of sixty packages
beside the time in which releaser built it. The packages come from a directory, so that no network is in it, and are
made of the modules of the standard library, so that they take as long to copy and to compile as real ones.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from releaser.releases.journal import Entry, Journal
from releaser.releases.release import flip
from releaser.system.files import sync_file_system
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.sites import SampleSite

PACKAGES = 60
FILES = 100  # of a package
FLIP_GOAL = 10.0  # ms
SEAL_GOAL = 5.0  # per cent of the build
_LEFT_OUT = ("test", "tests", "lib2to3", "idlelib", "site-packages", "turtledemo")


def modules(package: str, source: Iterator[Path]) -> Mapping[str, str]:
    """Return the files of a package, taken from those of the standard library in turn."""
    found = {f"{package}/__init__.py": '__version__ = "1.1.0"\n'}
    for number, path in enumerate(itertools.islice(source, FILES)):
        found[f"{package}/part{number // 10}/{path.stem}_{number}.py"] = path.read_text(encoding="utf-8")
    return found


def standard_library() -> Iterator[Path]:
    """Give the modules of the standard library, again and again."""
    top = Path(sysconfig.get_path("stdlib"))
    paths = sorted(path for path in top.rglob("*.py") if not set(path.relative_to(top).parts) & set(_LEFT_OUT))
    return itertools.cycle(paths)


def make_site(place: Path) -> SampleSite:
    """Make an adopted site of small packages, of each of which a newer, big version is there."""
    cache = place / "uv-cache"
    cache.mkdir()
    names = [f"package{number}" for number in range(PACKAGES)]
    site = SiteFactory(place, Templates(place / "templates", cache))(
        venv=True, packages=dict.fromkeys(names, "1.0.0"), settings={"keep": 1, "keep_within": "0d"}
    )
    site.releaser("init", check=0)
    source = standard_library()
    for name in names:
        site.index.publish(name, "1.1.0", modules=modules(name, source))
    return site


def measure_seal(site: SampleSite, times: int) -> None:
    """Build releases and seal them, and print the part that the seal takes."""
    print(f"{'median of ' + str(times):<34}{'build':>12}{'seal':>12}{'part':>9}")
    rows = []
    for number in range(times + 1):
        site.publish("package0", f"2.{number}.0")
        report = site.json("update")
        rows.append((seconds(report, "build"), seconds(report, "seal")))
    venv = site.link.resolve()
    files = [path for path in venv.rglob("*") if path.is_file() and not path.is_symlink()]
    say_seal("cache of uv empty", rows[:1])
    say_seal("cache of uv filled", rows[1:])
    print(f"{'at most, as aimed at':<58}{SEAL_GOAL:>7.1f} %")
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{PACKAGES} packages, {len(files)} files, {size:.0f} MB\n")


def say_seal(name: str, rows: Sequence[tuple[float, float]]) -> None:
    """Print the medians of some builds and seals."""
    build, seal = (statistics.median(column) for column in zip(*rows, strict=True))
    print(f"{name:<34}{build:>10.2f} s{seal:>10.3f} s{100 * seal / build:>7.1f} %", flush=True)


def seconds(report: Mapping[str, Any], name: str) -> float:
    """Return how long a step of a run took."""
    return float(next(step["seconds"] for step in report["steps"] if step["step"] == name))


def measure_flip(site: SampleSite, times: int) -> None:
    """Flip between two releases, and print what that takes."""
    venvs = [Path(row["path"]) for row in site.json("list")[:2]]
    journal = Journal(state_dir=site.state_dir)
    entry = Entry(command="update", run_id="none", phase="committing", actions={}, release=venvs[0].parent.name)

    def plain(venv: Path) -> None:
        sync_file_system(venv)
        flip(site.link, venv, staging=site.state_dir)

    def journaled(venv: Path) -> None:
        journal.write(entry)
        plain(venv)

    print(f"{'of ' + str(times):<34}{'median':>12}{'longest':>12}")
    say_flip("flip with its syncs", plain, venvs, times)
    say_flip("with the journal before it", journaled, venvs, times)
    print(f"{'at most, as aimed at':<34}{FLIP_GOAL:>9.1f} ms")
    journal.drop()


def say_flip(name: str, act: Callable[[Path], None], venvs: Sequence[Path], times: int) -> None:
    """Do something with each venv in turn, and print how long it took."""
    os.sync()
    act(venvs[0])
    taken = []
    for _, venv in zip(range(times), itertools.cycle(venvs), strict=False):
        began = time.perf_counter()
        act(venv)
        taken.append((time.perf_counter() - began) * 1000)
    print(f"{name:<34}{statistics.median(taken):>9.2f} ms{max(taken):>9.2f} ms", flush=True)


def main() -> None:
    """Measure, and print tables; nothing is judged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="how often is flipped")
    parser.add_argument("--builds", type=int, default=3, help="how many releases are built, beside the first one")
    parser.add_argument("--place", default=tempfile.gettempdir(), help="a directory on the disk to be measured")
    options = parser.parse_args()
    words = ["findmnt", "--noheadings", "--output", "FSTYPE,SOURCE", "--target", options.place]
    where = subprocess.run(words, check=False, capture_output=True, text=True).stdout.strip()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, {where}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="releaser-durability-", dir=options.place) as name:
        site = make_site(Path(name))
        measure_seal(site, options.builds)
        measure_flip(site, options.times)


if __name__ == "__main__":
    main()
