"""What `make bench` prints: how long releaser takes and how much memory, beside other programs in the same run.

Everything is measured on a small site of its own, whose packages come from a directory, so that no network is in it.
Each figure is the median of many runs; the programs that are compared take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_isolation import compare_isolation, compare_quiet_nights
from bench_many import compare_many_sites

from releaser.releases import startup
from releaser.releases.contents import hash_of, seal_files
from releaser.releases.integrity import find_damage
from releaser.releases.release import MANIFEST, Manifest, Release
from releaser.system.files import read_state
from tests.support.commands import console_script, uv_executable
from tests.support.sites import SiteFactory
from tests.support.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.sites import SampleSite

RELEASES = 5
MANY = 1000  # releases to prune
FILES = 10_000  # of a big release ...
LINES = 1000  # ... and lines of each: some 10 KB, as files of packages mostly have
# Runs releaser, and then writes the most memory that the process itself had, without that of the programs it started
# (which the rusage of a child includes).
OWN_MEMORY = """\
import atexit, re, sys

def note(place):
    with open("/proc/self/status") as status, open(place, "w") as file:
        file.write(re.search(r"VmHWM:\\s+(\\d+) kB", status.read()).group(1))

atexit.register(note, sys.argv.pop())
sys.argv[0] = "releaser"
from releaser.__main__ import main
main()
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run, or the median of several, took: seconds of wall time, and of CPU with all that it started."""

    wall: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class Program:
    """Something to measure, and where."""

    name: str
    words: Sequence[str | Path]
    cwd: Path
    env: Mapping[str, str]

    def run(self) -> Cost:
        """Run it once; it must end well."""
        began = time.perf_counter()
        with subprocess.Popen(
            self.words, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{self.name} ended with status {process.returncode}")
        return Cost(wall=wall, cpu=used.ru_utime + used.ru_stime)


def measure(programs: Sequence[Program], times: int) -> list[Cost]:
    """Run the programs in turns, and return the median cost of each."""
    for program in programs:
        program.run()  # fills the caches of the disk
    rounds = [[program.run() for program in programs] for _ in range(times)]
    return [median(costs) for costs in zip(*rounds, strict=True)]


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each figure."""
    return Cost(
        wall=statistics.median(cost.wall for cost in costs),
        cpu=statistics.median(cost.cpu for cost in costs),
    )


def make_site(place: Path) -> SampleSite:
    """Make a site with five releases and nothing to update."""
    cache = place / "uv-cache"
    cache.mkdir()
    site = SiteFactory(place, Templates(place / "templates", cache))(venv=True)
    site.releaser("init", check=0)
    for number in range(1, RELEASES):
        site.publish("alpha", f"1.{number}.0")
        site.releaser("update", check=0)
    return site


def compare_short_answers(site: SampleSite, times: int) -> None:
    """Compare the answers that people wait for with the start of Python."""
    releaser = console_script()
    programs = [
        Program(name="python -c pass", words=[sys.executable, "-c", "pass"], cwd=site.path, env=site.env),
        Program(name="releaser --version", words=[releaser, "--version"], cwd=site.path, env=site.env),
        Program(name=f"releaser list, {RELEASES} releases", words=[releaser, "list"], cwd=site.path, env=site.env),
    ]
    costs = measure(programs, times)
    base = costs[0]
    say_header("times the first")
    for program, cost in zip(programs, costs, strict=True):
        say_row(program.name, cost, f"{cost.wall / base.wall:5.2f}", f"{cost.cpu / base.cpu:5.2f}")
    print(f"{'at most, as aimed at: --version':<34}{'':>22}{2.5:>9.2f}{2.5:>10.2f}")
    print(f"{'at most, as aimed at: list':<34}{'':>22}{8:>9.2f}{8:>10.2f}\n")


def compare_program_starts(site: SampleSite, times: int) -> None:
    """Compare the start of a program by releaser, with nothing due, with that of the program itself."""
    releaser = console_script()
    program: list[str | Path] = ["python", "-c", "pass"]
    live = site.link.resolve() / "bin" / "python"
    refreshing: list[str | Path] = [releaser, "exec", "--refresh", "daily", "--wait", "60s", "--"]
    set_elsewhere = {**site.env, "RELEASER_VENV": ".venv"}
    programs = [
        Program(name="python -c pass", words=[sys.executable, "-c", "pass"], cwd=site.path, env=site.env),
        Program(name="the program itself", words=[live, "-c", "pass"], cwd=site.path, env=site.env),
        Program(name="releaser run", words=[releaser, "run", *program], cwd=site.path, env=site.env),
        Program(name="exec --refresh, nothing due", words=[*refreshing, *program], cwd=site.path, env=site.env),
        Program(name="the same, `venv` is set", words=[*refreshing, *program], cwd=site.path, env=set_elsewhere),
    ]
    costs = measure(programs, times)
    pyproject = site.path / "pyproject.toml"
    plain = pyproject.read_text(encoding="utf-8")
    try:  # lines that only look as if they set something
        pyproject.write_text(f"{plain}\n[tool.other]\nreleaser = ['.venv', '\\.git']\n", encoding="utf-8")
        programs.append(replace(programs[3], name="the same, `.venv` in another table"))
        costs += measure(programs[-1:], times)
    finally:
        pyproject.write_text(plain, encoding="utf-8")
    base, itself, *costs = costs
    say_header("more than the program, in times the first")
    for one, cost in zip(programs, (base, itself, *costs), strict=True):
        wall, cpu = (cost.wall - itself.wall) / base.wall, (cost.cpu - itself.cpu) / base.cpu
        say_row(one.name, cost, f"{wall:5.2f}", f"{cpu:5.2f}")
    print(f"{'at most, as aimed at':<34}{'':>22}{3:>9.2f}{3:>10.2f}\n")


def compare_updates(site: SampleSite, times: int) -> None:
    """Compare an update that finds nothing with what uv needs to find that."""
    uv = Program(
        name="uv lock --upgrade --dry-run",
        words=[uv_executable(), "lock", "--upgrade", "--dry-run"],
        cwd=site.path,
        env=site.env,
    )
    update = Program(
        name="releaser update, nothing new", words=[console_script(), "update"], cwd=site.path, env=site.env
    )
    costs = measure([uv, update], times)
    say_header("more than the first")
    for program, cost in zip((uv, update), costs, strict=True):
        more = (f"{cost.wall - costs[0].wall:6.3f} s", f"{cost.cpu - costs[0].cpu:6.3f} s")
        say_row(program.name, cost, *more)
    print(f"{'at most, as aimed at':<34}{'':>22}{'':>9}{0.3:>8.3f} s\n")


def compare_starts(site: SampleSite, times: int) -> None:
    """Compare the start of a live interpreter with that of the same venv without the start-up module."""
    live = site.link.resolve()
    without = site.outer / "without"
    shutil.copytree(live, without, symlinks=True)
    for hook in without.glob(f"lib/*/site-packages/{startup.HOOK}"):
        hook.unlink()
    link = site.outer / "without-link"
    link.symlink_to(without)
    programs = [
        Program(name=name, words=[venv / "bin" / "python", "-c", "pass"], cwd=site.path, env=site.env)
        for name, venv in (("a venv's Python", link), ("the same, pinned and counted", site.link))
    ]
    costs = measure(programs, times)
    say_header("more than the first")
    for program, cost in zip(programs, costs, strict=True):
        more = (f"{(cost.wall - costs[0].wall) * 1000:6.2f} ms", f"{(cost.cpu - costs[0].cpu) * 1000:6.2f} ms")
        say_row(program.name, cost, *more)
    print(f"{'at most, as aimed at':<34}{'':>22}{1:>6.2f} ms\n")


def compare_pruning(site: SampleSite, place: Path, times: int) -> None:
    """Compare the deletion of many releases, of which there is little but their records, with that of directories."""
    records = place / "records"
    ledger = make_records(site, records)
    plain, releases, kept = place / "plain", site.state_dir / "releases", site.state_dir / "ledger.json"
    before = kept.read_bytes()
    prune: list[str | Path] = [console_script(), "prune"]
    few = {**site.env, "RELEASER_KEEP": str(RELEASES - 1)}
    programs = [
        Program(name=f"rm -r, {MANY:,} directories", words=["rm", "-r", str(plain)], cwd=site.path, env=site.env),
        Program(name="releaser prune, nothing to remove", words=prune, cwd=site.path, env=few),
        Program(name=f"releaser prune, {MANY:,} releases", words=prune, cwd=site.path, env=few),
        Program(name="the same with --dry-run", words=[*prune, "--dry-run"], cwd=site.path, env=few),
    ]
    rounds = []
    for _ in range(times):
        shutil.copytree(records, plain)
        costs = [programs[0].run(), programs[1].run()]
        shutil.copytree(records, releases, dirs_exist_ok=True)
        kept.write_bytes(ledger)
        rehearsed = programs[3].run()
        rounds.append([*costs, programs[2].run(), rehearsed])
        if len(os.listdir(releases)) != RELEASES:
            sys.exit("prune has left what it should have removed, or removed what it should have left")
    kept.write_bytes(before)
    costs = [median(found) for found in zip(*rounds, strict=True)]
    say_header("times the first")
    for program, cost in zip(programs, costs, strict=True):
        say_row(program.name, cost, f"{cost.wall / costs[0].wall:5.2f}", f"{cost.cpu / costs[0].cpu:5.2f}")
    print()


def make_records(site: SampleSite, place: Path) -> bytes:
    """Make many old releases that are like the oldest one except its packages; return the ledger that knows them."""
    oldest = sorted((site.state_dir / "releases").iterdir())[0]
    manifest = json.loads((oldest / "manifest.json").read_bytes())
    ledger = json.loads((site.state_dir / "ledger.json").read_bytes())
    names = []
    for number in range(MANY):
        created = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)
        name = f"{created:%Y%m%dT%H%M%SZ}"
        own = {**manifest, "id": name, "sequence": number - MANY, "created_at": created.isoformat()}
        (place / name / "venv" / "bin").mkdir(parents=True)
        (place / name / "venv" / "bin" / "python").touch()
        (place / name / "venv" / "releaser.lease").write_text("held by whoever uses it\n", encoding="utf-8")
        shutil.copy(oldest / "uv.lock", place / name)
        (place / name / "manifest.json").write_text(json.dumps(own, indent=1), encoding="utf-8")
        names.append(name)
    ledger["marks"] |= dict.fromkeys(names, "good")
    ledger["activations"] = [*names, *ledger["activations"]]
    return json.dumps(ledger).encode()


def compare_looks(site: SampleSite, place: Path, times: int) -> None:
    """Measure the quick look at a release of many files, and compare the whole one with sha256sum over these files."""
    release = make_big_release(site)
    listed = place / "files"
    listed.write_text("".join(f"{path}\n" for path in release.glob("venv/lib/*/site-packages/package*/*.py")))
    manifest = read_state(release / MANIFEST, Manifest) or sys.exit(f"{release} has no manifest")
    sealed = Release(directory=release, manifest=manifest, state="good", pinned=False)
    took = []
    for _ in range(times + 1):
        began = time.perf_counter()
        if damage := find_damage(sealed):
            sys.exit(f"{release.name} is not what was sealed: {damage}")
        took.append(time.perf_counter() - began)
    print(f"{f'quick look, {FILES:,} files':<34}{statistics.median(took[1:]) * 1000:>8.1f} ms")
    print(f"{'at most, as aimed at':<34}{300:>8.1f} ms\n")
    sums = Program(
        name=f"sha256sum, {FILES:,} files", words=["xargs", "-a", str(listed), "sha256sum"], cwd=place, env=site.env
    )
    verify: list[str | Path] = [console_script(), "verify", release.name]
    programs = [sums, Program(name="releaser verify", words=verify, cwd=site.path, env=site.env)]
    costs = measure(programs, times)
    say_header("times the first")
    for program, cost in zip(programs, costs, strict=True):
        say_row(program.name, cost, f"{cost.wall / costs[0].wall:5.2f}", f"{cost.cpu / costs[0].cpu:5.2f}")
    print(f"{'at most, as aimed at':<34}{'':>22}{2:>9.2f}\n")
    shutil.rmtree(release)


def make_big_release(site: SampleSite) -> Path:
    """Copy the live release, put many files of the usual size into it, and seal it; return its directory."""
    live = site.link.resolve().parent
    release = live.with_name("20200101T000000Z")
    shutil.copytree(live, release, symlinks=True)
    packages = next(release.glob("venv/lib/*/site-packages"))
    for number in range(FILES // 100):
        name, lines = f"package{number}", []
        (packages / name).mkdir()
        for module in range(100):
            text = f"# {number} {module}\n" * LINES
            (packages / name / f"module{module}.py").write_text(text)
            lines.append(
                f"{name}/module{module}.py,{hash_of(str(packages / name / f'module{module}.py'))},{len(text)}\n"
            )
        info = packages / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "RECORD").write_text("".join([*lines, f"{info.name}/RECORD,,\n"]))
    manifest = json.loads((live / "manifest.json").read_bytes())
    own = {"id": release.name, "sequence": 0, "origin": "adopted", "fingerprint": seal_files(str(release))}
    (release / "manifest.json").write_text(json.dumps({**manifest, **own}))
    return release


def measure_memory(site: SampleSite, place: Path) -> None:
    """Measure the most memory that releaser itself takes; the programs that it starts do not count."""
    print(f"{'peak memory of releaser itself':<34}{'MB':>9}")
    note = place / "memory"
    commands = {"--version": ["--version"], "list": ["list"], "update, nothing new": ["update"]}
    for name, words in commands.items():
        print(f"{'releaser ' + name:<34}{own_memory(site, words, note):>9.1f}")
    site.publish("alpha", "2.0.0")
    print(f"{'releaser update, with a mail':<34}{own_memory(site, ['update'], note):>9.1f}")
    print(f"{'at most, as aimed at':<34}{60:>9.1f}")


def own_memory(site: SampleSite, words: Sequence[str], note: Path) -> float:
    """Return the most memory of one run, in MB."""
    command = [sys.executable, "-c", OWN_MEMORY, *words, str(note)]
    Program(name=f"releaser {words[0]}", words=command, cwd=site.path, env=site.env).run()
    return int(note.read_text()) * 1024 / 1e6


def say_header(comparison: str) -> None:
    """Print the header of a table; `comparison` says what its last two columns are."""
    print(f"{'median':<34}{'wall':>11}{'CPU':>11}{'wall':>9}{'CPU':>10}   ({comparison})")


def say_row(name: str, cost: Cost, wall: str, cpu: str) -> None:
    """Print a row of a table."""
    print(f"{name:<34}{cost.wall * 1000:>8.1f} ms{cost.cpu * 1000:>8.1f} ms{wall:>9}{cpu:>10}")


def main() -> None:
    """Measure, and print tables; nothing is judged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="how often each short answer is measured")
    parser.add_argument("--updates", type=int, default=9, help="how often each update is measured")
    parser.add_argument("--starts", type=int, default=200, help="how often each start of Python is measured")

    parser.add_argument("--prunes", type=int, default=7, help="how often many releases are pruned")
    parser.add_argument("--looks", type=int, default=7, help="how often a big release is looked at")
    parser.add_argument("--isolated", type=int, default=15, help="how often tests and builds are run each way")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="releaser-bench-") as name:
        site = make_site(Path(name))
        compare_short_answers(site, options.times)
        compare_program_starts(site, options.times)
        compare_updates(site, options.updates)
        compare_quiet_nights(site, Path(name), options.updates)
        compare_starts(site, options.starts)

        compare_pruning(site, Path(name), options.prunes)
        compare_looks(site, Path(name), options.looks)
        measure_memory(site, Path(name))
        place = Path(name) / "isolation"
        place.mkdir()
        compare_isolation(place, options.isolated)
        place = Path(name) / "many"
        place.mkdir()
        print()
        compare_many_sites(place)


if __name__ == "__main__":
    main()
