"""The power goes, on a real file system: at calls that change something, and right behind the end of a command."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.powercut import DiskImage, DiskStage, require_power_cuts
from tests.faults.scenes import Scenes
from tests.faults.shims import KILL_PARENT, Shims
from tests.faults.stage import chosen, spread
from tests.faults.tally import Tallies, turn
from tests.faults.test_kill import KILLED

KINDS = {"all lost": False, "entries written": True}
SCENES = ("update", "rollback", "update, ill", "init, adopt", "init, fresh", "install")
WRITING = {"read-tree", "checkout", "commit", "update-index", "update-ref", "push"}  # programs of git
MANY, FEW = 16, 2  # points of each scene, the latter in CI: half of them while the change is under way


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCENES)
def test_law_08_a_power_cut_at_any_change_leaves_one_whole_release(
    name: str, kind: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    stage, points = DiskStage(scenes, name, place), tally(f"power cut, ext4, {kind}")
    calls = [call for call in chosen(stage.calls(), turn(), every_point=every_point) if not call.is_one_of_many]
    for number, call in enumerate(spread(calls, MANY if every_point else FEW, turn())):
        with stage.disk() as disk:
            met = stage.cut_at(call, disk, entries_written=KINDS[kind])
            broken = unless(met.finished.returncode == -signal.SIGKILL, f"nothing was cut off: {met}")
            points.add(name, str(call), broken + stage.eyewitness.aftermath(number))
    points.check()


@pytest.mark.parametrize("name", SCENES)
def test_law_08_a_command_that_has_ended_outlives_a_power_cut(
    name: str, scenes: Scenes, place: Path, tally: Tallies
) -> None:
    stage, points = DiskStage(scenes, name, place), tally("power cut, ext4, right after the end")
    site = stage.site

    def shown() -> tuple[object, ...]:
        return os.readlink(site.link), site.states(), site.head(), site.lock(), site.status()

    with stage.disk() as disk:
        site.releaser(stage.command, check=stage.scene.code)
        before = shown()
        disk.cut(entries_written=False)
        stage.boot(disk)
        broken = stage.eyewitness.witness.after_command()
        broken = broken or unless(shown() == before, f"what was reported did not last: {before}, now {shown()}")
        points.add(name, "end", broken + stage.eyewitness.aftermath())
    points.check()


def test_law_08_a_power_cut_right_behind_git(scenes: Scenes, place: Path, tally: Tallies, every_point: bool) -> None:
    stage, points = DiskStage(scenes, "update", place), tally("power cut, ext4, right behind git")
    shims = Shims(place / "shims")
    stage.site.releaser("update", env=shims.install(stage.site))
    writing = [number for number, words in enumerate(shims.calls(), 1) if WRITING & {*words.split()[1:3]}]
    for number in writing if every_point else [writing[turn() % len(writing)]]:
        with stage.disk() as disk:
            stage.site.releaser("update", env=shims.install(stage.site, at=number, action=KILL_PARENT), check=KILLED)
            disk.cut(entries_written=True)
            stage.boot(disk)
            points.add("update", shims.calls()[number - 1], stage.eyewitness.aftermath(number))
    points.check()


@pytest.mark.parametrize("entries_written", [False, True])
def test_a_cut_loses_what_was_not_synced_and_keeps_the_rest(entries_written: bool, tmp_path: Path) -> None:
    """The fault is a fault."""
    require_power_cuts()
    source, place = tmp_path / "source", tmp_path / "mounted"
    source.mkdir()
    place.mkdir()
    with DiskImage(source, tmp_path).mounted(place) as disk:
        with (place / "synced").open("wb") as file:
            file.write(b"data")
            file.flush()
            os.fsync(file.fileno())
        (place / "written").write_bytes(b"data")
        disk.cut(entries_written=entries_written)
        disk.boot()
        assert (place / "synced").read_bytes() == b"data"
        assert (place / "written").exists() == entries_written
        assert not entries_written or (place / "written").read_bytes() == b""
