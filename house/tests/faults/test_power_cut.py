"""The power goes, on a real file system: at calls that change something, and right behind the end of a command."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.powercut import Disk, DiskImage, DiskStage, require_power_cuts
from tests.faults.scenes import Scenes
from tests.faults.stage import chosen, evenly, from_phase
from tests.faults.tally import Tallies, turn
from tests.faults.tracing import require_strace

KINDS = {"all lost": False, "entries written": True}
# Points of a run of CI, by scene: half of them while the change is under way.
OWN = {"update": 4, "rollback": 4, "update, ill": 2, "init, adopt": 2, "init, fresh": 2}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OWN)
def test_law_08_a_power_cut_at_any_change_leaves_one_whole_release(
    name: str, kind: str, scenes: Scenes, place: Path, tally: Tallies, every_point: bool
) -> None:
    require_strace()
    stage, points = DiskStage(scenes, name, place), tally(f"power cut, ext4, {kind}")
    calls = stage.calls()
    start = from_phase(calls, "changing")
    calls = [call for call in chosen(calls, turn(), every_point=every_point) if not call.is_one_of_many]
    if not every_point:
        shares = [[call for call in calls if (call.position >= start) == is_late] for is_late in (False, True)]
        calls = [share[n - 1] for share in shares for n in evenly(len(share), OWN[name] // 2, turn())]
    for number, call in enumerate(calls):
        with stage.disk() as disk:
            met = stage.cut_at(call, disk, entries_written=KINDS[kind])
            broken = unless(met.finished.returncode == -signal.SIGKILL, f"nothing was cut off: {met}")
            points.add(name, str(call), broken + stage.eyewitness.aftermath(number))
    points.check()


@pytest.mark.parametrize("name", OWN)
def test_law_08_a_command_that_has_ended_outlives_a_power_cut(
    name: str, scenes: Scenes, place: Path, tally: Tallies
) -> None:
    stage, points = DiskStage(scenes, name, place), tally("power cut, ext4, right after the end")
    with stage.disk() as disk:
        points.add(name, "end", broken_after_end(stage, disk))
    points.check()


def broken_after_end(stage: DiskStage, disk: Disk) -> list[str]:
    """Run the command to its end, cut the power, and name what has not lasted."""
    site = stage.site
    site.releaser(stage.command, check=stage.scene.code)
    seen = os.readlink(site.link), site.json("list"), site.head(), site.lock(), site.status()
    disk.cut(entries_written=False)
    stage.boot(disk)
    if not site.link.is_symlink():
        return [f"I1: {site.link.name} is no link any more"]
    broken = stage.eyewitness.witness.after_command()
    now = os.readlink(site.link), site.json("list"), site.head(), site.lock(), site.status()
    broken += unless(now == seen, f"what was reported did not last: {seen}, now {now}")
    return broken + stage.eyewitness.aftermath()


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
