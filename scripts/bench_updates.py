"""How long an update takes beside the bare steps of uv, what it starts, and what releases take on disk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_figures import BenchError, Part, Program, Table, attempt, duration, measure
from bench_peers import call, pipx_upgrade, venv_and_pip
from bench_sites import NAMES, PACKAGES, factory, make_big_site, make_site, publish_one
from stage import DemoError, Stage, set_up

from releaser.site.disk import can_clone
from tests.support.commands import console_script, uv_executable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.sites import SampleSite

QUIET_TURNS = 15
TURNS = 5
RELEASES = 10
NEW = 3  # packages of each of these releases
#: The part of the bytes of a package that its next version changes: the mean of 25 packages of the usual index.
REAL_CHANGE = 0.35
#: File systems: the program that makes each, its options, and `share_files`, as these releases belong to root.
DISKS = {
    "ext4": ("ext4", ("-F",), "always"),
    "XFS without reflinks": ("xfs", ("-m", "reflink=0"), "always"),
    "XFS with reflinks": ("xfs", ("-m", "reflink=1"), "always"),
}
CANDIDATES = tuple(f"p{number:02}" for number in range(1, 23))
CULPRITS = ("p05", "p16")
REAL_FUNCTIONS = 60  # of a module, so that its byte code is as large as that of packages mostly is
# Small packages of the usual index; with what they need, some 100.
HUNDRED = (
    "attrs", "babel", "beautifulsoup4", "bleach", "blinker", "boltons", "cachetools", "celery", "chardet",
    "cloudpickle", "croniter", "cssselect", "dateparser", "decorator", "defusedxml", "distro", "django-cors-headers",
    "django-environ", "django-extensions", "django-filter", "django-redis", "djangorestframework",
    "docutils", "faker", "flask", "freezegun", "fsspec", "gunicorn", "httpx", "humanize", "importlib-metadata",
    "inflection", "isodate", "jsonschema", "markdown-it-py", "more-itertools", "networkx", "openpyxl", "passlib",
    "pathspec", "polib", "pyjwt", "pyparsing", "pytest", "python-slugify", "pytz", "redis", "requests-oauthlib",
    "rich", "sentry-sdk", "tabulate", "tenacity", "tqdm", "typer", "whitenoise", "xlrd", "zipp",
)  # fmt: skip
UNDER_TEST = ("test", "collectstatic")


def dry_run(site: SampleSite | Stage, path: Path) -> Program:
    """Return what uv alone needs to find out what is newer."""
    words: list[str | Path] = [uv_executable(), "lock", "--upgrade", "--dry-run"]
    return Program(name="uv lock --upgrade --dry-run", words=words, cwd=path, env=site.env)


def compare_nothing_newer(place: Path) -> Part:
    """Compare an update that finds nothing with what uv needs to find that."""
    site = make_site(place / "site")
    own = Program(
        name="releaser update, nothing newer", words=[console_script(), "update"], cwd=site.path, env=site.env
    )
    programs, notes, versions = [dry_run(site, site.path), own], list[str](), {}
    (place / "pipx").mkdir()
    pipx = attempt(lambda: pipx_upgrade(site, place / "pipx"), notes.append)
    if pipx is not None:
        programs.append(pipx[0])
        versions["pipx"] = pipx[1]
    figures = measure(programs, QUIET_TURNS)
    tables = [Table(title="nothing newer, a local index", figures=figures)]
    found = {"update, nothing newer: CPU over uv's": figures[1].more(figures[0], "cpu")}
    missing: dict[str, str] = {}
    what = "update, nothing newer, a real index, beside uv"
    real = attempt(lambda: compare_at_real_index(place / "real"), partial(missing.__setitem__, what))
    if real is not None:
        tables.append(real)
        uv, own_run = real.figures
        found[what] = own_run.times(uv)
        more, cpu = own_run.more(uv), own_run.more(uv, "cpu")
        notes.append(
            f"With the real index, releaser itself takes {duration(more)}, of which {duration(cpu)} is CPU, whatever"
            f" the index takes; 25 % of what uv takes is {duration(uv.median() * 0.25)}."
        )
    return Part(
        title="Nothing newer", tables=tuple(tables), found=found, missing=missing, notes=tuple(notes), versions=versions
    )


def compare_at_real_index(place: Path) -> Table:
    """Compare both for a Django site with 100 packages of the usual index; BenchError if it cannot be reached."""
    stage = open_stage(place, lambda _: {"requires": HUNDRED})
    for command in ("init", "update"):
        call("releaser", command, cwd=stage.site, env=stage.env)
    count = (stage.site / "uv.lock").read_text(encoding="utf-8").count("[[package]]") - 1
    own = Program(
        name="releaser update, nothing newer", words=[console_script(), "update"], cwd=stage.site, env=stage.env
    )
    figures = measure([dry_run(stage, stage.site), own], QUIET_TURNS // 2)
    return Table(title=f"nothing newer, a real index, {count} packages", figures=figures)


def open_stage(place: Path, arrange: Callable[[Stage], dict[str, Any]] | None = None) -> Stage:
    """Make the demo's site, with the options of `set_up` that `arrange` returns; BenchError if there is no index."""
    programs = place / "programs"
    programs.mkdir(parents=True)
    for program in (uv_executable(), console_script()):
        (programs / program.name).symlink_to(program)
    stage = Stage(place, os.environ, programs=programs)
    stage.env["UV_CACHE_DIR"] = str(place / "uv-cache")
    try:
        set_up(stage, **(arrange(stage) if arrange else {}))
    except DemoError as error:
        message = f"the packages of the demo cannot be had: {str(error)[:300]}"
        raise BenchError(message) from error
    return stage


class Updates:
    """Updates of a big site, and the bare steps of uv that install the same, in a checkout next to it."""

    def __init__(self, site: SampleSite, place: Path, *, packages: int = PACKAGES) -> None:
        self._site, self._warm = site, place / "warm"
        self._names, self._versions = NAMES[:packages], iter(range(2, 100))
        self._locked = dict.fromkeys(self._names, "1.0")
        self._uv = uv_executable()
        self.mode = "clone" if can_clone(site.state_dir) else "copy"  # as releaser does
        self._checkout = site.outer / "bare"
        shutil.copytree(site.path, self._checkout, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".git"))

    def programs(self, new: int | None = None) -> tuple[Program, Program]:
        """Return the bare steps, which begin with an offer of so many new versions (default: all), and the update."""
        command = (
            '"$1" lock --quiet --upgrade --project "$2" && rm -rf "$2/new" && UV_PROJECT_ENVIRONMENT="$2/new" '
            f'"$1" sync --quiet --frozen --compile-bytecode --link-mode {self.mode} --project "$2"'
        )
        names, env = self._names[:new], self._site.env
        steps = Program(
            name="uv lock, sync into an empty venv", words=["sh", "-c", command, "sh", self._uv, self._checkout],
            cwd=self._checkout, env=env, before=lambda _: self._offer(names),
        )  # fmt: skip
        which = f"{new} of {len(self._names)} packages" if new else f"{len(self._names)} packages"
        words: list[str | Path] = [console_script(), "update"]
        return steps, Program(name=f"releaser update, {which}", words=words, cwd=self._site.path, env=env)

    def _offer(self, names: Sequence[str]) -> None:
        site, number = self._site, next(self._versions)
        for name in names:
            publish_one(site, name, f"{number}.0", functions=REAL_FUNCTIONS)
            for old in site.index.path.glob(f"{name}-*.whl") if number > 3 else ():  # the index does not grow
                if old.name.split("-")[1] not in (f"{number}.0", self._locked[name]):
                    old.unlink()
            self._locked[name] = f"{number}.0"
        call(self._uv, "lock", "--quiet", "--upgrade", cwd=self._checkout, env=site.env)  # fills the cache for both
        sync = {**site.env, "UV_PROJECT_ENVIRONMENT": str(self._warm)}
        call(self._uv, "sync", "--quiet", "--frozen", cwd=self._checkout, env=sync)
        call("git", "checkout", "--quiet", "uv.lock", cwd=site.path, env=site.env)
        shutil.copyfile(site.path / "uv.lock", self._checkout / "uv.lock")
        os.sync()


def compare_updates(place: Path) -> Part:
    """Compare an update of 60 packages with the bare steps of uv, and with a venv by pip."""
    site = make_big_site(place / "site", functions=REAL_FUNCTIONS)
    updates = Updates(site, place)
    (place / "pip").mkdir()
    pip = replace(venv_and_pip(site, place / "pip"), before=lambda _: export(site, place / "pip"), turns=3)
    figures = measure([*updates.programs(), pip], TURNS)
    of_few = measure(updates.programs(NEW), TURNS)
    found = {
        "update of 60 packages beside the bare steps of uv": figures[1].times(figures[0]),
        f"update of {NEW} of 60 packages beside the bare steps of uv": of_few[1].times(of_few[0]),
    }
    missing, notes = dict[str, str](), [f"uv and releaser both put files in place by `{updates.mode}`."]
    what = "starts of manage.py besides tests and collectstatic"
    starts = attempt(lambda: count_starts(place / "starts"), partial(missing.__setitem__, what))
    if starts is not None:
        found[what] = sum(count for name, count in starts.items() if name not in UNDER_TEST)
        said = ", ".join(f"{name} {count}" for name, count in sorted(starts.items()))
        notes.append(f"Starts of `manage.py` in an update after the first: {said}.")
    tables = (
        Table(title="60 packages, 186 MB, byte code compiled", figures=figures),
        Table(title=f"the same, with new versions of {NEW} packages", figures=of_few),
    )
    return Part(title="An update", tables=tables, found=found, missing=missing, notes=tuple(notes))


def export(site: SampleSite, place: Path) -> None:
    """Write what the live lock pins as pip's requirements."""
    venv_and_pip(site, place)


def count_starts(place: Path) -> Counter[str]:
    """Return how often an update of a Django site, but for its first, starts each command of manage.py."""
    site = factory(place).adopted("1.1.0")
    runs = Path(site.env["SAMPLE_SITE_RUNS"])
    site.update_to("alpha", "1.2.0")
    before = len(runs.read_text(encoding="utf-8").splitlines())
    site.update_to("alpha", "1.3.0")
    lines = runs.read_text(encoding="utf-8").splitlines()[before:]
    return Counter(match[1] for line in lines if (match := re.search(r"'argv': [\[(]'([\w-]+)'", line)))


def measure_disk(place: Path) -> Part:
    """Measure the disk of 10 releases of 60 packages, each with three new versions, on several file systems."""
    found, missing, notes = dict[str, float](), dict[str, str](), list[str]()
    for what, (kind, options, share) in DISKS.items():
        for changed in (REAL_CHANGE, 1.0):
            name = f"disk of {RELEASES} releases beside one, {what}{', wholly new packages' if changed == 1 else ''}"
            path = place / f"{kind}-{len(notes)}"
            act = partial(disk_of_releases, path, kind, options, share=share, changed=changed)
            sizes = attempt(act, partial(missing.__setitem__, name))
            if sizes is None:
                continue
            one, all_of_them = sizes
            found[name] = all_of_them / one
            notes.append(
                f"{what}: one release takes {one:.0f} MB, {RELEASES} take {all_of_them:.0f} MB, if {changed:.0%} of"
                f" each of three packages differ; uv's cache does not count."
            )
    return Part(title="Disk", found=found, missing=missing, notes=tuple(notes))


def disk_of_releases(
    place: Path, kind: str, options: tuple[str, ...], *, share: str, changed: float
) -> tuple[float, float]:
    """Return the MB that one release would take alone on a file system of its own, and that ten releases do.

    uv's cache is deleted first, and does not count: with it, what it shares with releases would seem to cost nothing.
    """
    with file_system(place, kind, options) as mounted:
        site = make_big_site(mounted / "site", functions=REAL_FUNCTIONS, changed=changed)
        settings = {"RELEASER_KEEP": str(RELEASES + 2), "RELEASER_SHARE_FILES": share}
        for number in range(RELEASES):
            for name in NAMES[NEW * number : NEW * (number + 1)]:
                publish_one(site, name, "1.1", functions=REAL_FUNCTIONS, changed=changed)
            site.releaser("update", env=settings, check=0, timeout=600)
        if len(site.releases()) != RELEASES + 1:
            message = f"{len(site.releases())} releases are there, not {RELEASES + 1}"
            raise BenchError(message)
        shutil.rmtree(mounted / "site" / "uv-cache")
        return disk_of_newest(site, mounted, RELEASES)


def disk_of_newest(site: SampleSite, mounted: Path, number: int) -> tuple[float, float]:
    """Delete all releases of a site; return the MB that one alone would take, and that the newest ones did."""
    releases = site.state_dir / "releases"
    older, built = sorted(site.releases())[:-number], sorted(site.releases())[-number:]
    if not older:
        message = f"{len(built)} releases are there, which is too few"
        raise BenchError(message)
    for name in older:
        shutil.rmtree(releases / name)
    before = used(mounted)
    one = sum(file.lstat().st_blocks * 512 for file in (releases / built[0]).rglob("*")) / 1e6
    shutil.rmtree(releases)
    return one, before - used(mounted)


@contextlib.contextmanager
def file_system(place: Path, kind: str, options: tuple[str, ...]) -> Iterator[Path]:
    """Mount a new file system of 6 GB during the block; BenchError if that cannot be done here."""
    image, mounted = place / "image", place / "disk"
    mounted.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(6_000_000_000)
    env = {"PATH": f"/usr/sbin:/sbin:{os.defpath}"}
    call(f"mkfs.{kind}", "-q", *options, image, cwd=place, env=env)
    call("mount", "-o", "loop", image, mounted, cwd=place, env=env)
    try:
        yield mounted
    finally:
        call("umount", mounted, cwd=place, env=env)
        image.unlink()


def used(mounted: Path) -> float:
    """Return the MB that are used on a file system, once they stay the same: XFS deletes in the background."""
    before, env = -1, {"PATH": os.defpath}
    while True:
        call("sync", "--file-system", mounted, cwd=mounted, env=env)
        found = os.statvfs(mounted)
        if found.f_bfree == before:
            return (found.f_blocks - found.f_bfree) * found.f_frsize / 1e6
        before = found.f_bfree
        time.sleep(1)


def measure_search(place: Path) -> Part:
    """Count the test runs that find two upgrades which break the tests among 22."""
    site = factory(place)(packages=dict.fromkeys(CANDIDATES, "1.0.0"), venv=True)
    site.releaser("init", check=0)
    before = len(site.manage_runs("test"))
    for name in CANDIDATES:
        site.publish(name, "1.1.0", broken=name in CULPRITS)
    site.releaser("update", check=0)
    runs = len(site.manage_runs("test")) - before
    return Part(title="Culprits", found={"test runs to find 2 culprits in 22": float(runs)})
