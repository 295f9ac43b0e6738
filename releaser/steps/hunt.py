"""The search for what breaks the tests among the upgrades of a candidate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from releaser.locking.culprits import Exhausted, Search
from releaser.locking.diff import LockDiff
from releaser.locking.graph import Graph
from releaser.releases.verdicts import Verdicts
from releaser.report.outcome import HeldBack, Problem
from releaser.steps.attempts import Attempts
from releaser.steps.gate import first_failure
from releaser.steps.holding import Fault, hold_back
from releaser.steps.mend import remove_unsealed
from releaser.steps.resolve import lock_of
from releaser.steps.sublocks import sub_locks, those_that_need
from releaser.steps.suspects import suspects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.errors import TestsFailedError
    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate


@dataclass(kw_only=True)
class Hunt:
    """One search. `runs` counts the test runs, the repeated one of the whole candidate included."""

    run: Run
    fitness: Fitness
    full: Candidate
    failure: TestsFailedError
    runs: int = 1
    #: Whether the tests fail even with the packages as they were.
    base_failed: bool = False
    learned: int = 0
    _candidate: Candidate | None = None
    _faults: dict[str, Fault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings, resolution = self.run.site.settings, self.full.resolution
        self._deadline = time.monotonic() + settings.culprit_minutes * 60
        self._limit = settings.culprit_runs
        self._ships = settings.culprits == "hold"
        self._verdicts = Verdicts.read(self.run.site.project.state_dir)
        self._verdicts.note(resolution.lock.versions, self.full.key, passed=False)
        self._live = lock_of(self.run.store.live())
        self._locks = sub_locks(self.run, self.fitness, resolution)
        self._attempts = Attempts(
            run=self.run, fitness=self.fitness, full=self.full, locks=self._locks, live=self._live
        )
        self._search = Search(items=(), passes=self._passes, whole=self._passes_whole)

    def go(self) -> Candidate | None:
        """Search to the end; return what has passed as a whole, None if that is no more than what is live.

        Raises Exhausted, Unsteady and ResolutionError.
        """
        upgrades = self._locks.upgrades()
        if not self._base_passes():
            self.base_failed = True
            if self.run.draft.pulled is not None:  # which the caller tells
                return None
            message = f"the tests fail with {self._news} and the packages as they were, too: no package is to blame"
            self.run.draft.problems.append(Problem(message=message, advice="See what else has changed."))
            return None
        if not upgrades or self.run.site.settings.culprits == "off":
            return None
        hints = suspects(self.failure.output, self.full.venv, upgrades)
        # What needs a suspect would bring it along, and be taken for the culprit, if it stood before that.
        late = those_that_need(hints, upgrades, Graph.of(self.full.resolution.lock).needs)
        items = (*(one for one in upgrades if one not in late), *(one for one in upgrades if one in late))
        self._search.items, self._search.suspects = items, len(late)
        self._faults[items[-1]] = self._of_all
        if self._passes(items):  # what breaks the tests is none of these, but came with them
            return self._built(items) if self._ships else None
        self._search.find()
        return self._built(self._search.kept) if self._ships else None

    def what_passes(self) -> Candidate | None:
        """Return what is known to pass of a search that was not finished, if it does so as a whole."""
        part = self._search.passing
        if not self._ships or not part:
            return None
        try:
            return self._built(part)
        except Exhausted:
            return None

    def tell(self) -> None:
        """Report what is to blame, and hold it if that is wanted."""
        if not self._search.items:
            return
        full = self.full.resolution.lock
        lock, versions = self._lock(self._search.kept), full.versions
        culprits = sorted(self._search.culprits)
        faults = {name: self._faults.get(name, self._of_all) for name in culprits}
        self.run.draft.culprits = tuple(f"{name} {versions[name]}" for name in culprits)
        if not self._ships:
            self._report(faults)
            return
        hold_back(self.run, self.full.resolution.lock, self.full.key, faults, release=self.full.id)
        held = [(name, fault.words) for name, fault in faults.items()]
        named = ", ".join(self.run.draft.culprits) or "something that breaks the tests"
        held += [
            (one.name, f"it comes only together with what is held back: {named}")
            for one in LockDiff.between(lock, full)
            if one.old and one.new and one.name not in culprits
        ]
        now = self.run.now_iso()
        self.run.draft.held_back += tuple(
            HeldBack(name=name, version=versions[name], reason=reason, by="tests", since=now)
            for name, reason in sorted(held)
        )

    def _report(self, faults: Mapping[str, Fault]) -> None:
        versions = self.full.resolution.lock.versions
        self.run.draft.problems += [
            Problem(
                message=f"{name} {versions[name]} breaks the update: {fault.words}",
                advice=f'Keep it out by `releaser hold {name}`, or let releaser do so: `culprits = "hold"`.',
            )
            for name, fault in faults.items()
        ]

    @property
    def _of_all(self) -> Fault:
        return Fault(words=self.failure.fault, output=self.failure.output)

    def _base_passes(self) -> bool:
        """Tell whether the tests pass without any upgrade; what is live has just done so, if that is the same."""
        return self._is_live(self._locks.base) or self._passes(())

    def _is_live(self, lock: LockFile) -> bool:
        if self.run.draft.pulled is not None or not self._surroundings_are_live:
            return False
        return lock.same_packages(self._live)

    @property
    def _news(self) -> str:
        """What has changed beside the packages."""
        if self.run.draft.pulled is not None:
            return "the new commits"
        return "what the checkout says now" if self._surroundings_are_live else "another Python or group"

    @property
    def _surroundings_are_live(self) -> bool:
        live = self.run.store.live()
        key = self.full.key
        return live is not None and (live.manifest.python, live.manifest.group) == (key.python, key.group)

    def _lock(self, names: Sequence[str]) -> LockFile:
        culprits = [one for one in self._search.culprits if one not in names]
        return self._locks.with_upgrades(names, without=culprits)

    def _passes(self, names: tuple[str, ...]) -> bool:
        lock = self._lock(names)
        known = self._known(lock)
        if known is not None:
            return known
        self._spend(spare=1)
        with self.run.recorder.step("culprit search") as step:
            fault = self._attempts.fault_with(lock)
            verdict = "failed" if fault is not None else "passed"
            part = f"{len(names)} of {len(self._search.items)} upgrades" if names else "without any upgrade:"
            step.says(f"run {self.runs}: {part} {verdict}")
        self._note(names, lock, fault)
        return fault is None

    def _passes_whole(self, names: tuple[str, ...]) -> bool:
        if not self._ships:
            return self._passes(names)
        lock = self._lock(names)
        if self._is_live(lock):
            return True
        if self._verdicts.of(lock.versions, self.full.key) is False:
            return False
        return self._built(names) is not None

    def _built(self, names: tuple[str, ...]) -> Candidate | None:
        """Build a candidate properly and let it pass all trials; None if it does not, or is what is live."""
        lock = self._lock(names)
        if self._candidate is not None and self._candidate.resolution.lock.same_packages(lock):
            return self._candidate
        if self._is_live(lock):
            return None
        self._spend(spare=0)  # first, as what has passed is what goes live if no more may be tried
        self._discard()
        candidate = self._attempts.build(lock, names)
        self.run.draft.release = candidate.id
        self._candidate = candidate
        failed = first_failure(self.run, self.fitness, candidate)
        self._note(names, lock, None if failed is None else Fault(words=failed.fault, output=failed.output))
        if failed is not None:
            self._discard()
            return None
        return candidate

    def _discard(self) -> None:
        if self._candidate is not None:
            remove_unsealed(self.run, self._candidate.directory)
            self._candidate = None

    def _known(self, lock: LockFile) -> bool | None:
        return True if self._is_live(lock) else self._verdicts.of(lock.versions, self.full.key)

    def _spend(self, *, spare: int) -> None:
        """Count a test run; one is spared for what is to go live."""
        if self.runs + spare >= self._limit or time.monotonic() > self._deadline:
            raise Exhausted
        self.runs += 1

    def _note(self, names: tuple[str, ...], lock: LockFile, fault: Fault | None) -> None:
        self.learned += 1
        self._verdicts.note(lock.versions, self.full.key, passed=fault is None)
        if fault is not None and names:
            self._faults[names[-1]] = fault
