"""How long short commands take, starts of programs, and the deletion of many releases; and how much memory."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bench_figures import BenchError, Figure, Part, Program, Table, measure
from bench_sites import RELEASES, make_site, make_starter

from releaser.releases import startup
from tests.support.commands import console_script

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.sites import SampleSite

MANY = 1000  # releases
TURNS = 25
STARTS = 200
PRUNES = 3
OUTPUT_MB = 100
NOISY_TESTS = f"""\
def test_shop(packages):
    for _ in range({OUTPUT_MB * 10}):
        print("tea " * 25000)
    assert packages["alpha"].__version__ != "2.0.0", "the shop is closed"
"""
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


def compare_commands(place: Path) -> Part:
    """Compare the answers that people wait for, and starts of programs, with the start of Python."""
    site = make_site(place / "few")
    crowded = make_site(place / "many")
    make_records(crowded, crowded.state_dir / "releases", whole=True)
    releaser, live = console_script(), site.link.resolve() / "bin" / "python"
    program: list[str | Path] = ["python", "-c", "pass"]
    refresh: list[str | Path] = ["exec", "--refresh", "daily", "--wait", "60s", "--", *program]

    def one(name: str, *words: str | Path, at: SampleSite = site, env: dict[str, str] | None = None) -> Program:
        return Program(name=name, words=words, cwd=at.path, env={**at.env, **(env or {})})

    programs = [
        one("python -c pass", sys.executable, "-c", "pass"),
        one("releaser --version", releaser, "--version"),
        one(f"releaser list, {RELEASES} releases", releaser, "list"),
        one(f"releaser list, {MANY:,} releases", releaser, "list", at=crowded),
        one("the same program in the live venv", live, "-c", "pass"),
        one("releaser run", releaser, "run", *program),
        one("releaser exec --refresh, nothing due", releaser, *refresh),
        one("the same, `venv` is set", releaser, *refresh, env={"RELEASER_VENV": ".venv"}),
        make_starter(site, run="python -c pass"),
    ]
    figures = measure(programs, TURNS)
    base, version, few, many, itself, _, refreshing, _, started = figures
    starts = compare_starts(site)
    found = {
        "`--version`": version.times(base),
        f"`list` of {RELEASES} releases": few.times(base),
        f"`list` of {MANY:,} releases": many.times(base),
        "`exec`, over the program itself": over(refreshing, itself, base),
        "a starter, nothing due": started.times(itself),
        "a pinned interpreter's start: wall time": starts[1].more(starts[0]) * 1000,
        "a pinned interpreter's start: CPU": starts[1].more(starts[0], "cpu") * 1000,
    }
    tables = (Table(title="short answers", figures=figures), Table(title="starts of the live Python", figures=starts))
    return Part(title="Commands", tables=tables, found=found)


def over(figure: Figure, itself: Figure, base: Figure) -> float:
    """Return what something takes beyond what it starts, in times the start of Python."""
    return figure.more(itself) / base.median()


def compare_starts(site: SampleSite) -> tuple[Figure, ...]:
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
    return measure(programs, STARTS)


def compare_pruning(place: Path) -> Part:
    """Compare the deletion of many releases, of which there is little but their records, with that of directories."""
    site, records = make_site(place / "site"), place / "records"
    before = (site.state_dir / "ledger.json").read_bytes()
    make_records(site, records)
    ledger = (site.state_dir / "ledger.json").read_bytes()
    plain, releases, kept = place / "plain", site.state_dir / "releases", site.state_dir / "ledger.json"
    prune: list[str | Path] = [console_script(), "prune"]
    few = {**site.env, "RELEASER_KEEP": str(RELEASES - 1)}

    def fill(turn: int) -> None:
        if turn and len(os.listdir(releases)) != RELEASES:
            message = "prune has left what it should have removed, or removed what it should have left"
            raise BenchError(message)
        shutil.copytree(records, releases, dirs_exist_ok=True)
        kept.write_bytes(ledger)

    def clear(_: int) -> None:
        kept.write_bytes(before)

    programs = [
        Program(
            name=f"rm -r, {MANY:,} directories", words=["rm", "-r", plain], cwd=site.path, env=site.env,
            before=lambda _: shutil.copytree(records, plain),
        ),
        Program(name=f"releaser prune, {MANY:,} releases", words=prune, cwd=site.path, env=few, before=fill),
        Program(name="releaser prune, nothing to remove", words=prune, cwd=site.path, env=few, before=clear),
    ]  # fmt: skip
    figures = measure(programs, PRUNES, warm=False)
    return Part(title="Pruning", tables=(Table(title="deleting", figures=figures),))


def make_records(site: SampleSite, place: Path, *, whole: bool = False) -> None:
    """Make many old releases that are like the oldest one, which the ledger then knows; most without its packages.

    A `whole` one has them, so that a list finds nothing wrong with it.
    """
    oldest = sorted((site.state_dir / "releases").iterdir())[0]
    manifest = json.loads((oldest / "manifest.json").read_bytes())
    kept = site.state_dir / "ledger.json"
    ledger = json.loads(kept.read_bytes())
    names = []
    for number in range(MANY):
        created = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)
        name = f"{created:%Y%m%dT%H%M%SZ}"
        own = {**manifest, "id": name, "sequence": number - MANY, "created_at": created.isoformat()}
        if whole:
            shutil.copytree(oldest / "venv", place / name / "venv", symlinks=True, copy_function=os.link)
        else:
            (place / name / "venv" / "bin").mkdir(parents=True)
            (place / name / "venv" / "bin" / "python").touch()
            (place / name / "venv" / "releaser.lease").write_text("held by whoever uses it\n", encoding="utf-8")
        shutil.copy(oldest / "uv.lock", place / name)
        (place / name / "manifest.json").write_text(json.dumps(own, indent=1), encoding="utf-8")
        names.append(name)
    ledger["marks"] |= dict.fromkeys(names, "good")
    ledger["activations"] = [*names, *ledger["activations"]]
    kept.write_text(json.dumps(ledger, indent=1), encoding="utf-8")


def measure_memory(place: Path) -> Part:
    """Measure the most memory that releaser itself takes; the programs that it starts do not count."""
    site, note = make_site(place / "site"), place / "memory"
    make_records(site, site.state_dir / "releases")
    many = {"RELEASER_KEEP": str(2 * MANY)}
    found = {
        "--version": own_memory(site, ["--version"], note, many),
        f"list, {MANY:,} releases": own_memory(site, ["list"], note, many),
        "update, nothing newer": own_memory(site, ["update"], note, many),
    }
    site.commit("Tests that print much", {"site_tests.py": NOISY_TESTS})
    site.push()
    site.publish("alpha", "2.0.0")
    found[f"update, failing tests print {OUTPUT_MB} MB, a mail"] = own_memory(site, ["update"], note, many, status=5)
    site.publish("alpha", "2.1.0")
    found["update, the same output of tests that pass"] = own_memory(site, ["update"], note, many)
    notes = tuple(f"releaser {name}: {size:.1f} MB." for name, size in found.items())
    most = {f"peak memory, {MANY:,} releases, {OUTPUT_MB} MB of output": max(found.values())}
    return Part(title="Memory", found=most, notes=notes)


def own_memory(site: SampleSite, words: Sequence[str], note: Path, env: dict[str, str], *, status: int = 0) -> float:
    """Return the most memory of one run, in MB."""
    command = ["sh", "-c", f'"$@"; test $? = {status}', "sh", sys.executable, "-c", OWN_MEMORY, *words, str(note)]
    Program(name=f"releaser {words[0]}", words=command, cwd=site.path, env={**site.env, **env}).run()
    return int(note.read_text(encoding="utf-8")) * 1024 / 1e6
