"""What the sandbox costs: tests of the demo's site and of a public project, and builds, each and the same without it.

Runs in turns in one process, through releaser's own functions, so that nothing but the step itself is measured; what
its programs use counts. The demo's site needs a package index, unlike the rest of `make bench`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sys
import tarfile
import time
import tomllib
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_figures import BenchError, Cost, Figure, Part, Table, duration
from bench_updates import open_stage
from stage import OLD_VERSIONS

from releaser.candidate.install import install
from releaser.candidate.trials import list_trials, run_trial
from releaser.checkout.staging import staging_tree
from releaser.core.run import new_log
from releaser.pipelines.preflight import preflight
from releaser.sandbox.bubblewrap import find_bubblewrap
from releaser.site.site import open_site
from tests.support.sites import SiteFactory
from tests.support.templates import Templates
from tests.support.wheels import build_sdist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stage import Stage

    from releaser.site.site import Site, SiteFacts

PACKAGES = 60
SOURCES = 5  # of them without a wheel
FILES = 20  # modules of each package, some 4 KB each
KINDS: tuple[Literal["off", "bwrap"], ...] = ("off", "bwrap")
TURNS = {"tests": 60, "project": 5, "builds": 9}  # of the first, hundredths of a quarter of a second are looked for
PROJECT = "djangorestframework"  # its source release has its tests
OF_ANOTHER_MARKDOWN = "tests/test_description.py::TestViewNamesAndDescriptions::test_markdown"
PINS = (f"{PROJECT}==3.16.1", "pytest==8.4.2", "pytest-django==4.11.1", "pytz==2025.2")


def cost(action: Callable[[], object]) -> Cost:
    """Return the seconds of wall time, and of CPU with all programs that it started."""
    before, began = _cpu(), time.perf_counter()
    action()
    return Cost(wall=time.perf_counter() - began, cpu=_cpu() - before)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(name: str, actions: Mapping[str, Callable[[], object]], times: int, begin: Callable[[], object]) -> Table:
    """Return the costs of actions that take turns; `begin` comes before each of them, and does not count.

    Each turn begins with another one, as what comes before leaves the disk and the caches of the kernel at work.
    """
    costs: dict[str, list[Cost]] = {kind: [] for kind in actions}
    order = [*actions]
    for _ in range(times + 1):
        for kind in order:
            begin()
            costs[kind].append(cost(actions[kind]))
        order = [*order[1:], order[0]]
    found = tuple(Figure(name=kind, costs=tuple(some[1:])) for kind, some in costs.items())  # the first filled caches
    return Table(title=name, figures=found)


def ways(staged: Site) -> dict[str, Site]:
    """Return a site as it is without the sandbox and, if it works here, in it."""
    found: dict[str, Site] = {}
    settings: Any = staged.settings
    for kind in KINDS:
        if kind == "off" or not isinstance(find_bubblewrap(staged.runner), str):
            found[kind] = replace(
                staged,
                settings=replace(settings, sandbox=kind),
                runner=replace(staged.runner, remembered={}),
            )
    return found


def compare_tests(place: Path) -> Table:
    """Compare the tests of the demo's site."""
    stage = open_stage(place)
    return compare_trial(stage, "the tests of the demo's site", TURNS["tests"])


def compare_project_tests(place: Path) -> Table:
    """Compare the tests of a public project, which take as long as those of a site do."""
    locked = (*OLD_VERSIONS, *PINS)
    stage = open_stage(place, lambda _: {"requires": PINS, "locked": locked})
    unpack_tests(stage.site)
    stage.ask("git", "add", "--all")
    stage.ask("git", "commit", "--quiet", "--message", "Bring the tests of a project")
    stage.ask("git", "push", "--quiet")
    words = ("python", "-m", "pytest", "-q", "-c", "setup.cfg", "tests", "--deselect", OF_ANOTHER_MARKDOWN)
    return compare_trial(stage, f"the tests of {PROJECT}", TURNS["project"], words)


def unpack_tests(site: Path) -> None:
    """Unpack the tests of the project from the source release that the lock names."""
    lock = tomllib.loads((site / "uv.lock").read_text(encoding="utf-8"))
    url = next(one["sdist"]["url"] for one in lock["package"] if one["name"] == PROJECT)
    with urllib.request.urlopen(url) as answer, tarfile.open(fileobj=answer, mode="r|gz") as release:
        for member in release:
            member.name = member.name.partition("/")[2]
            if member.name == "setup.cfg" or member.name.startswith("tests/"):
                release.extract(member, site, filter="data")


def compare_trial(stage: Stage, title: str, turns: int, words: tuple[str, ...] = ()) -> Table:
    """Compare the tests of a site, or what these words run."""
    with opened(stage.site, stage.env) as (sites, facts):
        venv = stage.link.resolve()
        trial = list_trials(sites["off"], facts)[-1]
        if words:
            trial = replace(trial, command=words)

        def run(site: Site) -> None:
            result = run_trial(site, trial, venv, site.project.lock)
            if not result.passed:
                message = f"{title} do not pass: {result.output}"
                raise BenchError(message)

        actions = {kind: _with(run, site) for kind, site in sites.items()}
        return compare(title, actions, turns, list)


def compare_builds(place: Path, *, sources: int) -> Table:
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
            install(one, facts, venv, live=None, link_mode="copy")

        said = f", {sources} from source" if sources else ", all wheels"
        actions = {kind: _with(build, one) for kind, one in sites.items()}
        return compare(f"a build of {PACKAGES} packages{said}", actions, TURNS["builds"], begin)


def _with(action: Callable[[Site], None], site: Site) -> Callable[[], None]:
    return lambda: action(site)


@contextlib.contextmanager
def opened(path: Path, env: Mapping[str, str]) -> Iterator[tuple[dict[str, Site], SiteFacts]]:
    """Yield a site in a staging tree, with and without the sandbox, and what preflight finds out about it."""
    site, log = open_site(path, env), new_log("update")
    facts = preflight(site, log)
    site.state_dir.mkdir(parents=True, exist_ok=True)
    with staging_tree(site, log, site.git.commit("HEAD")) as staged:
        yield ways(staged), facts


def compare_sandbox(place: Path) -> Part:
    """Compare the tests of the demo's site, and builds, with the same with and without the sandbox."""
    for part in ("tests", "project", "wheels", "sources"):
        (place / part).mkdir()
    tables = (
        compare_tests(place / "tests"),
        compare_project_tests(place / "project"),
        compare_builds(place / "wheels", sources=0),
        compare_builds(place / "sources", sources=SOURCES),
    )
    aimed = tables[1:]  # the demo's tests end too soon for a ratio
    found = {
        f"{table.title} in the sandbox ({one.name})": one.times(table.figures[0])
        for table in aimed
        for one in table.figures[1:]
    }
    missing = {
        f"{table.title} in the sandbox ({kind})": f"{kind} does not work here" for table in aimed for kind in KINDS[1:]
    }
    off, *others = tables[0].figures
    notes = tuple(
        f"A run of tests takes {duration(one.more(off))} more in {one.name}, however long it is." for one in others
    )
    return Part(title="Sandbox", tables=tables, found=found, missing=missing, notes=notes)
