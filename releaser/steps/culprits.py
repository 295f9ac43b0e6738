"""Shipping what works: when some of the upgrades break the tests, the others go live without them."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from releaser.errors import ResolutionError, TestsFailedError, ToolError
from releaser.locking.culprits import Exhausted, Search, Unsteady
from releaser.locking.diff import LockDiff
from releaser.locking.graph import Graph
from releaser.releases.holds import Hold
from releaser.releases.verdicts import Verdicts
from releaser.report.capping import cap
from releaser.report.outcome import HeldBack, Problem
from releaser.steps.build import build, install
from releaser.steps.gate import first_failure, gate, run_trial, trials
from releaser.steps.mend import remove_unsealed
from releaser.steps.particulars import with_particulars
from releaser.steps.resolve import lock_of
from releaser.steps.sublocks import SubLocks, those_that_need
from releaser.steps.suspects import complaint, suspects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.releases.quarantine import CandidateKey
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.resolve import Resolution

SEARCH_VENV = ".releaser-search"  # in the scratch tree, so that it goes with that
_LONGEST_OUTPUT = 20_000  # characters of a test's output that a hold keeps
_GOES_ON = "See the end of the output; the next update goes on with the search for what is to blame."


def tested(run: Run, fitness: Fitness, candidate: Candidate, *, before: Fitness) -> Candidate:
    """Let a candidate pass the gate, or what is left of it without the upgrades that break the tests.

    Raises TestsFailedError when nothing newer than what is live passes.
    """
    searches = run.site.settings.culprits != "off" and bool(candidate.resolution.diff)
    try:
        gate(run, fitness, candidate, before=before, searches=searches)
    except TestsFailedError as failure:
        if failure.blame != "update" or not searches:
            raise
        return _without_culprits(run, fitness, candidate, failure)
    return candidate


def _without_culprits(run: Run, fitness: Fitness, candidate: Candidate, failure: TestsFailedError) -> Candidate:
    """Search for what is to blame; return what passes without it, or raise the failure with what was found."""
    hunt = _Hunt(run=run, fitness=fitness, full=candidate, failure=failure)
    try:
        found = hunt.go()
    except ResolutionError as error:  # the index is gone, for example; the next run goes on
        run.note_problem(error, follow_up=False)
        failure.advice = _GOES_ON
        raise failure from error
    except Exhausted:
        found = hunt.what_passes()
        _tell_exhausted(run, hunt)
        failure.advice = _GOES_ON if hunt.learned else failure.advice
    except Unsteady:
        found = None
        message = "the search for what breaks the tests was ended: they fail and pass with the very same packages"
        run.draft.problems.append(Problem(message=message, advice="Make the tests reliable; see `releaser history`."))
        _finish(run, candidate)
    else:
        hunt.tell()  # first: a candidate that is not taken up again, with nothing held, would keep all of it out
        _finish(run, candidate)
    if found is None:
        run.draft.release, run.draft.changes = candidate.id, candidate.resolution.diff.changes
        raise failure
    run.draft.blame = ""
    return found


def _finish(run: Run, candidate: Candidate) -> None:
    """Note that the search has come to its end, so that the same candidate is not taken up again."""
    failed = run.quarantine().candidate(candidate.key)
    if failed is not None:
        run.change_quarantine(lambda quarantine: quarantine.with_candidate(replace(failed, unfinished=False)))


def _tell_exhausted(run: Run, hunt: _Hunt) -> None:
    settings = run.site.settings
    message = (
        f"what breaks the tests was not found within {hunt.runs} test runs"
        f" (culprit_runs {settings.culprit_runs}, culprit_minutes {settings.culprit_minutes})"
    )
    if hunt.learned:
        advice = "The next update goes on with the search; raise these settings if that is too slow."
    else:
        advice = "Raise these settings."
        _finish(run, hunt.full)
    run.draft.problems.append(Problem(message=message, advice=advice))


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a part of the upgrades failed: in a few words, and all that was printed."""

    words: str
    output: str


def sub_locks(run: Run, fitness: Fitness, resolution: Resolution) -> SubLocks:
    """Prepare to lock a part of what a resolution brings."""
    failed = {(one.name, one.version) for one in run.quarantine().versions}
    failed |= {(one.name, one.version) for one in run.holds().entries if one.by == "tests"}
    return SubLocks(
        uv=fitness.uv,
        python=fitness.python,
        tree=resolution.tree,
        checkout=run.site.project.lock,
        full=resolution.lock,
        live=lock_of(run.store.live()).versions,
        bad={name: frozenset(bad for other, bad in failed if other == name) for name, _ in failed},
    )


def hold_back(run: Run, lock: LockFile, key: CandidateKey, faults: Mapping[str, Fault], *, release: str = "") -> None:
    """Hold packages at what is locked until there is a version newer than the one that failed."""
    holds = [
        Hold(
            name=name,
            by="tests",
            version=lock.versions[name],
            reason=fault.words,
            at=run.now_iso(),
            release=release,
            code_key=key.code_key,
            python=key.python,
            output=cap(fault.output, max_chars=_LONGEST_OUTPUT),
        )
        for name, fault in faults.items()
    ]
    run.change_holds(lambda known: known.adding(holds))


@dataclass(kw_only=True)
class _Hunt:
    """One search. `runs` counts the test runs, the repeated one of the whole candidate included."""

    run: Run
    fitness: Fitness
    full: Candidate
    failure: TestsFailedError
    runs: int = 1
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
        self._search = Search(items=(), passes=self._passes, whole=self._passes_whole)

    def go(self) -> Candidate | None:
        """Search to the end; return what has passed as a whole, None if that is no more than what is live.

        Raises Exhausted, Unsteady and ResolutionError.
        """
        upgrades = self._locks.upgrades()
        if not self._base_passes():
            message = f"the tests fail with {self._news} and the packages as they were, too: no package is to blame"
            self.run.draft.problems.append(Problem(message=message, advice="See what else has changed."))
            return None
        if not upgrades:
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
        resolution = self.full.resolution
        if self.run.draft.pulled is not None or resolution.checkout_differs or not self._surroundings_are_live:
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
            fault = self._fault_with(lock)
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
        candidate = self._build(lock, names)
        self.run.draft.release = candidate.id
        self._candidate = candidate
        failed = first_failure(self.run, self.fitness, candidate)
        self._note(names, lock, None if failed is None else Fault(words=failed.fault, output=failed.output))
        if failed is not None:
            self._discard()
            return None
        return candidate

    def _build(self, lock: LockFile, names: tuple[str, ...]) -> Candidate:
        full = self.full.resolution
        (full.tree / "uv.lock").write_bytes(lock.data)
        resolution = replace(full, lock=lock, diff=self._dragged(LockDiff.between(self._live, lock), names))
        key = replace(self.full.key, lock_sha256=lock.sha256)
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

    def _fault_with(self, lock: LockFile) -> Fault | None:
        """Try a lock in a venv that is made the cheap way, and is gone afterwards; None if it passes."""
        tree = self.full.resolution.tree
        venv = tree / SEARCH_VENV
        (tree / "uv.lock").write_bytes(lock.data)
        try:
            self._install(tree, venv)
            for trial in trials(self.run, self.fitness):
                tried = run_trial(self.run, trial, venv)
                if not tried.passed:
                    return Fault(words=tried.fault, output=tried.output)
        except ToolError as error:  # of what cannot be installed, nothing is to go live
            self._see_that_others_can_be_installed(tree, venv, error)
            output = error.output or error.message
            return Fault(words=f"it cannot be installed{complaint(output)}", output=output)
        finally:
            shutil.rmtree(venv, ignore_errors=True)
        return None

    def _install(self, tree: Path, venv: Path) -> None:
        install(self.run, self.fitness, tree, venv, link_mode="hardlink", compiled=False)

    def _see_that_others_can_be_installed(self, tree: Path, venv: Path, failure: ToolError) -> None:
        """Raise ResolutionError if not even the packages as they were can be: there is no room, or no network."""
        shutil.rmtree(venv, ignore_errors=True)
        (tree / "uv.lock").write_bytes(self._locks.base.data)
        try:
            self._install(tree, venv)
        except ToolError as error:
            message = f"no part of the upgrades can be installed to be tested: {failure.message}"
            advice = error.advice or "See what uv says; the next update goes on with the search."
            raise ResolutionError(message, advice=advice, output=failure.output) from error
