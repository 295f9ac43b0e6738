"""Lower versions of packages whose newest failed: the newest that works goes live, and not none."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from releaser.errors import BuildError, ReleaserError, ResolutionError
from releaser.locking.culprits import Exhausted
from releaser.locking.diff import LockDiff
from releaser.locking.policy import is_newer
from releaser.steps.gate import first_failure, steady_failure
from releaser.steps.gating import Lower
from releaser.steps.holding import Fault, hold_back
from releaser.steps.mend import remove_unsealed
from releaser.steps.particulars import with_particulars
from releaser.steps.resolve import candidate_key, lock_of
from releaser.steps.runners import failing_tests
from releaser.steps.unbuildable import built

if TYPE_CHECKING:
    from releaser.locking.culprits import Budget
    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.resolve import Failed, Resolution


log = logging.getLogger(__name__)


class Resolver(Protocol):
    """Resolves once more, in the same tree, with what is held by then."""

    def __call__(self, failed: Failed, lower: Lower | None) -> Resolution:
        """Return the newest that may come in; `failed` is as of `resolve`. Raises ResolutionError."""


def bring_in_lower(
    run: Run, fitness: Fitness, passing: Candidate | None, *, budget: Budget, again: Resolver
) -> Candidate | None:
    """Add to what passes, None for what is live, lower versions of what was found to fail, as long as these pass.

    Of each package the newest of the next lower series is tried, and of the live one at last; then what is just older
    than what failed. Returns what is to go live; None if nothing but what is live passes.
    """
    budget.begin()
    return _Descent(run=run, fitness=fitness, budget=budget, again=again, passing=passing).go()


class _Descent:
    """The tries, one after the other, each on top of what `passing` has."""

    def __init__(
        self, *, run: Run, fitness: Fitness, budget: Budget, again: Resolver, passing: Candidate | None
    ) -> None:
        self._run = run
        self._fitness = fitness
        self._budget = budget
        self._again = again
        self._passing = passing
        self._live = lock_of(run.store.live())

    def go(self) -> Candidate | None:
        """Try all together, and each alone if that fails; what has passed is not lost by whatever fails then."""
        every = frozenset(one.name for one in self._run.holds().entries if one.by == "tests")
        try:
            for name in sorted(self._descend(every)):
                self._descend(frozenset({name}))
        except ReleaserError as error:
            self._run.note_problem(error, follow_up=False)
        except OSError as error:
            log.warning("no lower versions can be tried: %s", error)
        return self._passing

    def _descend(self, group: frozenset[str]) -> frozenset[str]:
        """Go down with a group of packages, while all others stay; return those of which several failed together."""
        comes_near = False
        while self._budget.allows():
            near = self._those_that_stay(group) if comes_near else frozenset()
            patched = frozenset() if self._budget.allows(2) else group
            resolution = self._resolution(Lower(patched=patched, near=near), group)
            news = self._news(resolution.lock) if resolution is not None else frozenset()
            if resolution is None or not news & group:
                if comes_near or resolution is None:
                    break
                comes_near = True
                continue
            held = self._run.holds()
            candidate = self._build(resolution)
            if candidate is None:
                if self._run.holds() == held:
                    break
                continue
            news = self._news(candidate.resolution.lock)
            fault = self._fault(candidate)
            if fault is None:
                continue
            if len(news & group) > 1:
                return news & group
            if news != news & group or not fault.words:  # nobody knows which of them it is
                break
            hold_back(self._run, candidate.resolution.lock, candidate.key, dict.fromkeys(news, fault))
        return frozenset()

    def _those_that_stay(self, group: frozenset[str]) -> frozenset[str]:
        """Name the packages of which nothing newer than what is live has passed, and which may still come nearer."""
        holds, base = self._run.holds(), self._base.versions
        return frozenset(name for name, version in base.items() if name in group and holds.may_come_near(name, version))

    def _resolution(self, lower: Lower, group: frozenset[str]) -> Resolution | None:
        """Resolve; what would come in beside the group stays where it is, if that can be."""
        try:
            resolution = self._again("out", lower)
        except ResolutionError:
            return None
        base = self._base
        others = [one.name for one in LockDiff.between(base, resolution.lock) if one.old and one.new]
        stay = {name: base.versions[name] for name in others if name not in group}
        if not stay:
            return resolution
        try:
            return self._again("out", replace(lower, stay=stay))
        except ResolutionError:
            return resolution

    @property
    def _base(self) -> LockFile:
        return self._passing.resolution.lock if self._passing is not None else self._live

    def _news(self, lock: LockFile) -> frozenset[str]:
        """Name what is newer than what passes."""
        changes = LockDiff.between(self._base, lock)
        return frozenset(one.name for one in changes if one.old and one.new and is_newer(one.new, one.old))

    def _build(self, resolution: Resolution) -> Candidate | None:
        """Build a candidate, without what cannot be built, which is held; None if that leaves nothing new."""
        try:
            self._budget.spend()
            key = candidate_key(self._run, self._fitness, resolution.lock)
            return built(self._run, self._fitness, resolution, key)
        except (BuildError, Exhausted):
            return None

    def _fault(self, candidate: Candidate) -> Fault | None:
        """Test a candidate; what passes takes the place of what passed before.

        A failure of another kind than those that are known is repeated. A fault without words says nothing of it.
        """
        try:
            failed = first_failure(self._run, self._fitness, candidate)
            if failed is not None and not self._is_known(failed.fault, failed.output):
                if not self._budget.allows():
                    remove_unsealed(self._run, candidate.directory)
                    return Fault(words="", output=failed.output)
                self._budget.spent += 1
                failed = steady_failure(self._run, self._fitness, candidate, failed)
        except (ReleaserError, OSError):
            remove_unsealed(self._run, candidate.directory)
            raise
        if failed is not None:
            remove_unsealed(self._run, candidate.directory)
            return Fault(words=failed.fault, output=failed.output)
        if self._passing is not None:
            remove_unsealed(self._run, self._passing.directory)
        self._passing = with_particulars(self._run, candidate)
        return None

    def _is_known(self, words: str, output: str) -> bool:
        """Whether another version has failed so: in the same tests, with the same words but for numbers."""
        known = {(one.tests, _plain(one.reason)) for one in self._run.holds().entries if one.by == "tests"}
        return (failing_tests(output), _plain(words)) in known


def _plain(words: str) -> str:
    return re.sub(r"[\d.]+", "", words)
