"""Tests candidates, and, to find the cause of a failure, the live release."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from releaser.candidate.build import Unbuildable, seal, try_to_build
from releaser.candidate.output import ADD_TESTS, ADVICE, NONE_RUN, TEST, failing_tests
from releaser.candidate.trials import Trial, copy_of, fail_if_touched, list_trials, run_trial
from releaser.capabilities import gather
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.staging import prepare_tree, staging_tree
from releaser.core.confinement import confinement
from releaser.errors import BuildError, Finding, TestsFailedError, ToolError, how_to_set
from releaser.releases.blocks import FailedTestsSection, block_candidate, change_blocks
from releaser.releases.integrity import usable
from releaser.releases.release import OUTPUT
from releaser.releases.touched import note_installed
from releaser.system.frozen import Frozen, replace
from releaser.system.temporary import LIVE_COPY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.candidate.build import Candidate
    from releaser.candidate.trials import TrialResult
    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, ResolveAgain
    from releaser.releases.release import Release
    from releaser.report import Blame, RunLog
    from releaser.site.site import Site


class Failed(Frozen):
    """The failure of a candidate's tests: the trial that failed, the cause, and the words for the report."""

    candidate: Candidate
    result: TrialResult
    blame: Blame
    message: str
    advice: str

    def error(self) -> TestsFailedError:
        """Return the error for a run that needs this candidate."""
        output, fault = self.result.output, self.result.fault
        return TestsFailedError(self.message, blame=self.blame, advice=self.advice, output=output, fault=fault)


def build(work: Workspace, resolution: Resolution) -> Candidate:
    """Build the only candidate of a run, the subject of its report. Raises BuildError, and the errors of gates."""
    prepare_tree(work.site, work.log)
    built = try_to_build(work, resolution)
    if isinstance(built, Unbuildable):
        raise built.error()
    work.log.set_releases(built, work.live)
    return built


def run_tests(work: Workspace, candidate: Candidate) -> None:
    """Test a candidate, and make a new staging tree; if it fails, test the live release, too, to find the cause.

    Raises TestsFailedError and BuildError.
    """
    failed = first_failure(work, candidate)
    if failed is not None:
        raise note_failure(work, candidate, failed, find_blame(work, failed)).error()
    renew_tree(work.site)  # the next steps run without a sandbox


def make_candidate(work: Workspace, resolution: Resolution, again: ResolveAgain | None) -> Candidate:
    """Return a candidate that passes its tests; `again` resolves again with the holds of that moment.

    A capability may search for upgrades that break the tests, and build without them. Raises BuildError and
    TestsFailedError.
    """
    for make in gather("searches"):
        return cast("Candidate", make(work, resolution, again))
    candidate = build(work, resolution)
    run_tests(work, candidate)
    return candidate


def first_failure(work: Workspace, candidate: Candidate, *, after: Trial | None = None) -> TrialResult | None:
    """Run the trials of a candidate, or those `after` one, until one fails; store their output."""
    confinement().before_tests(work.site, work.log)
    due = list_trials(work.site, work.facts)
    if after is not None:
        due = due[due.index(after) + 1 :]
    with (candidate.directory / OUTPUT).open("a", encoding="utf-8") as outputs:
        for trial in due:
            result = _try(work, candidate, trial)
            outputs.write(result.output + "\n")
            confinement().after_tests(work.site, work.log)
            if not result.passed:
                return result
    return None


def _try(work: Workspace, candidate: Candidate, trial: Trial) -> TrialResult:
    with work.log.step(trial.step) as step:
        result = _run(work.site, trial, candidate)
        if not result.passed:
            step.status, step.detail = "failed", result.reason
    return result


def _run(site: Site, trial: Trial, candidate: Candidate) -> TrialResult:
    return fail_if_touched(run_trial(site, trial, candidate.venv, candidate.lock), candidate.find_touched)


def steady_failure(work: Workspace, candidate: Candidate, failed: TrialResult) -> TrialResult | None:
    """Repeat a failed trial, and, if it passes now, run the others; report flaky tests. None if all passes."""
    with work.log.step(f"{failed.trial.step} again") as step:
        repeated = _run(work.site, failed.trial, candidate)
        if not repeated.passed:
            step.status, step.detail = "failed", repeated.reason
            return repeated
        step.warns("passed this time")
    message = f"{failed.trial.name} failed once, and passed when repeated with the same packages and code"
    work.log.note(
        Finding("tests-flaky", message=message, advice="Make the test reliable: flaky tests can block good updates.")
    )
    return first_failure(work, candidate, after=failed.trial)


def note_failure(
    work: Workspace, candidate: Candidate, result: TrialResult, blame: Blame, *, blocks: bool = True
) -> Failed:
    """Seal a candidate as failed, and return its failure; with `blocks`, no update builds it again."""
    work.log.learn(blame=blame)
    work.log.add(FailedTestsSection(failed_tests=failing_tests(result.output)))
    message, advice = _describe(work, candidate, result, blame)
    failure = Failed(candidate=candidate, result=result, blame=blame, message=message, advice=advice)
    # Before the seal: after a kill in between, the next update must not build it again.
    if blocks and work.trial is None:
        block_candidate_of(work, failure)
    seal(work, candidate, tests="failed")
    return failure


def block_candidate_of(work: Workspace, failure: Failed) -> None:
    """Block this candidate, so that later updates do not build it again."""
    candidate = failure.candidate
    failed = block_candidate(candidate.key, candidate.id, failure.result.reason, sick=failure.blame != "update")
    if work.site.supply.goes_live:
        change_blocks(work.site.state_dir, lambda blocks: blocks.with_new(failed))


def find_blame(work: Workspace, failed: TrialResult) -> Blame:
    """Run the trial that a candidate failed with the live release, once in a run, to find the cause."""
    remembered, question = work.site.runner.remembered, ("blame", failed.trial.step)
    if question not in remembered:
        attempted = (trial for trial in list_trials(work.site, work.before) if trial.step == failed.trial.step)
        remembered[question] = _blame(work, *attempted)
    return cast("Blame", remembered[question])


def live_passes_again(work: Workspace) -> bool:
    """True if the live release passes with the code of the checkout."""
    return _blame(work, *list_trials(work.site, work.before)) == "update"


def _blame(work: Workspace, *attempted: Trial) -> Blame:
    """Test the live release with the code of the checkout; return the cause of a candidate's failure."""
    if (live := usable(work.live)) is None:
        return "unknown"
    try:
        with stage_live_code(work) as tree:
            return "before" if failure_of_live(tree, work.log, live, *attempted) else "update"
    except BuildError as error:
        work.log.note_failure(error, follow_up=False)
        return "unknown"


def failure_of_live(site: Site, log: RunLog, live: Release, *attempted: Trial) -> TrialResult | None:
    """Return the first failure of the live release; None if it passes.

    A copy is tested, as tests may write into their venv. Raises BuildError if the release cannot be copied.
    """
    for trial in attempted:
        result = _try_live(site, log, live, trial)
        if not result.passed:
            return result
    return None


def _try_live(site: Site, log: RunLog, live: Release, trial: Trial) -> TrialResult:
    with log.step(f"{trial.step} live release") as step:
        try:
            with copy_of(site, live, place=site.state_dir / LIVE_COPY) as venv:
                # The update is not blamed for tests that always write into their venv.
                find_touched = note_installed(venv).find_touched
                result = fail_if_touched(run_trial(site, trial, venv, live.lock), find_touched)
        except (ToolError, OSError) as error:
            message = f"the live release cannot be copied for testing: {error}"
            raise BuildError(message, "Check free space below state_dir.") from error
        step.says(result.reason or "passed")
        step.status = "ok" if result.passed else "failed"
    return result


@contextlib.contextmanager
def stage_live_code(work: Workspace) -> Iterator[Site]:
    """Yield the site in a clean staging tree of the live code. Raises BuildError."""
    site, head = work.site, work.site.outside.git.commit("HEAD")
    if site.tree.commit == head:
        renew_tree(site)
        prepare_tree(site, work.log, goes_live=False)
        yield site
    else:
        with staging_tree(site.outside, work.log, head, stage="stage live") as tree:
            yield tree


def _describe(work: Workspace, candidate: Candidate, result: TrialResult, blame: Blame) -> tuple[str, str]:
    """Return the message and the advice for a failed candidate."""
    words = work.trial or work.site.supply.failure
    if work.trial is None and work.site.supply.goes_live and not candidate.resolution.diff and not work.site.pulled:
        words = replace(
            words,
            news=f"on the venv that was rebuilt, with Python {candidate.key.python}",
            before="before",
            verdict="",
            again="`releaser rebuild` tries it again.",
        )
    message = {
        "update": f"{result.failure} {words.news} and passed on the live release{words.verdict}",
        "before": f"{result.failure}, and failed on the live release too: it was failing {words.before}",
    }.get(blame, f"{result.failure}, and there is no earlier release to compare with")
    if result.reason == NONE_RUN:
        message = {
            "update": f"{NONE_RUN} {words.news}, but they passed on the live release{words.verdict}",
            "before": f"{NONE_RUN}, and none ran on the live release",
        }.get(blame, f"{NONE_RUN}, so releaser cannot check the release")
        return message, ADD_TESTS
    advice = f"{ADVICE} " if result.proves_nothing else confinement().advice(work.site, result.output)
    if result.timed_out:
        advice = f"If the tests need longer, {how_to_set('test_timeout', '1h')}. "
    next_try = words.again
    if work.log.command == "init":  # the project has no release, and perhaps no lock yet
        next_try = "fix the site or its tests, commit the fix, and run the same command again."
    if blame == "before":
        fix = f"Fix the site or its {'tests' if result.trial.step == TEST else 'settings'}"
        return message, f"{advice}{fix}{words.then}"
    whole = "" if work.log.command == "init" else f", or all of it with `releaser show {candidate.id}`"
    return message, f"{advice}See the end of the output{whole}; {next_try}"
