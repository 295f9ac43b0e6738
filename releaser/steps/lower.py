"""Lower versions of packages whose newest failed: the newest that works goes live, and not none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from releaser.errors import BuildError, ResolutionError
from releaser.locking.culprits import Exhausted
from releaser.locking.diff import LockDiff
from releaser.steps.gate import first_failure
from releaser.steps.gating import Lower
from releaser.steps.holding import Fault, hold_back
from releaser.steps.mend import remove_unsealed
from releaser.steps.particulars import with_particulars
from releaser.steps.resolve import candidate_key, lock_of
from releaser.steps.unbuildable import built

if TYPE_CHECKING:
    from releaser.locking.culprits import Budget
    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.resolve import Failed, Resolution


class Resolver(Protocol):
    """Resolves once more, in the same tree, with what is held by then."""

    def __call__(self, failed: Failed, lower: Lower | None) -> Resolution:
        """Return the newest that may come in; `failed` is as of `resolve`. Raises ResolutionError."""


def bring_in_lower(
    run: Run,
    fitness: Fitness,
    passing: Candidate | None,
    *,
    budget: Budget,
    again: Resolver,
    known: frozenset[str],
) -> Candidate | None:
    """Add to what passes, None for what is live, lower versions of what was found to fail, as long as these pass.

    Of each package the newest of the next lower series is tried, and of the live one at last; then what is just older
    than what failed, unless the package was `known` to fail before. Returns what is to go live; None if nothing but
    what is live passes.
    """
    descent = _Descent(run=run, fitness=fitness, budget=budget, again=again, passing=passing)
    return descent.go(frozenset(one.name for one in run.holds().entries if one.by == "tests"), known)


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
        self._moved: frozenset[str] = frozenset()

    def go(self, every: frozenset[str], known: frozenset[str]) -> Candidate | None:
        """Try all together, and each alone if that fails."""
        rivals = self._descend(every, frozenset(), known)
        for name in sorted(rivals):
            self._descend(frozenset({name}), rivals, known)
        return self._passing

    def _descend(self, group: frozenset[str], rivals: frozenset[str], known: frozenset[str]) -> frozenset[str]:
        """Go down with a group of packages, while its rivals stay; return those of which several failed together."""
        near: frozenset[str] = frozenset()
        while self._budget.allows():
            patched = frozenset() if self._budget.allows(2) else group
            resolution = self._resolution(Lower(stay=rivals - group - self._moved, patched=patched, near=near))
            if resolution is None:
                break
            if not self._news(resolution.lock) & group:
                if near or not group - self._moved - known:
                    break
                near = group - self._moved - known
                continue
            held = self._run.holds()
            candidate = self._build(resolution)
            if candidate is None:
                if self._run.holds() == held:
                    break
                continue
            news = self._news(candidate.resolution.lock) & group
            fault = self._fault(candidate)
            if fault is None:
                self._moved |= news
            elif len(news) > 1:
                return news
            else:
                hold_back(self._run, candidate.resolution.lock, candidate.key, dict.fromkeys(news, fault))
                if near or not news:
                    break
        return frozenset()

    def _resolution(self, lower: Lower) -> Resolution | None:
        try:
            return self._again("out", lower)
        except ResolutionError:
            return None

    def _news(self, lock: LockFile) -> frozenset[str]:
        base = self._passing.resolution.lock if self._passing is not None else self._live
        return frozenset(one.name for one in LockDiff.between(base, lock) if one.new)

    def _build(self, resolution: Resolution) -> Candidate | None:
        """Build a candidate, without what cannot be built, which is held; None if that leaves nothing new."""
        try:
            self._budget.spend()
            key = candidate_key(self._run, self._fitness, resolution.lock)
            return built(self._run, self._fitness, resolution, key)
        except (BuildError, Exhausted):
            return None

    def _fault(self, candidate: Candidate) -> Fault | None:
        """Test a candidate; what passes takes the place of what passed before."""
        failed = first_failure(self._run, self._fitness, candidate)
        if failed is not None:
            remove_unsealed(self._run, candidate.directory)
            return Fault(words=failed.fault, output=failed.output)
        if self._passing is not None:
            remove_unsealed(self._run, self._passing.directory)
        self._passing = with_particulars(self._run, candidate)
        return None
