"""Shipping what works: when some of the upgrades break the tests, the others go live without them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.errors import BuildError, ResolutionError, TestsFailedError
from releaser.locking.culprits import Budget, Exhausted, Unsteady
from releaser.report.outcome import Problem
from releaser.steps.gate import first_failure, gate, reject
from releaser.steps.gating import Lower
from releaser.steps.holding import Fault, hold_again, tell_held, tries_again
from releaser.steps.hunt import Hunt
from releaser.steps.lower import Resolver, bring_in_lower
from releaser.steps.mend import remove_unsealed
from releaser.steps.particulars import with_particulars
from releaser.steps.requirement import tell_needed, try_everything
from releaser.steps.resolve import candidate_key, lock_of
from releaser.steps.staging import staging_tree
from releaser.steps.unbuildable import built
from releaser.steps.unchanged import is_as_live
from releaser.steps.verdict import reject_commit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.releases.quarantine import CandidateKey
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.gate import Tried
    from releaser.steps.resolve import Resolution

_GOES_ON = "See the end of the output; the next update goes on with the search for what is to blame."


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What a candidate is tested with: `again` resolves once more, None where the lock is given."""

    run: Run
    fitness: Fitness
    before: Fitness
    again: Resolver | None
    budget: Budget

    @property
    def holds_back(self) -> bool:
        """Whether what breaks the tests is to be held back, and the rest to go live."""
        return self.again is not None and self.run.site.settings.culprits == "hold"


def build_and_test(
    run: Run,
    fitness: Fitness,
    resolution: Resolution,
    key: CandidateKey,
    *,
    before: Fitness,
    again: Resolver | None,
) -> Candidate:
    """Return a candidate that has passed the gate, without the upgrades that break the tests or cannot be built.

    `again` resolves once more with what is held by then. Raises TestsFailedError or BuildError when nothing newer than
    what is live passes.
    """
    settings = run.site.settings
    budget = Budget(runs=settings.culprit_runs, seconds=settings.culprit_minutes * 60)
    trial = _Trial(run=run, fitness=fitness, before=before, again=again, budget=budget)
    held_before = run.holds()
    passed: Candidate | None = None
    failure: TestsFailedError | BuildError | None = None
    try:
        passed = _without_known_culprits(trial, _built(trial, resolution, key))
    except (TestsFailedError, BuildError) as error:
        failure = error
    if passed is not None:  # of which nobody can say that the tests fail with it
        versions = passed.resolution.lock.versions
        run.change_holds(lambda holds: holds.without_live(versions))
    if trial.again is not None and run.holds() != held_before:
        told = run.draft.release, run.draft.changes
        passed = bring_in_lower(run, fitness, passed, budget=budget, again=trial.again)
        run.draft.release, run.draft.changes = told
        passed = passed if failure is None else _unless_live_again(run, passed)
    if passed is not None:
        return _finished(trial, passed)
    tell_held(run, lock_of(run.store.live()))
    raise failure or AssertionError


def _built(trial: _Trial, resolution: Resolution, key: CandidateKey) -> Candidate:
    run, live = trial.run, trial.run.store.live()
    candidate = with_particulars(run, built(run, trial.fitness, resolution, key))
    run.draft.release, run.draft.previous = candidate.id, live.id if live else None
    return candidate


def _finished(trial: _Trial, candidate: Candidate) -> Candidate:
    """Let the report be about the candidate that goes live."""
    run = trial.run
    run.draft.blame = ""
    run.draft.release, run.draft.changes = candidate.id, candidate.resolution.diff.changes
    tell_held(run, candidate.resolution.lock)
    return candidate


def _without_known_culprits(trial: _Trial, candidate: Candidate) -> Candidate:
    """Try a candidate; if it fails with what is known to fail, the others go live without another run."""
    run, again = trial.run, trial.again
    live = lock_of(run.store.live())
    tries = tries_again(run.holds(), candidate.resolution.lock.versions, live.versions)
    if again is None or not trial.holds_back or not tries:
        return _tested(trial, candidate)
    trial.budget.spent += 1
    failed = first_failure(run, trial.fitness, candidate)
    if failed is None:
        return candidate
    rest = _rest(trial, again, tries)
    if rest is None:
        return _tested(trial, candidate, failed=failed)
    try:
        others = _built(trial, rest, candidate_key(run, trial.fitness, rest.lock))
        passed = _tested(trial, others)
    except TestsFailedError as failure:
        reject(run, candidate, failed, "update" if failure.blame == "update" else "before")
        raise
    except BuildError:
        remove_unsealed(run, candidate.directory)
        raise
    reject(run, candidate, failed, "update")
    if passed is not others:  # what failed may have been what was found to break the others
        return passed
    fault = Fault(words=failed.fault, output=failed.output)
    hold_again(run, candidate.resolution.lock, candidate.key, tries, fault, release=candidate.id)
    found = {name: candidate.resolution.lock.versions[name] for name in tries}
    run.draft.culprits += tuple(f"{name} {version}" for name, version in found.items())
    return passed


def _rest(trial: _Trial, again: Resolver, tries: tuple[str, ...]) -> Resolution | None:
    """Resolve without what is known to fail; None if that leaves nothing new, or nobody can tell."""
    run = trial.run
    try:
        live = lock_of(run.store.live()).versions
        rest = again("rest", Lower(stay={name: live[name] for name in tries if name in live}))
    except ResolutionError:
        return None
    return None if _is_live_again(run, rest.lock) else rest


def _unless_live_again(run: Run, candidate: Candidate | None) -> Candidate | None:
    """Take a candidate away again if all that is new in it does not go live."""
    if candidate is None or not _is_live_again(run, candidate.resolution.lock):
        return candidate
    remove_unsealed(run, candidate.directory)
    return None


def _is_live_again(run: Run, lock: LockFile) -> bool:
    """Whether a release of a lock would be the live one once more."""
    live = run.store.live()
    return live is not None and run.draft.pulled is None and is_as_live(run.site, lock, live)


def _tested(trial: _Trial, candidate: Candidate, *, failed: Tried | None = None) -> Candidate:
    run = trial.run
    changed, pulled = bool(candidate.resolution.diff), run.draft.pulled
    searches = run.site.settings.culprits != "off" and changed
    try:
        gate(run, trial.fitness, candidate, before=trial.before, searches=searches, failed=failed)
    except TestsFailedError as failure:
        if failure.blame != "update" or not (searches or pulled):
            raise
        return _without_culprits(trial, candidate, failure)
    return candidate


def _without_culprits(trial: _Trial, candidate: Candidate, failure: TestsFailedError) -> Candidate:
    """Search for what is to blame; return what passes without it, or raise the failure with what was found."""
    run = trial.run
    trial.budget.begin()
    trial.budget.spent = max(trial.budget.spent, 1)  # the run that was repeated
    with _tree_beside(run) as beside:
        hunt = Hunt(run=run, fitness=trial.fitness, full=candidate, failure=failure, budget=trial.budget, beside=beside)
        return _searched(trial, hunt)


@contextlib.contextmanager
def _tree_beside(run: Run) -> Iterator[Run | None]:
    """Yield the run in another staging tree, if tests may run side by side; None if not, or if there is no room."""
    with contextlib.ExitStack() as stack:
        beside = None
        if run.site.settings.test_jobs > 1 and run.staged is not None:
            try:
                beside = stack.enter_context(staging_tree(run.outside, run.staged.commit, stage="stage beside"))
            except BuildError as error:
                run.note_problem(error, follow_up=False)
        yield beside


def _searched(trial: _Trial, hunt: Hunt) -> Candidate:
    """Let a search come to its end; return what passes, or raise the failure with what was found."""
    run, failure, candidate = trial.run, hunt.failure, hunt.full
    advice, everything = failure.advice, None
    try:
        hunt.test_base()
        if hunt.base_failed and trial.again is not None and trial.holds_back:
            everything = try_everything(run, trial.fitness, hunt, trial.again)
        found = everything or hunt.go()
    except ResolutionError as error:  # the index is gone, for example; the next run goes on
        run.note_problem(error, follow_up=False)
        raise _failed(failure, advice=_GOES_ON) from error
    except Exhausted:
        found = hunt.what_passes()
        _tell_exhausted(run, hunt)
        advice = _GOES_ON if hunt.learned else advice
    except Unsteady:
        found = None
        message = "the search for what breaks the tests was ended: they fail and pass with the very same packages"
        run.draft.problems.append(Problem(message=message, advice="Make the tests reliable; see `releaser history`."))
        _finish(run, candidate)
    else:
        hunt.tell(ended=True)  # first: a candidate that is not taken up again, with nothing held, would keep all out
        _finish(run, candidate)
        if hunt.base_failed and everything is None:
            _tell_of_base(run, hunt, found)
    found = _unless_live_again(run, found)
    if found is None:
        run.draft.release, run.draft.changes = candidate.id, candidate.resolution.diff.changes
        raise _failed(failure, advice=advice)
    run.draft.blame = ""
    return found


def _tell_of_base(run: Run, hunt: Hunt, found: Candidate | None) -> None:
    """Say why the tests fail with the packages as they were: a newer one is needed, or none is to blame.

    A commit that is to blame is kept out, and packages come in without it.
    """
    if found is not None:
        tell_needed(run, hunt, found, hunt.needed())
    if found is not None or hunt.passes_partly:
        return
    pulled, candidate = run.draft.pulled, hunt.full
    if pulled is None:
        message = f"the tests fail with {hunt.news} and the packages as they were, too: no package is to blame"
        run.draft.problems.append(Problem(message=message, advice="See what else has changed."))
        return
    entry = reject_commit(run, pulled.new, candidate.key.code_key, "breaks the tests")
    run.change_quarantine(lambda quarantine: quarantine.with_commit(entry))
    named = f"{entry.commit[:12]} ({entry.subject})"
    message = f"commit {named} breaks the tests with the packages that are live, too: {hunt.failure.fault}"
    advice = (
        "It is left out until the remote has a newer one; packages are updated without it from the next run on."
        f" `releaser unhold {entry.commit[:12]}` tries it again."
    )
    run.draft.problems.append(Problem(message=message, advice=advice))


def _failed(failure: TestsFailedError, *, advice: str) -> TestsFailedError:
    return TestsFailedError(
        failure.message, blame=failure.blame, advice=advice, output=failure.output, fault=failure.fault
    )


def _finish(run: Run, candidate: Candidate) -> None:
    """Note that the search has come to its end, so that the same candidate is not taken up again."""
    failed = run.quarantine().candidate(candidate.key)
    if failed is not None:
        run.change_quarantine(lambda quarantine: quarantine.with_candidate(replace(failed, unfinished=False)))


def _tell_exhausted(run: Run, hunt: Hunt) -> None:
    """Hold what was found so far, and name what nobody knows yet."""
    settings = run.site.settings
    hunt.tell(ended=False)
    message = (
        f"what breaks the tests was not found within {hunt.budget.spent} test runs"
        f" (culprit_runs {settings.culprit_runs}, culprit_minutes {settings.culprit_minutes})"
    )
    if hunt.undecided:
        names = ", ".join(hunt.undecided[:_MOST_NAMED])
        more = f" and {len(hunt.undecided) - _MOST_NAMED} more" if len(hunt.undecided) > _MOST_NAMED else ""
        message += f"; not decided yet: {names}{more}"
    if hunt.learned:
        advice = "The next update searches among these alone; raise these settings if that is too slow."
    else:
        advice = "Raise these settings."
        _finish(run, hunt.full)
    run.draft.problems.append(Problem(message=message, advice=advice))


_MOST_NAMED = 10
