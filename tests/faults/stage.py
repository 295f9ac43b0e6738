"""The place where faults are made: a site is brought back to the same state before each of them."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.faults.scenes import DONE, SCENES, Eyewitness, Scenes
from tests.faults.tracing import SYNCS, Call, Hit, hit, recorded, require_strace

TRIES = 4  # a busy machine begins and ends processes all the time, which moves the calls of a run
SHARE = 16  # of calls that are many and alike, a run of CI takes one of so many


class Stage:
    """A scene at one place, at which the site is the same before every fault."""

    def __init__(self, scenes: Scenes, name: str, place: Path) -> None:
        require_strace()
        self.scene = SCENES[name]
        self._place, self._kept = place / "stage", place / "kept"
        self.site = scenes.copy(name, self._place)
        self.command = self.scene.command.format(outer=self.site.outer)
        self.eyewitness = Eyewitness.of(self.site, name)
        self.keep(self.command)

    def keep(self, command: str) -> None:
        """Let the site as it is now be the beginning of every point, and `command` the one that meets the fault."""
        self.command = command
        shutil.rmtree(self._kept, ignore_errors=True)
        _copy(self._place, self._kept)

    def bring_back(self) -> None:
        """Bring the site back to its beginning."""
        shutil.rmtree(self._place)
        _copy(self._kept, self._place)

    def calls(self) -> list[Call]:
        """Run the command without a fault; return the calls that change something."""
        self.bring_back()
        return recorded(self.site, self.command, codes={*DONE, self.scene.code})

    def make_ready(self) -> None:
        """Let every point begin with a candidate that is ready, so that the run comes to its change at once."""
        calls = self.calls()
        self.strike(calls[from_phase(calls, "changing")], "signal=KILL")
        self.site.releaser("prune", check=0)
        self.keep(self.command)

    def strike(self, at: Call, fault: str) -> Hit:
        """Let a fault hit the command at one call, which may have moved: other processes change what it opens."""
        for _ in range(TRIES):
            self.bring_back()
            met = hit(self.site, self.command, at=at, fault=fault)
            if met.is_exact:
                break
            calls = self.calls()
            at = calls[min(at.position, len(calls) - 1)]
        return met


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--archive", source, target], check=True)


def from_phase(calls: Sequence[Call], phase: str) -> int:
    """Return the position of the first write of a phase to the journal; 0 for a run without it."""
    text = f'\\"phase\\": \\"{phase}\\"'  # as strace prints it
    return next((call.position for call in calls if call.name == "write" and text in call.text), 0)


def chosen(calls: Sequence[Call], turn: int, *, every_point: bool) -> list[Call]:
    """Return the calls that leave another disk than the call before them; without `every_point`, few of those alike.

    A sync leaves the disk as programs see it, so a kill right behind it is the kill before it.
    """
    quiet = {*SYNCS, "fchmod"}  # a temporary file has its mode when it is made
    differing = [call for number, call in enumerate(calls) if number == 0 or calls[number - 1].name not in quiet]
    if every_point:
        return differing
    alike = [call for call in differing if call.is_one_of_many]
    return [*(call for call in differing if not call.is_one_of_many), *alike[turn % SHARE :: SHARE]]


def evenly(total: int, count: int, turn: int) -> list[int]:
    """Choose `count` numbers from 1 to `total`, evenly, others in each turn."""
    return sorted({1 + (turn + number * total // min(count, total)) % total for number in range(min(count, total))})


def spread(calls: Sequence[Call], count: int, turn: int) -> list[Call]:
    """Choose `count` calls, others in each turn: half of them from the change on, if the run has a change."""
    start = from_phase(calls, "changing")
    parts = [[call for call in calls if (call.position >= start) == is_late] for is_late in (False, True)]
    return [part[number - 1] for part in parts for number in evenly(len(part), count // 2, turn)]
