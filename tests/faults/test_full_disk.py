"""A disk that is full, for real: before a run, and from any of its programs on; of bytes, or of inodes."""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import filling
from tests.faults.invariants import unless
from tests.faults.scenes import ORIGINAL, SCENES, Eyewitness, Scenes
from tests.faults.shims import Shims, python_action
from tests.faults.stage import evenly
from tests.faults.tally import Tallies, turn
from tests.support.commands import require
from tests.support.sites import SampleSite

KINDS = ("bytes", "inodes")
BALLAST = "ballast"
CODES = {0, 3, 4, 5, 6, 7}  # every end but a bug and a wrong command
MISSING = {"bytes": re.compile(r"\d+(\.\d+)? ?[KkMG]i?B"), "inodes": re.compile(r"\d+ more inodes")}


@contextlib.contextmanager
def on_small_disk(scenes: Scenes, name: str, place: Path) -> Iterator[tuple[SampleSite, Path]]:
    """Give the site of a scene with its outer directory on a small file system, and a directory of that beside it."""
    require(shutil.which("mount") and Path("/proc/self").owner() == "root", "only root mounts a small file system")
    site, disk = scenes.copy(name, place / "site"), place / "disk"
    disk.mkdir()
    with _mounted(disk, "-t", "tmpfs", "-o", "size=256m,nr_inodes=12000", "tmpfs"):
        subprocess.run(["cp", "--archive", site.outer, disk / "outer"], check=True)
        shutil.rmtree(site.outer)
        site.outer.mkdir()
        with _mounted(site.outer, "--bind", str(disk / "outer")):
            yield site, disk


@contextlib.contextmanager
def _mounted(place: Path, *words: str) -> Iterator[None]:
    subprocess.run(["mount", *words, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, *kinds: str, leave: int = 0) -> None:
    """Fill the disk."""
    for kind in kinds:
        filling.fill(str(disk), BALLAST, kind, leave)


@pytest.mark.parametrize(("kind", "leave"), [("bytes", 40), ("bytes", 900), ("inodes", 40), ("inodes", 120)])
def test_law_12_an_update_without_room_says_which_file_system_lacks_how_much(
    kind: str, leave: int, scenes: Scenes, place: Path, tally: Tallies
) -> None:
    points = tally(f"no {kind} left before the build")
    with on_small_disk(scenes, "update", place) as (site, disk):
        seen = Eyewitness.of(site, "update")
        fill(disk, kind, leave=leave)
        finished = site.releaser("update")
        text = finished.stderr
        names = any(str(path) in text for path in (site.outer, disk)) and MISSING[kind].search(text)
        broken = unless(finished.returncode == 4, f"it should have ended with 4: {finished}")
        broken += unless(names, f"it should name the file system, and how much is missing: {finished}")
        broken += seen.changed()
        filling.empty(str(disk), BALLAST)
        points.add("update", f"{leave} left", broken + seen.aftermath())
    points.check()


@pytest.mark.parametrize("kinds", [("bytes",), ("inodes",), KINDS], ids=",".join)
def test_law_05_a_rollback_needs_no_free_byte_and_no_free_inode(
    kinds: tuple[str, ...], scenes: Scenes, place: Path, tally: Tallies
) -> None:
    points = tally("disk completely full, rollback")
    with on_small_disk(scenes, "rollback", place) as (site, disk):
        points.add("rollback", ", ".join(kinds), broken_by_rollback_on_full_disk(site, disk, *kinds))
    points.check()


def broken_by_rollback_on_full_disk(site: SampleSite, disk: Path, *kinds: str) -> list[str]:
    """Fill the disk to the last byte or inode, and roll back; name what does not hold."""
    seen = Eyewitness.of(site, "rollback")
    fill(disk, *kinds)
    finished = site.releaser("rollback")
    broken = unless(finished.returncode in (0, 7), f"it should have gone back: {finished}")
    versions = site.versions()
    broken += unless(ORIGINAL.items() <= versions.items(), f"{versions} are live") + seen.witness.at_once()
    filling.empty(str(disk), BALLAST)
    return broken + seen.aftermath()


@pytest.mark.parametrize("name", ["update", "rollback", "init, fresh", "init, adopt", "install"])
def test_law_08_a_disk_that_is_full_from_some_program_on(
    name: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    shims = Shims(place / "shims")
    with on_small_disk(scenes, name, place / "counting") as (site, _):
        site.releaser(SCENES[name].command.format(outer=site.outer), env=shims.install(site), check=0)
    count = len(shims.calls())
    moves = [number for number, words in enumerate(shims.calls(), 1) if " update-ref " in words]
    for number, kind in enumerate(KINDS):
        points = tally(f"no {kind} left during the run")
        some = {*evenly(count, 1, turn()), *moves[:1], *(at + 1 for at in moves[-1:])}
        every_other = range(1 + (turn() + number) % 2, count + 1, 2)  # the others on the next commit
        for at in every_other if every_point else some:
            with on_small_disk(scenes, name, place / f"{kind}-{at}") as (site, disk):
                points.add(name, f"before program {at} of {count}", full_from(site, disk, name, kind, at, shims))
        points.check()


def full_from(site: SampleSite, disk: Path, name: str, kind: str, at: int, shims: Shims) -> list[str]:
    """Run the command of a scene on a disk that gets full before program `at`; make room, and go on."""
    seen = Eyewitness.of(site, name)
    action = python_action("fill", str(disk), BALLAST, kind)
    command = seen.scene.command.format(outer=site.outer)
    finished = site.releaser(command, env=shims.install(site, at=at, when="before", action=action))
    broken = unless(finished.returncode in CODES, f"it should have said what is wrong: {finished}")
    broken += unless("Traceback" not in finished.stderr, f"a traceback: {finished}")
    broken += unless(finished.returncode == 0 or finished.stderr.strip(), f"it said nothing: {finished}")
    broken += seen.witness.at_once()
    filling.empty(str(disk), BALLAST)
    # A restart that failed for the disk puts the versions on hold.
    return broken + seen.aftermath(at, versions={} if finished.returncode == 6 else None)
