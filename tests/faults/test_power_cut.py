"""The power goes: on a real file system, and on a disk that keeps nothing but what was synced."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from releaser.system.files import sync_file_system
from tests.faults import powercut
from tests.faults.aftermath import Eyewitness
from tests.faults.observed import END, Fault, How, Point, points, run_observed, started
from tests.faults.powercut import Disks, cut_at
from tests.faults.scenes import SCENES, Scenes
from tests.faults.stage import AKIN, SHARE_OF_AKIN, beginning_with
from tests.faults.tally import Tallies
from tests.support.sites import SampleSite

TWICE = ("update", "rollback")  # scenes of which each kind of power cut comes at two points of the spread
MOMENTS = 24  # at random, of a scene
# Of scenes that have most of their points in common with others, each kind of power cut takes another share.
KINDS = ("forget", "reorder", "all lost", "entries written")


def spread(name: str, found: Sequence[Point], kind: str, *, all_of_them: bool) -> Sequence[Point]:
    """Choose some points of a scene, evenly, for one kind of power cut."""
    if all_of_them:
        return found[KINDS.index(kind) % SHARE_OF_AKIN :: SHARE_OF_AKIN] if name in AKIN else found
    few = 2 if name in TWICE else 1
    shift = KINDS.index(kind) - 1.5  # each kind at places of its own
    return [found[int(len(found) * (number + 0.5 + shift / len(KINDS)) / few)] for number in range(few)]


def points_of(scenes: Scenes, name: str, base: Path) -> tuple[Point, ...]:
    """Run the command of a scene once in a session, and return the points that it comes by."""
    return scenes.once(f"points of {name}", lambda: points(scenes.copy(name, base / "recording"), SCENES[name].command))


# What is not synced is lost


@pytest.mark.spread(11)  # each scene once
@pytest.mark.parametrize("how", ["forget", "reorder"])
@pytest.mark.parametrize("name", SCENES)
def test_nothing_depends_on_what_was_not_synced(
    name: str, how: How, scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool, since: str
) -> None:
    command = SCENES[name].command
    tried = tally("power cut, unsynced data lost" if how == "forget" else "power cut, oldest unsynced change lost")
    found = beginning_with(points_of(scenes, name, tmp_path), since)
    for number, at in enumerate(spread(name, found, how, all_of_them=all_points)):
        site = scenes.copy(name, tmp_path / str(number))
        seen = Eyewitness.of(site, name)
        ended = run_observed(site, command, fault=Fault(at=at, how=how))
        assert ended.returncode == -signal.SIGKILL, f"{at} did not come: {ended}"
        tried.add(command, str(at), seen.broken())
    tried.check()


# A real file system

# What differs only in how much of a temporary file is written, the other disk tells.
UNFINISHED = ("write ", "sync-data ")
# What these do on the disk is what any update does, and more of it, or less.
ON_DISK = [name for name in SCENES if name not in ("update, one held back", "update without git")]


@pytest.mark.spread(9)
@pytest.mark.parametrize("kind", ["all lost", "entries written"])
@pytest.mark.parametrize("name", ON_DISK)
def test_a_power_cut_at_a_step_harms_nothing(
    name: str, kind: str, disks: Disks, scenes: Scenes, tmp_path: Path, tally: Tallies, all_points: bool, since: str
) -> None:
    """Releaser stands still at the point, while the power goes."""
    command, entries_written = SCENES[name].command, kind == "entries written"
    tried = tally("power cut, ext4" + (", entries written" if entries_written else ""))
    found = beginning_with(points_of(scenes, name, tmp_path), since)
    found = [point for point in found if not point.event.startswith(UNFINISHED)]
    for number, at in enumerate(spread(name, found, kind, all_of_them=all_points)):
        with disks.site(name, tmp_path / str(number)) as (site, disk):
            seen = Eyewitness.of(site, name)
            cut_at(site, disk, command, at=at, entries_written=entries_written)
            tried.add(command, str(at), seen.broken())
    tried.check()


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["update", "rollback", "init", "prune"])
def test_a_power_cut_at_any_moment_harms_nothing(
    name: str, disks: Disks, tmp_path: Path, tally: Tallies, all_points: bool
) -> None:
    command, tried = SCENES[name].command, tally("power cut, ext4, random moments")
    chance = random.Random(name)  # noqa: S311 - the same moments every time
    for number in range(MOMENTS if all_points else 1):
        seconds, entries_written = chance.uniform(0.1, 1.5), chance.random() < 0.5
        with disks.site(name, tmp_path / str(number)) as (site, disk):
            seen = Eyewitness.of(site, name)
            with started(site, command, fault=Fault()) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=seconds)
                disk.cut(entries_written=entries_written)
            disk.boot()
            tried.add(command, f"after {seconds:.3f} s", seen.broken())
    tried.check()


@pytest.mark.parametrize("entries_written", [False, True])
def test_a_cut_loses_what_was_not_synced_and_keeps_the_rest(
    entries_written: bool, disks: Disks, tmp_path: Path
) -> None:
    """The fault is a fault: what was synced is there, what was not is gone, or empty."""
    with disks.site("update", tmp_path / "disk") as (site, disk):
        synced, written = site.outer / "synced", site.outer / "written"
        with synced.open("wb") as file:
            file.write(b"data")
            file.flush()
            os.fsync(file.fileno())
        written.write_bytes(b"data")
        disk.cut(entries_written=entries_written)
        disk.boot()
        assert synced.read_bytes() == b"data"
        assert written.exists() == entries_written
        assert not entries_written or written.read_bytes() == b""


def test_an_image_is_whole_though_somebody_has_a_copy_of_the_mounts(
    scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bubblewrap has one for as long as it runs, and any other test may run it."""
    do, held = powercut._do, contextlib.ExitStack()
    holder = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; read end"]

    def doing(*words: str | Path) -> None:
        do(*words)
        if words[0] == "mount" and "loop" in words:
            copy = subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            held.callback(copy.communicate)
            assert copy.stdout is not None
            copy.stdout.readline()

    monkeypatch.setattr(powercut, "_do", doing)
    (tmp_path / "images").mkdir()
    with held, Disks(tmp_path / "images", scenes).site("prune", tmp_path / "disk") as (site, _):
        assert (site.path / "uv.lock").exists()


def test_the_end_is_a_point(scenes: Scenes, tmp_path: Path) -> None:
    assert points_of(scenes, "update", tmp_path)[-1] == Point(END)


# Right behind a move of the checkout: git syncs none of its files, so releaser does

Move = Literal["fast_forward", "reset_keep"]
MOVING = """\
import os, sys
from pathlib import Path
from releaser.tools import git
from releaser.system.process import Runner
root, move, commit, synced = sys.argv[1:]
if not synced:
    git.write_out = lambda _: None
tool = git.Git(runner=Runner(environ=os.environ), root=Path(root), timeout=60)
getattr(tool, move)(commit)
"""


def move(site: SampleSite, how: Move, commit: str, *, synced: bool) -> None:
    words = [sys.executable, "-c", MOVING, str(site.path), how, commit, "yes" if synced else ""]
    subprocess.run(words, check=True, env=site.environment(), cwd=site.outer.parent)


@pytest.mark.parametrize("how", ["fast_forward", "reset_keep"])
def test_the_files_of_a_checkout_that_was_just_moved_are_those_of_the_commit(
    how: Move, disks: Disks, tmp_path: Path
) -> None:
    assert after_a_cut(how, disks, tmp_path / "synced", synced=True) == ""
    assert after_a_cut(how, disks, tmp_path / "unsynced", synced=False) != "", "the cut shows nothing"


def after_a_cut(how: Move, disks: Disks, base: Path, *, synced: bool) -> str:
    """Move the checkout and cut the power; return what git says of the tree."""
    with disks.site("rollback", base) as (site, disk):
        before = site.head()
        text = (site.path / "manage.py").read_text(encoding="utf-8")
        after = site.push_from_elsewhere({"manage.py": f"{text}# changed\n", "new.py": "# new\n"})
        site.git("fetch", "--quiet")
        if how == "reset_keep":
            move(site, "fast_forward", after, synced=True)
        sync_file_system(site.path)  # what is here before
        move(site, how, after if how == "fast_forward" else before, synced=synced)
        disk.cut(entries_written=True)
        disk.boot()
        assert site.head() == (after if how == "fast_forward" else before)
        return site.git("status", "--porcelain")
