"""Shipping what works: when some of the upgrades break the tests, the others go live without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.errors import ResolutionError, TestsFailedError
from releaser.locking.culprits import Exhausted, Unsteady
from releaser.report.outcome import Problem
from releaser.steps.gate import gate
from releaser.steps.hunt import Hunt
from releaser.steps.verdict import reject_commit

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate

_GOES_ON = "See the end of the output; the next update goes on with the search for what is to blame."


def tested(run: Run, fitness: Fitness, candidate: Candidate, *, before: Fitness) -> Candidate:
    """Let a candidate pass the gate, or what is left of it without the upgrades that break the tests.

    Raises TestsFailedError when nothing newer than what is live passes.
    """
    changed, pulled = bool(candidate.resolution.diff), run.draft.pulled
    searches = run.site.settings.culprits != "off" and changed
    try:
        gate(run, fitness, candidate, before=before, searches=searches)
    except TestsFailedError as failure:
        if failure.blame != "update" or not (searches or pulled):
            raise
        if pulled is not None and not changed:
            _reject_pulled(run, candidate, failure)
            raise
        return _without_culprits(run, fitness, candidate, failure)
    return candidate


def _reject_pulled(run: Run, candidate: Candidate, failure: TestsFailedError) -> None:
    """Keep a commit out with which the tests fail, whatever the packages are; these come in without it."""
    pulled = run.draft.pulled
    if pulled is None:
        return
    entry = reject_commit(run, pulled.new, candidate.key.code_key, "breaks the tests")
    run.change_quarantine(lambda quarantine: quarantine.with_commit(entry))
    named = f"{entry.commit[:12]} ({entry.subject})"
    message = f"commit {named} breaks the tests with the packages that are live, too: {failure.fault}"
    advice = (
        "It is left out until the remote has a newer one; packages are updated without it from the next run on."
        f" `releaser unhold {entry.commit[:12]}` tries it again."
    )
    run.draft.problems.append(Problem(message=message, advice=advice))


def _without_culprits(run: Run, fitness: Fitness, candidate: Candidate, failure: TestsFailedError) -> Candidate:
    """Search for what is to blame; return what passes without it, or raise the failure with what was found."""
    hunt = Hunt(run=run, fitness=fitness, full=candidate, failure=failure)
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
        if hunt.base_failed and run.draft.pulled is not None:
            _reject_pulled(run, candidate, failure)
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


def _tell_exhausted(run: Run, hunt: Hunt) -> None:
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
