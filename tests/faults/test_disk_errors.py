"""A disk that is full, broken, over quota or read-only at any one call of releaser, or from then on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.aftermath import Expected
from tests.faults.invariants import unless
from tests.faults.scenes import Scenes
from tests.faults.stage import AKIN, Stage, chosen, few_alike, thinned
from tests.faults.tally import Tallies, Tally
from tests.faults.tracing import Call, Hit, hit, spread

pytestmark = pytest.mark.usefixtures("strace")

ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS")
# The calls that such an error can hit: those that need room, or that a broken or read-only disk refuses.
NAMES = frozenset(
    ["open", "openat", "creat", "write", "pwrite64", "writev", "sendfile", "copy_file_range", "ftruncate", "fallocate",
     "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mkdir", "mkdirat", "fsync",
     "fdatasync", "syncfs"]
)  # fmt: skip
# Opening and writing for as long as the command lasts would hit more than the disk: its own modules, its output.
ONCE_ONLY = frozenset({"open", "openat", "write"})
DOCUMENTED = frozenset({0, 3, 4, 5, 6, 7, 8, 9})
# Points of the spread, by scene: half of them once, half lasting, with each error in turn.
OWN = {"init": 2, "init without a venv": 2, "update": 4, "update, taken back": 2, "rollback": 2, "prune": 2}


@dataclass(frozen=True)
class Ill:
    """An error at one call, or, `lasting`, at all calls of that name from then on."""

    call: Call
    error: str
    lasting: bool = False

    @property
    def fault(self) -> str:
        """The row of the table."""
        return f"{self.error} {'from then on' if self.lasting else 'once'}"


def some_ills(calls: list[Call], count: int) -> Iterator[Ill]:
    """Choose a spread: one error after the other in turn, half of them lasting."""
    quiet = chosen(calls, len(calls), all_points=False)
    for number, call in enumerate(spread(quiet, count - count // 2)):
        yield Ill(call, ERRORS[number % len(ERRORS)])
    for number, call in enumerate(spread([call for call in quiet if call.name not in ONCE_ONLY], count // 2)):
        yield Ill(call, ERRORS[(number + 2) % len(ERRORS)], lasting=True)


def all_ills(calls: list[Call], name: str) -> Iterator[Ill]:
    """Choose every error at every call, and lasting ones in turn."""
    for number, call in enumerate(few_alike(calls)):
        turn = ERRORS[number // 2 % 4]
        for error in (turn,) if name in AKIN or call.concerns_a_log else ERRORS:
            yield Ill(call, error)
        if call.name not in ONCE_ONLY and number % 2 == 1:
            yield Ill(call, turn, lasting=True)


def ended_well(met: Hit) -> list[str]:
    """Name what is wrong with how releaser ended."""
    code, said = met.finished.returncode, met.finished.stderr
    broken = unless(met.made, f"no error was made: {met.finished}")
    broken += unless(code in DOCUMENTED and "Traceback" not in said, f"it did not end as documented: {met.finished}")
    return broken + unless(not code or said.strip(), f"it did not say what happened: {met.finished}")


@pytest.mark.parametrize("name", OWN)
def test_disk_errors(name: str, scenes: Scenes, place: Path, tally: Tallies, all_points: bool) -> None:
    stage = Stage(scenes, name, place)
    made: dict[str, Tally] = {}
    calls = thinned(name, [call for call in stage.own_points() if call.name in NAMES])
    for number, ill in enumerate(all_ills(calls, name) if all_points else some_ills(calls, OWN[name])):
        met = stage.strike(ill.call, f"error={ill.error}", lasting=ill.lasting)
        broken = ended_well(met) + stage.aftermath(number, expected=stage.expected_after(met.finished))
        points = made.get(ill.fault) or made.setdefault(ill.fault, tally(ill.fault))
        points.add(stage.command, f"{name}: {ill.call}", broken)
    assert made
    for points in made.values():
        points.check()


def behind_the_flip(calls: list[Call], name: str, path: str) -> Call:
    """Find the first call of that name after the flip that concerns a path."""
    flip = next(number for number, call in enumerate(calls) if call.name == "rename" and call.concerns("/site/.venv"))
    return next(call for call in calls[flip + 1 :] if call.name == name and call.concerns(path))


@pytest.mark.spread(1)
@pytest.mark.parametrize("error", ["ENOSPC", "EROFS"])
def test_a_disk_error_behind_the_flip_keeps_no_version_out(error: str, scenes: Scenes, place: Path) -> None:
    stage = Stage(scenes, "update", place)
    met = stage.strike(behind_the_flip(stage.own_points(), "rename", "/site/uv.lock"), f"error={error}")
    assert met.finished.returncode == 6, str(met.finished)
    assert stage.site.live_version("alpha") == "1.0.0"
    assert stage.aftermath(1, expected=stage.expected_after(met.finished)) == []
    assert stage.site.live_version("alpha") == "1.1.0"


def moves(stage: Stage) -> list[tuple[Call, Call]]:
    """Find the moves of the symlink, each with the sync behind it."""
    calls = stage.own_points()
    found = [n for n, call in enumerate(calls) if call.name == "rename" and call.concerns("/site/.venv")]
    return [(calls[n], next(call for call in calls[n:] if call.name == "fsync")) for n in found]


def test_a_move_that_cannot_be_synced_is_not_made(scenes: Scenes, place: Path) -> None:
    stage = Stage(scenes, "update", place)
    ((_, sync),) = moves(stage)
    met = stage.strike(sync, "error=EIO")
    assert met.finished.returncode == 4, str(met.finished)
    assert "live: unchanged" in met.finished.stderr
    assert stage.site.live_version("alpha") == "1.0.0"
    assert stage.aftermath(1, expected=stage.expected_after(met.finished)) == []


def test_a_move_that_can_neither_be_synced_nor_taken_back_is_told_and_finished(scenes: Scenes, place: Path) -> None:
    stage = Stage(scenes, "update", place)
    ((flip, sync),) = moves(stage)
    met = hit(stage.again(), "update", at=sync, fault="error=EIO", also=flip)
    assert met.finished.returncode == 6, str(met.finished)
    assert "can neither be synced nor moved back" in met.finished.stderr
    assert stage.site.live_version("alpha") == "1.1.0"
    assert stage.aftermath(1, expected=Expected(told="FAILED RELEASE IS LIVE", versions=stage.scene.versions)) == []


def test_a_move_back_that_cannot_be_synced_is_made_and_so_is_the_rest(scenes: Scenes, place: Path) -> None:
    stage = Stage(scenes, "update, package taken back", place)
    (_, (_, sync)) = moves(stage)
    met = stage.strike(sync, "error=EIO")
    assert met.finished.returncode == 6, str(met.finished)
    assert "the rollback is incomplete" in met.finished.stderr
    assert "live: as before" in met.finished.stderr
    site = stage.site
    assert {name: site.live_version(name) for name in ("alpha", "beta")} == stage.scene.versions
    assert (site.lock_text(), site.git("status", "--porcelain")) == (site.git("show", "HEAD:uv.lock") + "\n", "")
    assert stage.aftermath(1, expected=stage.expected_after(met.finished)) == []


def test_what_cannot_be_told_is_told_when_the_disk_is_well_again(scenes: Scenes, place: Path) -> None:
    stage = Stage(scenes, "rollback", place)
    at = behind_the_flip(stage.own_points(), "fsync", "/.pending.json.new")
    met = stage.strike(at, "error=EIO", lasting=True)
    assert "cannot be kept" in met.finished.stderr
    assert stage.aftermath(1) == []
