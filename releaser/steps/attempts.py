"""Trying a part of the upgrades: in a venv that is made quickly, or as a candidate that may go live."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.errors import BuildError, ResolutionError, ToolError
from releaser.locking.diff import LockDiff
from releaser.locking.graph import Graph
from releaser.project.disk import can_clone
from releaser.steps.build import build, install
from releaser.steps.gate import run_trial, trials
from releaser.steps.holding import Fault
from releaser.steps.particulars import with_particulars
from releaser.steps.suspects import complaint

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.gate import Trial, Tried
    from releaser.steps.sublocks import SubLocks

SEARCH_VENV = ".releaser-search"  # in the scratch tree, so that it goes with that


def try_both(one: Attempts, other: Attempts, locks: tuple[LockFile, LockFile]) -> tuple[Fault | None, Fault | None]:
    """Try two locks side by side, each in its tree. Raises as `fault_with`."""
    from concurrent.futures import ThreadPoolExecutor  # which hardly any night needs

    with ThreadPoolExecutor(max_workers=1) as pool:
        beside = pool.submit(other.fault_with, locks[1])
        try:
            return one.fault_with(locks[0]), beside.result()
        except BaseException:
            other.run.site.runner.stop()
            raise


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Tries parts of the candidate `full`, of which `locks` makes the locks; `live` is the lock of what is live."""

    run: Run
    fitness: Fitness
    full: Candidate
    locks: SubLocks
    live: LockFile

    def fault_with(self, lock: LockFile) -> Fault | None:
        """Try a lock in a venv that is not compiled, and is gone afterwards; None if it passes.

        Raises ResolutionError if no venv can be made.
        """
        tree = self.full.resolution.tree
        venv = tree / SEARCH_VENV
        (tree / "uv.lock").write_bytes(lock.data)
        try:
            self._install(tree, venv)
            for trial in trials(self.run, self.fitness):
                tried = self._try(trial, venv, tree / "uv.lock")
                if not tried.passed:
                    return Fault(words=tried.fault, output=tried.output)
        except ToolError as error:  # of what cannot be installed, nothing is to go live
            self._see_that_others_can_be_installed(tree, venv, error)
            output = error.output or error.message
            return Fault(words=f"it cannot be installed{complaint(output)}", output=output)
        finally:
            shutil.rmtree(venv, ignore_errors=True)
        return None

    def in_tree_of(self, other: Run) -> Attempts:
        """Return the same in another staging tree, so that two can be made at once."""
        resolution = replace(self.full.resolution, tree=other.site.project.root)
        return replace(self, run=other, full=replace(self.full, resolution=resolution))

    def _try(self, trial: Trial, venv: Path, lock: Path) -> Tried:
        try:
            return run_trial(self.run, trial, venv, lock)
        except BuildError as error:  # of what only tests need, for which no upgrade is to blame
            raise ResolutionError(error.message, advice=error.advice, output=error.output) from error

    def _install(self, tree: Path, venv: Path) -> None:
        # Links to uv's cache would let a test that edits its packages change whatever is built later.
        mode = "clone" if can_clone(tree) else "copy"
        install(self.run, self.fitness, tree, venv, link_mode=mode, compiled=False)

    def _see_that_others_can_be_installed(self, tree: Path, venv: Path, failure: ToolError) -> None:
        """Raise ResolutionError if not even the packages as they were can be: there is no room, or no network."""
        shutil.rmtree(venv, ignore_errors=True)
        (tree / "uv.lock").write_bytes(self.locks.base.data)
        try:
            self._install(tree, venv)
        except ToolError as error:
            message = f"no part of the upgrades can be installed to be tested: {failure.message}"
            advice = error.advice or "See what uv says; the next update goes on with the search."
            raise ResolutionError(message, advice=advice, output=failure.output) from error

    def build(self, lock: LockFile, names: tuple[str, ...]) -> Candidate:
        """Build a candidate properly, with the upgrades `names`. Raises BuildError."""
        full = self.full.resolution
        (full.tree / "uv.lock").write_bytes(lock.data)
        resolution = replace(full, lock=lock, diff=self._dragged(LockDiff.between(self.live, lock), names))
        key = replace(self.full.key, lock_sha256=lock.key)
        return with_particulars(self.run, build(self.run, self.fitness, resolution, key))

    def _dragged(self, diff: LockDiff, names: tuple[str, ...]) -> LockDiff:
        """Note for what nobody asked for which upgrades needed it."""
        needs = Graph.of(self.full.resolution.lock).needs
        return LockDiff(
            changes=tuple(
                one
                if one.name in names or one.new is None
                else replace(one, dragged_by=tuple(name for name in names if one.name in needs.get(name, ())))
                for one in diff
            )
        )
