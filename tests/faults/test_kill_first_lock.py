"""kill -9 while a project gets its first lock: afterwards it has both files in one commit, or neither."""

import os
from pathlib import Path

import pytest

from tests.faults.invariants import unless
from tests.faults.stage import SHARE_OF_AKIN, Ground, few_alike
from tests.faults.tally import Tallies
from tests.faults.tracing import Call, hit, recorded, spread
from tests.support.lockless import fill, installed, make_lockless
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

pytestmark = pytest.mark.usefixtures("strace")

POINTS = 1  # of the spread, beside those around the commit
INSTALLED = ["alpha==1.0.0", "beta==1.0.0", "gamma==1.0.0"]
FILES = ("pyproject.toml", "uv.lock")
# The calls that decide: those around the move of the checkout, and adopting the venv.
DECIDING = (
    ("rename", "pending.json"),
    ("rename", "journal.json"),
    ("unlink", "journal.json"),
    ("unlink", "staging-tree"),
    ("renameat2", ".venv"),
    ("rename", "manifest.json"),
)


class Crossing:
    """A site without a lock, brought back to that before every point."""

    def __init__(self, place: Path, templates: Templates) -> None:
        self._ground = Ground(place)
        self.site: SampleSite = make_lockless(SiteFactory(self._ground.place, templates), pyproject=None)
        fill(self.site, self.site.link, *INSTALLED)
        self.site.push_commit("Name the index", {"uv.toml": 'no-index = true\nfind-links = ["../index"]\n'})
        self.words = ("init", "--from-venv", str(self.site.link))
        self._ground.keep()

    def again(self) -> SampleSite:
        """Bring the site back to what it was."""
        self._ground.bring_back()
        return self.site

    def calls(self) -> list[Call]:
        """Record what changes something; a file elsewhere has another name each time, and so could not be found."""
        here = f"{self._ground.place}/"
        found = recorded(self.again(), *self.words)
        return [one for one in found if not one.concerns_a_log and (one.name != "openat" or one.path.startswith(here))]

    def broken(self, number: int) -> list[str]:
        """Name what does not hold after a kill; at every second point another command comes first."""
        found = self._live()
        if number % 2:
            finished = self.site.releaser("prune")
            # It had not come to anything yet.
            known = any(one in finished.stderr for one in ("pyproject.toml does not exist", "there is no project here"))
            found += unless(finished.returncode in (0, 3 if known else 7), f"prune: {finished}") + self._live()
        finished = self.site.releaser(*self.words)
        states = {self._text(name) is None for name in FILES}
        found += unless(
            self._is_clean() and len(states) == 1, f"one of the files: {self.site.git('status', '--short')}"
        )
        whole = "the project already has a lock" in finished.stderr  # which is adopted as every other one is
        found += unless(finished.returncode == (3 if whole else 0), f"once more: {finished}")
        if whole:
            finished = self.site.releaser("init")
            found += unless(finished.returncode == 0, f"adopting it: {finished}")
            finished = self.site.releaser("update", env={"RELEASER_UPGRADE": "patch"})  # which pushes what is due
            found += unless(finished.returncode == 0, f"update: {finished}")
        found += unless(self._has_all(), f"it has not got all: {self.site.git('status', '--short')}")
        return found + self._live() + self._left_over()

    def _live(self) -> list[str]:
        there = installed(self.site.link / "bin" / "python")
        return unless(there == INSTALLED, f"installed is {there}")

    def _is_clean(self) -> bool:
        return self.site.git("status", "--porcelain") == ""

    def _has_all(self) -> bool:
        site = self.site
        if not site.link.is_symlink() or any(self._text(name) is None for name in FILES):
            return False
        same = self._text("uv.lock") == (site.link.resolve().parent / "uv.lock").read_text(encoding="utf-8")
        tracked = site.git("ls-files", *FILES).split() == list(FILES)
        return same and tracked and self._is_clean() and site.head() == site.remote_head()

    def _text(self, name: str) -> str | None:
        path = self.site.path / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    def _left_over(self) -> list[str]:
        places = (self.site.outer, self.site.path, self.site.state_dir)
        names = [name for place in places for name in os.listdir(place)]
        return [f"{name} is left" for name in names if name.endswith((".new", "-staging")) or name == "journal.json"]


def test_a_kill_leaves_all_or_nothing(place: Path, templates: Templates, tally: Tallies, all_points: bool) -> None:
    crossing, points = Crossing(place, templates), tally("kill -9 while there is no lock yet")
    calls = crossing.calls()
    decisive = [
        next(call for call in calls if call.name == name and f'{path}"' in call.text) for name, path in DECIDING
    ]
    steady = [call for call in calls if call.is_found_again]
    others = few_alike(calls)[::SHARE_OF_AKIN] if all_points else spread(steady, POINTS)
    for number, call in enumerate([*decisive, *others]):
        met = hit(crossing.again(), *crossing.words, at=call, fault="signal=KILL")
        broken = unless(met.finished.returncode == -9, f"nothing was killed: {met.finished}")
        points.add("init", str(call), broken + crossing.broken(number))
    points.check()
