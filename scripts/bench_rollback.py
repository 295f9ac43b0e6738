"""How long a rollback takes, beside what people would use instead; and what a process sees of a flip."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from bench_figures import Figure, Part, Program, Table, attempt, duration, measure
from bench_peers import InPlace, capistrano_rollback, nix_rollback, symlink_rollback
from bench_sites import NAMES, make_big_site, publish_one, resize, size_of, update

from releaser.releases.release import flip
from tests.support.commands import console_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sites import SampleSite

TURNS = 9
FLIPS = 10_000
SYNCS = 6
NIX, CAP, SYNC = "nix-env --switch-generation", "cap deploy:rollback", "lock restored, uv sync"
SIZES = "rollback, 1 GB beside 10 MB, in as many files"
# Reads two packages of the venv that a link leads to, over and over; prints how long it was missing or half.
READER = """\
import os, sys, time
link, first, second, stop = sys.argv[1:]
seen = bad = 0
lost, before = 0.0, time.perf_counter()
print("ready", flush=True)
while not os.path.exists(stop):
    try:
        place = os.open(link, os.O_RDONLY | os.O_DIRECTORY)
        try:
            texts = [open(one, opener=lambda path, flags: os.open(path, flags, dir_fd=place)).read()
                     for one in (first, second)]
        finally:
            os.close(place)
        whole = texts[0] == texts[1] != ""
    except OSError:
        whole = False
    now = time.perf_counter()
    seen, bad = seen + 1, bad + (not whole)
    lost += 0 if whole else now - before
    before = now
print(seen, bad, lost)
"""


def own_rollback(site: SampleSite, name: str, *, to: int | None = None) -> Program:
    """Return a rollback to one of the two newest releases, or to and fro; it commits, and does not push."""
    names = site.releases()[-2:]

    def words(turn: int) -> list[str | Path]:
        return [console_script(), "rollback", names[turn % 2 if to is None else to]]

    return Program(name=name, words=words, cwd=site.path, env={**site.env, "RELEASER_GIT_PUSH": "false"})


def compare_rollbacks(place: Path) -> Part:
    """Compare rollbacks of a venv of 186 MB and 10,000 files; no restart, mail or static files are set."""
    site = make_big_site(place)
    update(site, "2.0")
    older, newer = (site.state_dir / "releases" / name / "venv" for name in site.releases()[-2:])
    megabytes, files = size_of(newer)
    own = own_rollback(site, "releaser rollback", to=0)
    pushing = replace(own_rollback(site, "releaser rollback, and a push", to=1), env=site.env)
    programs, notes, versions = [own, pushing], [f"The venv has {megabytes:.0f} MB in {files:,} files."], {}
    found, missing = dict[str, float](), dict[str, str]()
    in_place = InPlace.of(site, place / "in-place")
    locks = (
        in_place.lock("older", *(f"--upgrade-package={name}==1.0" for name in NAMES)),
        in_place.lock("newer", "--upgrade"),
    )
    peers: dict[str, Callable[[], tuple[Program, str]]] = {
        NIX: lambda: nix_rollback(place, older, newer),
        f"{CAP}, this release": lambda: capistrano_rollback(place, newer, "this release"),
        f"{CAP}, a tiny release": lambda: capistrano_rollback(place, None, "a tiny release"),
    }
    for name, peer in peers.items():
        set_up = attempt(peer, notes.append)
        if set_up is not None:
            programs.append(set_up[0])
            versions["Nix" if name == NIX else "Capistrano"] = set_up[1]
    in_place.sync()
    programs += [in_place.rollback(SYNC, locks, turns=4), symlink_rollback(place, older, newer)]
    figures = measure(programs, TURNS)
    for figure in figures:
        if figure.name == SYNC:
            found[f"rollback faster than {SYNC}"] = figure.times(figures[0])
    tables = [Table(title="rollback, 186 MB", figures=figures)]
    sized = attempt(lambda: measure_sizes(site, place), partial(missing.__setitem__, SIZES))
    if sized is not None:
        tables.append(Table(title="rollback by size", figures=sized))
        found[SIZES] = sized[1].times(sized[0])
    notes.append("`ln -sfn` alone checks, records and syncs nothing, and deletes the link before it makes it again.")
    return Part(
        title="Rollback", tables=tuple(tables), found=found, missing=missing, notes=tuple(notes), versions=versions
    )


def measure_sizes(site: SampleSite, place: Path) -> tuple[Figure, ...]:
    """Measure rollbacks of venvs of 10 MB and of 1 GB, which take turns."""
    programs = []
    for name, megabytes in (("10 MB", 10), ("1 GB", 1000)):
        sized = site.copy(place / name.replace(" ", ""))
        resize(sized, megabytes)
        programs.append(own_rollback(sized, f"releaser rollback, {name}"))
    return measure(programs, TURNS)


def compare_gaps(place: Path) -> Part:
    """Count how long a reader finds the venv missing or half, during flips and while uv syncs in place."""
    site = make_big_site(place)
    in_place = InPlace.of(site, place / "in-place")
    older = in_place.lock("older", "--upgrade")
    for name in NAMES:
        publish_one(site, name, "2.0", megabytes=10)
    locks = (older, in_place.lock("newer", "--upgrade"))
    site.releaser("update", check=0, timeout=600)
    venvs = [site.state_dir / "releases" / name / "venv" for name in site.releases()[-2:]]
    took: list[float] = []

    def flips() -> None:
        for number in range(FLIPS):
            flip(site.link, venvs[number % 2], staging=site.state_dir)

    def syncs() -> None:
        sync = in_place.rollback("uv sync", locks, turns=SYNCS)
        took.extend(sync.run(number).wall for number in range(SYNCS))

    in_place.sync()
    seen, bad, lost = watch(site.link, flips, place)
    seen_in_place, bad_in_place, lost_in_place = watch(in_place.checkout / ".venv", syncs, place)
    notes = (
        f"Of {seen:,} looks during {FLIPS:,} flips, {bad} found `.venv` missing or half, {duration(lost)} in all.",
        f"In place, of {seen_in_place:,} looks during {SYNCS} times `uv sync`, {bad_in_place:,} did:"
        f" {duration(lost_in_place / SYNCS)} of the {duration(sum(took) / SYNCS)} that each takes.",
    )
    found = {f"time without a whole `.venv`, {FLIPS:,} flips": lost}
    return Part(title="What a process sees", found=found, notes=notes)


def watch(link: Path, act: Callable[[], None], place: Path) -> tuple[int, int, float]:
    """Let a reader look at two packages while something happens; return its looks, the bad ones, and their seconds."""
    stop = place / "stop"
    stop.unlink(missing_ok=True)
    packages = next(link.glob("lib/*/site-packages")).relative_to(link)
    words: list[str | Path] = [
        sys.executable, "-c", READER, link, packages / "package0/__init__.py", packages / "package59/__init__.py", stop
    ]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
        output = cast("TextIO", reader.stdout)
        output.readline()
        try:
            act()
        finally:
            stop.touch()
        seen, bad, lost = output.read().split()
    return int(seen), int(bad), float(lost)
