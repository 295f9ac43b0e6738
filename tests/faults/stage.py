"""Where faults are made: one place to which a site is brought back before each point, and what comes after a fault."""

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tests.faults.aftermath import Expected, Eyewitness
from tests.faults.invariants import unless
from tests.faults.scenes import SCENES, Scene, Scenes
from tests.faults.tracing import Call, Hit, followed, hit, recorded, spread
from tests.support.commands import Finished
from tests.support.sites import SampleSite

T = TypeVar("T")

PLACE = "<place>"  # in recorded calls: each stage has its own
TRIES = 9  # a busy machine begins and ends processes all the time
FAILED = frozenset({3, 4, 6})
# Scenes that have most of their calls in common with others: of these, every so manyth will do.
AKIN = frozenset(
    {"init without a venv", "update without git", "update, tests fail", "update, one held back", "update, taken back"}
)
SHARE_OF_AKIN = 3
SHARE_OF_ALIKE = 3  # of the calls about the log, or about one file after the other of a whole tree
LIVE = {"update": "updated", "rollback": "rolled back to"}  # subjects of mails that tell of a new release
DONE = frozenset({0, 6, 7})  # how a command that comes upon an interrupted run may end
NO_RELEASE = 9  # a killed `init` may leave no release, so prune has nothing to do


class Ground:
    """A directory that is brought back to what it was before every point."""

    def __init__(self, base: Path) -> None:
        self.place, self._kept = base / "stage", base / "kept"
        self.place.mkdir()

    def keep(self) -> None:
        """Let what is there now be what it is brought back to."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.place, self._kept, symlinks=True)

    def bring_back(self) -> None:
        """Bring it back."""
        shutil.rmtree(self.place)
        shutil.copytree(self._kept, self.place, symlinks=True)


class Stage:
    """A scene at one place, at which the site is the same before every point."""

    def __init__(self, scenes: Scenes, name: str, place: Path) -> None:
        self.name = name
        self.scene: Scene = SCENES[name]
        self.command = self.scene.command
        self._scenes: Scenes | None = scenes
        self._ground = Ground(place)
        self.site = scenes.copy(name, self._ground.place)
        temporary = self._ground.place / "tmp"
        temporary.mkdir()
        self.site.env["TMPDIR"] = str(temporary)
        self._seen = Eyewitness.of(self.site, name)
        self._ground.keep()

    def freeze(self, command: str) -> None:
        """Let the site as it is now be what every point begins with, and `command` what meets the fault."""
        self.command, self._scenes = command, None
        self._ground.keep()

    def again(self) -> SampleSite:
        """Bring the site back to what it was."""
        self._ground.bring_back()
        return self.site

    def strike(self, at: Call, fault: str, *, lasting: bool = False) -> Hit:
        """Let a fault hit the stage's command at one call.

        How many files it opens depends on how many processes there are, so that the call may have to be found again.
        """
        for _ in range(TRIES):
            met = hit(self.again(), self.command, at=at, fault=fault, lasting=lasting)
            if met.made:
                break
            at = self._record()[at.position]
        return met

    def aftermath(self, number: int, *, cleaned: bool = False, expected: Expected | None = None) -> list[str]:
        """Name what does not hold when releaser is used again after a fault.

        After every second point, by its number, the first command is not the update itself, but another one. `cleaned`
        says that releaser has had the chance to clean up by itself.
        """
        witness = self._seen.witness
        broken = witness.after_command() if cleaned else witness.at_once()
        if number % 2 == 0:
            finished = self.site.releaser("prune")
            done = {*DONE, NO_RELEASE} if self.command == "init" else DONE
            broken += unless(finished.returncode in done, f"I6: prune failed: {finished}") + witness.after_command()
        return broken + self._seen.after_next_update(expected)

    def expected_after(self, finished: Finished) -> Expected | None:
        """Return what is to come after a command that has told of trouble; the next update tells how that ended."""
        told = rf"\A.*site: {LIVE.get(self.name)}"  # the subject, as the text names the changes at each attempt
        if self.name == "update" and finished.returncode in FAILED:
            return Expected(told=told, versions=self.scene.versions)
        if self.name.endswith("taken back") and finished.returncode:  # first for the fault, then on its own account
            return Expected(told=self.scene.told, versions=self.scene.versions, several=True)
        if self.name in LIVE and finished.returncode == 7 and "mail: kept" in finished.stderr:
            return Expected(told=told, versions=self.scene.versions)
        return None

    def own_points(self) -> list[Call]:
        """Return the calls of the command that change something; those of a scene are recorded once a session."""
        if self._scenes is None:
            return self._record()
        place = str(self._ground.place)
        found = self._scenes.once(f"calls of {self.name}", lambda: moved(self._record(), place, PLACE))
        return moved(found, PLACE, place)

    def _record(self) -> list[Call]:
        return recorded(self.again(), self.command, codes={*DONE, self.scene.code})

    def count_children(self) -> int:
        """Count what the command's children change, once uv's cache holds all that they need."""
        assert self._scenes is not None
        return self._scenes.once(
            f"children of {self.name}", lambda: [followed(self.again(), self.command).counted for _ in range(2)][-1]
        )


def moved(calls: list[Call], place: str, elsewhere: str) -> list[Call]:
    """Return the calls as they are in a copy of the stage."""
    return [replace(call, text=call.text.replace(place, elsewhere)) for call in calls]


def thinned(name: str, calls: list[Call]) -> list[Call]:
    """Leave out what a scene has in common with others, as well as that can be told: evenly."""
    return calls[::SHARE_OF_AKIN] if name in AKIN else calls


def beginning_with(points: Sequence[T], file: str) -> list[T]:
    """Return the points from the first one on that is about a file; all of them without one."""
    return list(itertools.dropwhile(lambda point: file not in str(point), points))


def few_alike(calls: Sequence[Call], *, first: int = 0) -> list[Call]:
    """Keep one of three of the calls that have many like them, starting with the `first`, and all others."""
    numbers = itertools.count(SHARE_OF_ALIKE - first % SHARE_OF_ALIKE)
    return [call for call in calls if not call.is_one_of_many or next(numbers) % SHARE_OF_ALIKE == 0]


def chosen(calls: list[Call], count: int, *, all_points: bool, names: bool = False) -> list[Call]:
    """Choose the points: all, or a spread of those that are not about the log and that a busy machine does not move."""
    if all_points:
        return calls
    return spread([call for call in calls if call.is_found_again and not call.concerns_a_log], count, names=names)


def evenly(total: int, count: int) -> list[int]:
    """Choose `count` numbers from 1 to nearly `total`, which may be a little less at the next run."""
    last = max(1, int(total * 0.97))
    return sorted({1 + number * last // count for number in range(min(count, last))})
