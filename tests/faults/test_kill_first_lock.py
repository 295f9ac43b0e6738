"""kill -9 while a project gets its first lock: afterwards it has both files in one commit, or neither."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.stage import SHARE_OF_AKIN, few_alike, place
from tests.faults.tally import Tally
from tests.faults.tracing import Call, hit, recorded, require_strace, spread
from tests.support.lockless import fill, installed, make_lockless
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

__all__ = ["place"]

KILLED = -9
POINTS = 1  # of the spread, beside those around the commit
INSTALLED = ["alpha==1.0.0", "beta==1.0.0", "gamma==1.0.0"]
FILES = ("pyproject.toml", "uv.lock")


class Crossing:
    """A site without a lock, brought back to that before every point."""

    def __init__(self, place: Path, templates: Templates) -> None:
        self._place, self._kept = place / "site", place / "kept"
        self._place.mkdir()
        self.site: SampleSite = make_lockless(SiteFactory(self._place, templates), pyproject=None)
        fill(self.site, self.site.link, *INSTALLED)
        self.site.push_commit("Name the index", {"uv.toml": 'no-index = true\nfind-links = ["../index"]\n'})
        self.words = ("init", "--from-venv", str(self.site.link))
        shutil.copytree(self._place, self._kept, symlinks=True)

    def again(self) -> SampleSite:
        """Bring the site back to what it was."""
        shutil.rmtree(self._place)
        shutil.copytree(self._kept, self._place, symlinks=True)
        return self.site

    def calls(self) -> list[Call]:
        """Record what changes something; a file elsewhere has another name each time, and so could not be found."""
        found = recorded(self.again(), *self.words)
        return [one for one in found if not one.concerns_a_log and (one.name != "openat" or self._is_here(one.path))]

    def _is_here(self, path: str) -> bool:
        return path.startswith(f"{self._place}/")

    def broken(self, number: int) -> list[str]:
        """Name what does not hold after a kill; at every second point another command comes first."""
        found = self._live()
        if number % 2:
            finished = self.site.releaser("prune")
            # It had not come to anything yet.
            known = any(one in finished.stderr for one in ("pyproject.toml does not exist", "there is no project here"))
            found += [f"prune: {finished}"] if finished.returncode not in (0, 3 if known else 7) else []
            found += self._live()
        finished = self.site.releaser(*self.words)
        found += [] if self._has_both_or_neither() else [f"one of the files: {self.site.git('status', '--short')}"]
        whole = "the project already has a lock" in finished.stderr  # which is adopted as every other one is
        found += [] if finished.returncode == (3 if whole else 0) else [f"once more: {finished}"]
        if whole:
            finished = self.site.releaser("init")
            found += [f"adopting it: {finished}"] if finished.returncode else []
            finished = self.site.releaser("update", env={"RELEASER_UPGRADE": "patch"})  # which pushes what is due
            found += [f"update: {finished}"] if finished.returncode else []
        found += [] if self._has_all() else [f"it has not got all: {self.site.git('status', '--short')}"]
        return found + self._live() + self._left_over()

    def _live(self) -> list[str]:
        there = installed(self.site.link / "bin" / "python")
        return [] if there == INSTALLED else [f"installed is {there}"]

    def _has_all(self) -> bool:
        site = self.site
        if not site.link.is_symlink() or any(self._text(name) is None for name in FILES):
            return False
        same = self._text("uv.lock") == (site.link.resolve().parent / "uv.lock").read_text(encoding="utf-8")
        tracked = site.git("ls-files", *FILES).split() == list(FILES)
        return same and tracked and site.git("status", "--porcelain") == "" and site.head() == site.remote_head()

    def _has_both_or_neither(self) -> bool:
        is_clean = self.site.git("status", "--porcelain") == ""
        return is_clean and len({self._text(name) is None for name in FILES}) == 1

    def _text(self, name: str) -> str | None:
        path = self.site.path / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    def _left_over(self) -> list[str]:
        places = (self.site.outer, self.site.path, self.site.state_dir)
        names = [name for place in places for name in os.listdir(place)]
        return [f"{name} is left" for name in names if name.endswith((".new", "-staging")) or name == "journal.json"]


def around_the_commit(calls: list[Call]) -> list[Call]:
    """Choose the calls that decide: those around the move of the checkout, and adopting the venv."""
    deciding = [
        ("rename", "pending.json"),
        ("rename", "journal.json"),
        ("unlink", "journal.json"),
        ("unlink", "staging-tree"),
        ("renameat2", ".venv"),
        ("rename", "manifest.json"),
    ]
    found = []
    for name, path in deciding:
        found += [call for call in calls if call.name == name and call.text.count(f'{path}"')][:1]
    return found


@pytest.fixture(autouse=True)
def strace() -> None:
    """Skip where there is no strace."""
    require_strace()


def test_a_kill_leaves_all_or_nothing(
    place: Path, templates: Templates, tally: Callable[[str], Tally], all_points: bool
) -> None:
    crossing, points = Crossing(place, templates), tally("kill -9 while there is no lock yet")
    calls = crossing.calls()
    steady = [call for call in calls if call.is_found_again]
    decisive = around_the_commit(calls)
    assert len(decisive) == 6
    others = few_alike(calls)[::SHARE_OF_AKIN] if all_points else spread(steady, POINTS)
    for number, call in enumerate([*decisive, *others]):
        met = hit(crossing.again(), *crossing.words, at=call, fault="signal=KILL")
        broken = [] if met.finished.returncode == KILLED else [f"nothing was killed: {met.finished}"]
        points.add(command="init", point=str(call), broken=broken + crossing.broken(number))
    points.check()
