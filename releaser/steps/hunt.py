"""The search for what breaks the tests among the upgrades of a candidate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from releaser.errors import BuildError, ResolutionError
from releaser.locking.culprits import Budget, Exhausted, Search
from releaser.locking.diff import LockDiff
from releaser.locking.graph import Graph
from releaser.releases.verdicts import Verdicts
from releaser.report.outcome import Problem
from releaser.steps.attempts import Attempts, try_both
from releaser.steps.gate import first_failure
from releaser.steps.holding import Fault, hold_back, hold_undecided
from releaser.steps.mend import remove_unsealed
from releaser.steps.resolve import lock_of
from releaser.steps.sublocks import sub_locks, those_that_need
from releaser.steps.suspects import suspects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from releaser.errors import TestsFailedError
    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate

_PARTS = (2, 4, 8)  # into which the upgrades are divided to find one without which the others pass


@dataclass(kw_only=True)
class Hunt:
    """One search among the upgrades of `full`, which has failed. `budget` counts the runs of the tests."""

    run: Run
    fitness: Fitness
    full: Candidate
    failure: TestsFailedError
    budget: Budget
    #: The run in another staging tree, to try two parts at once; None for one after the other.
    beside: Run | None = None
    #: Whether the tests fail even with the packages as they were; None as long as nobody has tried that.
    base_failed: bool | None = None
    learned: int = 0
    _candidate: Candidate | None = None
    _faults: dict[str, Fault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings, resolution = self.run.site.settings, self.full.resolution
        self._verdicts = Verdicts.read(self.run.site.project.state_dir)
        told = (self.failure.fault, self.failure.output)
        self._verdicts.note(resolution.lock.versions, self.full.key, passed=False, fault=told)
        self._ships = settings.culprits == "hold"
        self._live = lock_of(self.run.store.live())
        self._locks = sub_locks(self.run, self.fitness, resolution)
        self._attempts = Attempts(
            run=self.run, fitness=self.fitness, full=self.full, locks=self._locks, live=self._live
        )
        self._beside = self._attempts.in_tree_of(self.beside) if self.beside is not None else None
        both = self._pass_both if self._beside is not None else None
        self._search = Search(items=(), passes=self._passes, whole=self._passes_whole, both=both)

    def test_base(self) -> None:
        """Find out whether the tests pass with the packages as they were. Raises Exhausted and ResolutionError."""
        self.base_failed = not self._base_passes()

    def go(self) -> Candidate | None:
        """Search to the end; return what has passed as a whole, None if that is no more than what is live.

        Raises Exhausted, Unsteady and ResolutionError.
        """
        upgrades = self._locks.upgrades()
        if not upgrades or self.run.site.settings.culprits == "off":
            return None
        if self.base_failed and not self._divide(upgrades):
            return None
        if not self.base_failed:
            self._put_in_order(upgrades)
            if self._passes(tuple(self._search.items)):  # what breaks the tests is none of these, but came with them
                return self._built(tuple(self._search.items)) if self._ships else None
        self._search.find()
        return self._built(self._search.kept) if self._ships else None

    def _put_in_order(self, upgrades: Sequence[str]) -> None:
        """Let what others need come before these, and what may be to blame at the end."""
        hints = {*suspects(self.failure.output, self.full.venv, upgrades), *self._undecided_before(upgrades)}
        hints = hints if len(hints) < len(upgrades) else set()
        # What needs a suspect would bring it along, and be taken for the culprit, if it stood before that.
        late = those_that_need(hints, upgrades, Graph.of(self.full.resolution.lock).needs)
        items = (*(one for one in upgrades if one not in late), *(one for one in upgrades if one in late))
        self._search.items, self._search.suspects = items, len(late)
        self._faults[items[-1]] = self._of_all

    def _undecided_before(self, upgrades: Sequence[str]) -> Iterator[str]:
        """Yield what an earlier search has not come to: something in it is to blame."""
        versions = self.full.resolution.lock.versions
        for one in self.run.holds().entries:
            if one.by == "undecided" and one.name in upgrades and versions[one.name] == one.version:
                yield one.name

    def _divide(self, upgrades: Sequence[str]) -> bool:
        """Find a part without which all others pass, though the packages as they were do not.

        Then something new needs one of the others.
        """
        versions = [*upgrades]
        hints = suspects(self.failure.output, self.full.venv, versions)
        parts = [hints] if hints and len(hints) < len(versions) else []
        self._search.items = tuple(versions)  # none of which is decided if the search is cut short
        for count in _PARTS:
            size = -(-len(versions) // count)
            parts += [tuple(versions[at : at + size]) for at in range(0, len(versions), size)]
        for part in dict.fromkeys(parts):
            rest = tuple(one for one in versions if one not in part)
            if rest and self._passes(rest):
                self._search.items, self._search.passing = (*rest, *part), rest
                self._faults[part[-1]] = self._of_all
                return True
        self._search.items = ()
        return False

    @property
    def passes_partly(self) -> bool:
        """Whether some of the upgrades are known to pass."""
        return bool(self._search.passing)

    def needed(self) -> tuple[str, ...]:
        """Find the upgrade that new code needs; all that it may be if there are no runs left."""
        names = self._search.kept
        low, high = 0, len(names)
        try:
            while high - low > 1:
                middle = (low + high + 1) // 2
                if self._passes(names[:middle]):
                    high = middle
                else:
                    low = middle
        except (Exhausted, ResolutionError):
            return names[low:high]
        return names[high - 1 : high]

    def what_passes(self) -> Candidate | None:
        """Return what is known to pass of a search that was not finished, if it does so as a whole.

        That takes one run of the tests, even if none is left.
        """
        part = self._search.passing
        if not self._ships or not part:
            return None
        try:
            found = self._built(part, at_any_rate=True)
        except (BuildError, ResolutionError) as error:
            self.run.note_problem(error, follow_up=False)
            found = None
        if found is None:
            self._search.passing = ()
        return found

    @property
    def culprits(self) -> tuple[str, ...]:
        """The upgrades that were found to break the tests, such as `celery 5.6.0`."""
        versions = self.full.resolution.lock.versions
        return tuple(f"{name} {versions[name]}" for name in sorted(self._search.culprits))

    @property
    def undecided(self) -> tuple[str, ...]:
        """The upgrades of which nobody knows, as a search that was cut short did not come to them."""
        return self._search.undecided

    def tell(self, *, ended: bool) -> None:
        """Report what is to blame, and hold it if that is wanted; and, if it has not `ended`, what nobody knows."""
        if not self._search.items:
            return
        self.run.draft.culprits = self.culprits
        faults = {name: self._faults.get(name, self._of_all) for name in sorted(self._search.culprits)}
        if not self._ships:
            self._report(faults)
            return
        lock, versions = self.full.resolution.lock, self.full.resolution.lock.versions
        hold_back(self.run, lock, self.full.key, faults, release=self.full.id, together=self._together())
        open_ones = () if ended else self.undecided
        reason = f"not decided yet: the search was ended after {self.budget.spent} runs of the tests"
        hold_undecided(self.run, {name: versions[name] for name in open_ones}, reason)

    def _together(self) -> dict[str, list[str]]:
        """Map each culprit to what comes only together with it."""
        full, culprits = self.full.resolution.lock, self._search.culprits
        lock, needs = self._lock(self._search.kept), Graph.of(self.full.resolution.lock).needs
        found: dict[str, list[str]] = {}
        for one in LockDiff.between(lock, full):
            if not (one.old and one.new) or one.name in culprits:
                continue
            of = next((name for name in culprits if those_that_need([name], [one.name], needs)), None)
            of = of or next((name for name in culprits if those_that_need([one.name], [name], needs)), None)
            if culprits:
                found.setdefault(of or culprits[0], []).append(f"{one.name} {one.new}")
        return found

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
    def news(self) -> str:
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
        known = self._known(names, lock)
        if known is not None:
            return known
        self.budget.spend(spare=1)
        with self.run.recorder.step("culprit search") as step:
            fault = self._attempts.fault_with(lock)
            verdict = "failed" if fault is not None else "passed"
            count = len(self._search.items) or len(self._locks.upgrades())
            part = f"{len(names)} of {count} upgrades" if names else "without any upgrade:"
            step.says(f"run {self.budget.spent}: {part} {verdict}")
        self._note(names, lock, fault)
        return fault is None

    def _pass_both(self, shorter: tuple[str, ...], longer: tuple[str, ...]) -> tuple[bool, bool]:
        locks = self._lock(shorter), self._lock(longer)
        known = [self._known(names, lock) for names, lock in zip((shorter, longer), locks, strict=True)]
        if self._beside is None or known != [None, None] or not self.budget.allows(3):
            passed = self._passes(shorter)
            return passed, passed and self._passes(longer)
        for _ in locks:
            self.budget.spend(spare=1)
        with self.run.recorder.step("culprit search") as step:
            faults = try_both(self._attempts, self._beside, locks)
            verdicts = " and ".join("failed" if fault is not None else "passed" for fault in faults)
            part = f"{len(shorter)} and {len(longer)} of {len(self._search.items)} upgrades"
            step.says(f"runs {self.budget.spent - 1} and {self.budget.spent}: {part} {verdicts}")
        for names, lock, fault in zip((shorter, longer), locks, faults, strict=True):
            self._note(names, lock, fault)
        return faults[0] is None, faults[1] is None

    def _passes_whole(self, names: tuple[str, ...]) -> bool:
        if not self._ships:
            return self._passes(names)
        lock = self._lock(names)
        if self._is_live(lock):
            return True
        if self._known(names, lock) is False:
            return False
        return self._built(names) is not None

    def _built(self, names: tuple[str, ...], *, at_any_rate: bool = False) -> Candidate | None:
        """Build a candidate properly and let it pass all trials; None if it does not, or is what is live.

        Raises Exhausted if no more may be tried, but not if it is to be tried `at_any_rate`.
        """
        lock = self._lock(names)
        if self._candidate is not None and self._candidate.resolution.lock.same_packages(lock):
            return self._candidate
        if self._is_live(lock):
            return None
        if at_any_rate:
            self.budget.spent += 1
        else:
            self.budget.spend()  # first, as what has passed is what goes live if no more may be tried
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

    def _known(self, names: tuple[str, ...], lock: LockFile) -> bool | None:
        if self._is_live(lock):
            return True
        fault = self._verdicts.fault_of(lock.versions, self.full.key)
        if fault is not None and names:
            self._faults[names[-1]] = Fault(words=fault[0], output=fault[1])
        return self._verdicts.of(lock.versions, self.full.key)

    def _note(self, names: tuple[str, ...], lock: LockFile, fault: Fault | None) -> None:
        self.learned += 1
        told = (fault.words, fault.output) if fault is not None else None
        self._verdicts.note(lock.versions, self.full.key, passed=fault is None, fault=told)
        if fault is not None and names:
            self._faults[names[-1]] = fault
