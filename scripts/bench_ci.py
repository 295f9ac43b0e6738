"""The small bench that CI runs: figures of releaser, none of which may become worse than committed.

Each program runs beside its peer in turn, and CPU time counts, of it and all that it started: other work on the machine
changes that far less than wall time, and both in like manner. What seems worse is measured again before it counts.
Bytes, programs, questions and fetches are exact; memory is that of releaser's own process.
`--write` commits to what is found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_commands import own_memory
from bench_figures import BenchError, Program, measure, say
from bench_many import JOBS, Host, crowd_environment, run_night, update_words
from bench_sites import NAMES, RELEASES, make_big_site, make_site, make_starter, publish_one
from bench_updates import DISKS, REAL_FUNCTIONS, Updates, disk_of_newest, dry_run, file_system
from measure import profile_update

from tests.support.commands import console_script, uv_executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.sites import SampleSite

COMMITTED = Path(__file__).with_name("bench-ci.json")
AGAIN = 1  # more times at most: the best of several would hide what is worse
TURNS = 2  # of what takes seconds
PACKAGES = 16  # of the site whose updates are compared, each as large as in `make bench`; with few, all is overhead
BUILT = TURNS + 1  # releases of these updates: that which warms up makes one, too
SITES = 10
REFLINKS = "XFS with reflinks"
ROOM = 2_000_000_000  # bytes
NEXT = "Make it as good as before. If it is worth its price: `make bench-ci ARGS=--write`, and say why in the commit."


@dataclass(frozen=True, kw_only=True)
class Held:
    """A figure that may grow to `limit` times the committed one."""

    name: str
    unit: str
    limit: float = 1.25

    def problem(self, found: float, committed: Mapping[str, float]) -> str:
        """Return what is wrong with a figure and what to do; empty if nothing is."""
        if self.name not in committed:
            return f"{self.name}: {found:.2f} {self.unit}, but none is committed: `make bench-ci ARGS=--write`"
        best = committed[self.name]
        if found <= best * self.limit:
            return ""
        return (
            f"{self.name}: {found:.2f} {self.unit}, committed is {best:.2f}, and at most {best * self.limit:.2f} is"
            f" allowed. {NEXT}"
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Figures that are found together."""

    held: Sequence[Held]
    #: Returns the figures, in the order of `held`.
    find: Callable[[], Sequence[float]]
    #: Counts and bytes are the same each time, and are not measured twice.
    is_exact: bool = False
    #: Not every machine can.
    is_optional: bool = False


def ratio(name: str, program: Program, peer: Program, turns: int, *, warm: bool = True) -> Measurement:
    """Hold the median of the ratios of CPU time."""

    def find() -> Sequence[float]:
        own, other = measure([program, peer], turns, warm=warm)
        return [own.times(other, "cpu")]

    return Measurement(held=[Held(name=name, unit=f"times {peer.name}")], find=find)


def measurements(place: Path) -> Iterator[Measurement]:
    """Yield all; what one needs is there until the next one is asked for."""
    yield from of_small_site(place / "small")
    yield from of_updates(place / "updates")
    yield from of_many_sites(place / "many")


def of_small_site(place: Path) -> Iterator[Measurement]:
    """Yield what a site with few packages shows: commands, a quiet night, and rollbacks."""
    site = make_site(place)
    releaser, uv, names = console_script(), uv_executable(), site.releases()[-2:]
    checkout = site.outer / "in-place"
    site.git("clone", "--quiet", site.remote, checkout)
    (checkout / "older.lock").write_bytes((site.state_dir / "releases" / names[0] / "uv.lock").read_bytes())
    (checkout / "newer.lock").write_bytes((site.state_dir / "releases" / names[1] / "uv.lock").read_bytes())
    in_place = {**site.env, "UV_PROJECT_ENVIRONMENT": str(checkout / ".venv")}

    def rollback(turn: int) -> list[str | Path]:
        return [releaser, "rollback", names[turn % 2]]

    def sync(turn: int) -> list[str | Path]:
        lock = ("older.lock", "newer.lock")[turn % 2]
        return ["sh", "-c", 'cp "$1" uv.lock && "$2" sync --quiet --frozen --compile-bytecode', "sh", lock, uv]

    def own(name: str, *words: str | Path) -> Program:
        return Program(name=name, words=[releaser, *words], cwd=site.path, env=site.env)

    start = Program(name="python -c pass", words=[sys.executable, "-c", "pass"], cwd=site.path, env=site.env)
    python = site.link.resolve() / "bin" / "python"
    live = Program(name="the program itself", words=[python, "-c", "pass"], cwd=site.path, env=site.env)
    refresh = ("exec", "--refresh", "daily", "--wait", "60s", "--", "python", "-c", "pass")
    yield ratio("--version", own("--version", "--version"), start, 9)
    yield ratio(f"list, {RELEASES} releases", own("list", "list"), start, 9)
    yield ratio("exec, nothing due", own("exec", *refresh), start, 9)
    yield ratio("starter, nothing due", make_starter(site, run="python -c pass"), live, 9)
    yield ratio("update, nothing newer", own("update", "update"), dry_run(site, site.path), 5)
    yield Measurement(
        held=[Held(name="programs that releaser starts, nothing newer", unit="programs", limit=1)],
        find=lambda: [profile_update(site, place / "profile")["programs"]],
        is_exact=True,
    )
    yield Measurement(
        held=[Held(name="memory, nothing newer", unit="MB", limit=1.1)],
        find=lambda: [own_memory(site, ["update"], place / "memory", {})],
    )
    yield ratio(
        "rollback",
        Program(name="rollback", words=rollback, cwd=site.path, env=site.env),
        Program(name="uv sync in place", words=sync, cwd=checkout, env=in_place),
        5,
    )


def of_updates(place: Path) -> Iterator[Measurement]:
    """Yield what an update of one package of several takes, and its releases on disk."""
    site = make_big_site(place / "site", functions=REAL_FUNCTIONS, packages=PACKAGES)
    site.write_dotenv({"RELEASER_SHARE_FILES": "always", "ADMINS_JSON": None})
    steps, own = Updates(site, place, packages=PACKAGES).programs(1)

    def find() -> Sequence[float]:
        bare, update = measure([steps, own], TURNS)
        return [update.times(bare, "cpu")]

    yield Measurement(held=[Held(name=f"update of 1 of {PACKAGES} packages", unit=f"times {steps.name}")], find=find)
    yield Measurement(
        held=[Held(name=f"disk of {BUILT} releases with 1 of {PACKAGES} packages new", unit="times one", limit=1.02)],
        find=lambda: [bytes_of(site.releases()[-BUILT:], site) / bytes_of(site.releases()[-1:], site)],
        is_exact=True,
    )
    yield Measurement(
        held=[Held(name=f"the same by reflinks, {REFLINKS}", unit="times one", limit=1.05)],
        find=partial(disk_by_reflinks, site, place / "reflinks"),
        is_exact=True,
        is_optional=True,
    )


def bytes_of(releases: Sequence[str], site: SampleSite) -> int:
    """Return the bytes of all files of some releases; of one with several names, once."""
    places = (site.state_dir / "releases" / name for name in releases)
    found = (file.lstat() for place in places for file in place.rglob("*") if file.is_symlink() or file.is_file())
    return sum({(one.st_dev, one.st_ino): one.st_size for one in found}.values())


def disk_by_reflinks(site: SampleSite, place: Path) -> Sequence[float]:
    """Make releases on a file system that shares blocks; BenchError if there can be none here."""
    kind, options, _ = DISKS[REFLINKS]
    with file_system(place, kind, options) as mounted:
        copied = site.copy(mounted)
        copied.write_dotenv({"RELEASER_KEEP": str(2 * BUILT + 2), "ADMINS_JSON": None})
        for number in range(BUILT):
            publish_one(copied, NAMES[0], f"{100 + number}.0", functions=REAL_FUNCTIONS)
            copied.releaser("update", check=0)
        one, all_of_them = disk_of_newest(copied, mounted, BUILT)
    return [all_of_them / one]


def of_many_sites(place: Path) -> Iterator[Measurement]:
    """Yield what a quiet night of several sites takes, and what of it they have in common."""
    place.mkdir()
    with Host.serving(place, SITES) as host:
        env = crowd_environment(host.sites[0])
        words = 'uv=$1; shift; for site; do "$uv" lock --upgrade --dry-run --project "$site" || exit; done'
        peer = Program(
            name="uv lock --upgrade --dry-run for each", cwd=place, env=env,
            words=["sh", "-c", words, "sh", uv_executable(), *(site.path for site in host.sites)],
        )  # fmt: skip
        own = Program(name="night", words=update_words(host.sites, JOBS), cwd=place, env=env)
        yield ratio(f"quiet night of {SITES} sites", own, peer, TURNS, warm=False)

        def find() -> Sequence[float]:
            return host.count(lambda: run_night(host.sites, JOBS))[1]

        yield Measurement(
            held=[
                Held(name=f"questions about each package, {SITES} sites", unit="questions", limit=1),
                Held(name=f"fetches from the repository of {SITES // 2} sites", unit="fetches", limit=1),
            ],
            find=find,
            is_exact=True,
        )


def run(measurement: Measurement, committed: Mapping[str, float]) -> Mapping[Held, float]:
    """Return the figures; what seems worse and may differ from run to run is measured again."""
    found = measurement.find()
    for _ in range(0 if measurement.is_exact else AGAIN):
        pairs = zip(measurement.held, found, strict=True)
        worse = [held.name for held, value in pairs if held.name in committed and held.problem(value, committed)]
        if not worse:
            break
        say(f"{', '.join(worse)} seems worse, so it is measured again")
        found = [*map(min, found, measurement.find())]
    return dict(zip(measurement.held, found, strict=True))


def measure_all(place: Path, committed: Mapping[str, float]) -> tuple[Mapping[Held, float], frozenset[Held]]:
    """Return what is found, and what cannot be measured on this machine; nothing is worse if nothing is committed."""
    found, left_out = dict[Held, float](), set[Held]()
    for measurement in measurements(place):
        try:
            values = run(measurement, committed)
        except BenchError as error:
            if not measurement.is_optional:
                raise
            left_out.update(measurement.held)
            say(f"--    {', '.join(held.name for held in measurement.held)}: {error}")
            continue
        for held, value in values.items():
            found[held] = value
            than = f"committed {committed[held.name]:.2f}" if held.name in committed else "none is committed"
            verdict = "ok   " if not committed or not held.problem(value, committed) else "WORSE"
            say(f"{verdict} {held.name}: {value:.2f} {held.unit} ({than})")
    return found, frozenset(left_out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare, and return 1 if something has become worse, or is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the committed figures")
    options = parser.parse_args(arguments)
    committed: dict[str, float] = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.exists() else {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="releaser-bench-", dir=fast_place()) as place:
        found, left_out = measure_all(Path(place), {} if options.write else committed)
    say(f"{len(found)} figures in {time.monotonic() - began:.0f} s")
    kept = {held.name: committed[held.name] for held in left_out if held.name in committed}
    if options.write:
        written = {held.name: round(value, 2) for held, value in found.items()} | kept
        COMMITTED.write_text(f"{json.dumps(written, indent=2)}\n", encoding="utf-8")
        return 0
    missing = committed.keys() - kept.keys() - {held.name for held in found}
    wrong = [problem for held, value in found.items() if (problem := held.problem(value, committed))]
    wrong += [f"{name}: {committed[name]:.2f} is committed, but it is not measured. {NEXT}" for name in sorted(missing)]
    for problem in wrong:
        say(problem)
    return 1 if wrong else 0


def fast_place() -> str | None:
    """Return a directory in memory, if it has room, as the time that a disk takes differs from run to run."""
    place = "/dev/shm"  # noqa: S108 - the directory in it is this program's own
    return place if os.path.isdir(place) and shutil.disk_usage(place).free > ROOM else None


if __name__ == "__main__":
    sys.exit(main())
