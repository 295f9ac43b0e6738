"""What isolation costs: the tests of the demo's site, and the build of a venv, each beside the same without it.

Runs in turns in one process, through releaser's own functions, so that nothing but the step itself is measured; what
its programs use counts. The demo's site needs a package index, unlike the rest of `make bench`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stage import Stage, set_up

from releaser.candidate.install import install
from releaser.candidate.trials import list_trials, run_trial
from releaser.checkout.staging import staging_tree
from releaser.pipelines.preflight import preflight
from releaser.run import silent_log
from releaser.site.site import open_site
from releaser.system.isolation import find_isolation
from tests.support.commands import uv_executable
from tests.support.sites import SiteFactory
from tests.support.templates import Templates
from tests.support.wheels import build_sdist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from releaser.site.site import Site, SiteFacts
    from tests.support.sites import SampleSite

PACKAGES = 60
SOURCES = 5  # of them without a wheel
FILES = 20  # modules of each package, some 4 KB each
KINDS: tuple[Literal["off", "bwrap", "landlock"], ...] = ("off", "bwrap", "landlock")
# Runs releaser, and then writes the seconds of wall time and of CPU that its calls of uv have taken.
OF_UV = """\
import atexit, resource, sys, time
from releaser.system.process import Runner
run, spent = Runner.run, [0.0, 0.0]

def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

def timed(self, argv, **options):
    before = time.perf_counter(), cpu()
    try:
        return run(self, argv, **options)
    finally:
        if str(argv[0]).endswith("/uv"):
            spent[0] += time.perf_counter() - before[0]
            spent[1] += cpu() - before[1]

Runner.run = timed
atexit.register(lambda place: open(place, "w").write(f"{spent[0]} {spent[1]}"), sys.argv.pop())
sys.argv[0] = "releaser"
from releaser.__main__ import main
main()
"""


def cost(action: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of wall time, and of CPU with all programs that it started."""
    before, began = _cpu(), time.perf_counter()
    action()
    return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(name: str, actions: Mapping[str, Callable[[], object]], times: int, begin: Callable[[], object]) -> None:
    """Print the medians of actions that take turns, and those of the ratios to the first within each turn.

    `begin` comes before each of them, and does not count.
    """
    turns = []
    for number in range(times + 1):
        costs = [(begin(), cost(action))[1] for action in actions.values()]
        turns += [costs] if number else []  # the first one fills caches
    say(name, list(actions), turns)
    print(f"{'at most, as aimed at':<34}{'':>22}{1.05:>9.2f}{1.05:>10.2f}\n", flush=True)


def say(name: str, kinds: Sequence[str], turns: Sequence[Sequence[tuple[float, ...]]]) -> None:
    """Print a table: the medians of each kind, and of what it takes beside the first one of the same turn."""
    print(f"{name:<34}{'wall':>11}{'CPU':>11}{'wall':>9}{'CPU':>10}   (times the first of the same turn)")
    for number, kind in enumerate(kinds):
        wall, cpu = (statistics.median(turn[number][which] for turn in turns) for which in (0, 1))
        ratios = [statistics.median(turn[number][which] / turn[0][which] for turn in turns) for which in (0, 1)]
        print(f"  {kind:<32}{wall * 1000:>8.1f} ms{cpu * 1000:>8.1f} ms{ratios[0]:>9.3f}{ratios[1]:>10.3f}")


def ways(staged: Site) -> dict[str, Site]:
    """Return a site as it is with each kind of isolation that works here."""
    found: dict[str, Site] = {}
    for kind in KINDS:
        if kind == "off" or not isinstance(find_isolation(kind, staged.runner), str):
            found[kind] = replace(
                staged,
                settings=replace(staged.settings, isolate=kind),
                runner=replace(staged.runner, remembered={}),
            )
    return found


def compare_tests(place: Path, times: int) -> None:
    """Compare the tests of the demo's site."""
    programs = place / "programs"
    programs.mkdir()
    (programs / "uv").symlink_to(uv_executable())
    stage = Stage(place, os.environ, programs=programs)
    set_up(stage)
    with opened(stage.site, stage.env) as (sites, facts):
        venv = stage.link.resolve()
        trial = list_trials(sites["off"], facts)[-1]

        def run(site: Site) -> None:
            result = run_trial(site, trial, venv, site.project.lock)
            if not result.passed:
                sys.exit(f"the demo's tests do not pass: {result.output}")

        compare("the tests of the demo's site", {kind: _with(run, site) for kind, site in sites.items()}, times, list)


def compare_builds(place: Path, times: int, *, sources: int) -> None:
    """Compare builds of many small packages, some of them from source."""
    names = [f"package{number}" for number in range(PACKAGES)]
    cache = place / "cache"
    cache.mkdir(parents=True)
    site = SiteFactory(place, Templates(place / "templates", cache))(packages=dict.fromkeys(names, "1.0"))
    text = "".join(f"def function{number}(value):\n    return value + {number}\n" for number in range(80))
    for number, name in enumerate(names):
        if number < sources:
            site.withdraw(name, "1.0")
            build_sdist(site.index.path, name, "1.0", mark=Path(os.devnull))
        else:
            site.publish(name, "1.0", modules={f"{name}/m{module}.py": text for module in range(FILES)})
    (site.path / "uv.lock").unlink()
    site.uv("lock", "--quiet")
    site.edit("README", "Packages from source\n")
    site.commit("Take the new lock")
    site.push()
    site.make_venv()
    venv = place / "built" / "venv"
    venv.parent.mkdir()
    with opened(site.path, site.env) as (sites, facts):

        def begin() -> None:
            shutil.rmtree(venv, ignore_errors=True)
            if sources:  # what is built is new
                site.uv("cache", "clean", "--quiet", *names[:sources])

        def build(one: Site) -> None:
            install(one, facts, venv, link_mode="copy")

        said = f", {sources} from source" if sources else ", all wheels"
        actions = {kind: _with(build, one) for kind, one in sites.items()}
        compare(f"a build of {PACKAGES} packages{said}", actions, times, begin)


def compare_quiet_nights(site: SampleSite, place: Path, times: int) -> None:
    """Compare the calls of uv in an update that finds nothing with one `uv lock --upgrade`."""
    turns, note = [], place / "of-uv"
    update = [sys.executable, "-c", OF_UV, "update", str(note)]
    for _ in range(times + 1):
        alone = cost(lambda: site.uv("lock", "--upgrade", "--quiet"))
        subprocess.run(update, cwd=site.path, env=site.env, check=True, capture_output=True)
        turns.append((alone, tuple(map(float, note.read_text().split()))))
    say("a quiet night", ["uv lock --upgrade", "uv in `releaser update`"], turns[1:])
    print(f"{'at most, as aimed at':<34}{'':>22}{1.15:>9.2f}{1.15:>10.2f}\n")


def _with(action: Callable[[Site], None], site: Site) -> Callable[[], None]:
    return lambda: action(site)


@contextlib.contextmanager
def opened(path: Path, env: Mapping[str, str]) -> Iterator[tuple[dict[str, Site], SiteFacts]]:
    """Yield a site in a staging tree, with each kind of isolation, and what preflight finds out about it."""
    site, log = open_site(path, env), silent_log("update")
    facts = preflight(site, log)
    site.state_dir.mkdir(parents=True, exist_ok=True)
    with staging_tree(site, log, site.git.commit("HEAD")) as staged:
        yield ways(staged), facts


def compare_isolation(place: Path, times: int) -> None:
    """Measure it all; needs no more than a directory to work in."""
    for part in ("tests", "wheels", "sources"):
        (place / part).mkdir()
    compare_tests(place / "tests", times)
    compare_builds(place / "wheels", times, sources=0)
    compare_builds(place / "sources", times, sources=SOURCES)
