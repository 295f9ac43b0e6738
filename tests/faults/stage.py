"""Where faults are made: one place to which a site is brought back before each point, and what comes after a fault."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from tests.faults.aftermath import Expected, Eyewitness
from tests.faults.scenes import SCENES, Scene, Scenes
from tests.faults.tracing import Call, Hit, followed, hit, recorded, spread
from tests.support.commands import Finished
from tests.support.sites import SampleSite

T = TypeVar("T")

MEMORY = Path("/dev/shm")
PLACE = "<place>"  # in recorded calls: each stage has its own
TRIES = 8  # a busy machine begins and ends processes all the time
FAILED = frozenset({3, 4, 6})
# Scenes that have most of their calls in common with others: of these, every so manyth will do.
AKIN = frozenset(
    {"init without a venv", "update without git", "update, tests fail", "update, one held back", "update, taken back"}
)
SHARE_OF_AKIN = 3
SHARE_OF_ALIKE = 3  # of the calls about the log, or about one file after the other of a whole tree
FOLLOW_UP_FAILED = 7
LIVE = {"update": "updated", "rollback": "rolled back to"}  # subjects of mails that tell of a new release
DONE = frozenset({0, 6, 7})  # how a command that comes upon an interrupted run may end
NO_RELEASE = 9  # a killed `init` may leave no release, so prune has nothing to do


class Stage:
    """A scene at one place, at which the site is the same before every point."""

    def __init__(self, scenes: Scenes, name: str, place: Path) -> None:
        self.name = name
        self.scene: Scene = SCENES[name]
        self.command = self.scene.command
        self._scenes: Scenes | None = scenes
        self._place, self._kept = place / "stage", place / "kept"
        self._place.mkdir()
        self.site = self._equipped(scenes.copy(name, self._place))
        self._seen = Eyewitness.of(self.site, name)
        self._keep()

    def freeze(self, command: str) -> None:
        """Let the site as it is now be what every point begins with, and `command` what meets the fault."""
        self.command, self._scenes = command, None
        shutil.rmtree(self._kept)
        self._keep()

    def _keep(self) -> None:
        shutil.copytree(self._place, self._kept, symlinks=True)

    def _equipped(self, site: SampleSite) -> SampleSite:
        temporary = self._place / "tmp"
        temporary.mkdir()
        site.env["TMPDIR"] = str(temporary)
        return site

    def again(self) -> SampleSite:
        """Bring the site back to what it was."""
        shutil.rmtree(self._place)
        shutil.copytree(self._kept, self._place, symlinks=True)
        return self.site

    def strike(self, at: Call, fault: str, *, lasting: bool = False) -> Hit:
        """Let a fault hit the stage's command at one call.

        How many files it opens depends on how many processes there are, so that the call may have to be found again.
        """
        met = hit(self.again(), self.command, at=at, fault=fault, lasting=lasting)
        for _ in range(TRIES):
            if met.made:
                break
            again = self._record()[at.position]
            met = hit(self.again(), self.command, at=again, fault=fault, lasting=lasting)
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
            is_unadopted = self.command == "init" and finished.returncode == NO_RELEASE
            if finished.returncode not in DONE and not is_unadopted:
                broken.append(f"I6: prune failed: {finished}")
            broken += witness.after_command()
        return broken + self._seen.after_next_update(expected)

    def expected_after(self, finished: Finished) -> Expected | None:
        """Return what is to come after a command that has told of trouble; the next update tells how that ended."""
        told = rf"\A.*site: {LIVE.get(self.name)}"  # the subject, as the text names the changes at each attempt
        if self.name == "update" and finished.returncode in FAILED:
            return Expected(told=told, versions=self.scene.versions)
        if self.name.endswith("taken back") and finished.returncode:  # first for the fault, then on its own account
            return Expected(told=self.scene.told, versions=self.scene.versions, several=True)
        if self.name in LIVE and finished.returncode == FOLLOW_UP_FAILED and "mail: kept" in finished.stderr:
            return Expected(told=told, versions=self.scene.versions)
        return None

    def own_points(self) -> list[Call]:
        """Return the calls of the command that change something; those of a scene are recorded once a session."""
        if self._scenes is None:
            return self._record()
        found = self._scenes.once(f"calls of {self.name}", lambda: moved(self._record(), str(self._place), PLACE))
        return moved(found, PLACE, str(self._place))

    def _record(self) -> list[Call]:
        return recorded(self.again(), self.command, codes={*DONE, self.scene.code})

    def count_children(self) -> int:
        """Count what the command's children change, once uv's cache holds all that they need."""
        assert self._scenes is not None
        return self._scenes.once(f"children of {self.name}", self._count_children)

    def _count_children(self) -> int:
        followed(self.again(), self.command)
        return followed(self.again(), self.command).counted


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


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a directory in memory, if there is such a thing, as thousands of sites are made and thrown away."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
