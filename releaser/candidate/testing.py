"""The tests of a candidate and, when they fail, whose fault that is; and those of what is live, night after night."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.answers import RedTests
from releaser.candidate.build import seal
from releaser.candidate.test_output import ADVICE, failing_tests
from releaser.candidate.trials import LIVE_COPY, TEST, copy_of, list_trials, run_trial
from releaser.checkout.staging import staging_tree
from releaser.errors import BuildError, Finding, TestsFailedError, ToolError
from releaser.releases.integrity import cannot_run
from releaser.releases.quarantine import FailedCandidate, change_quarantine
from releaser.releases.release import OUTPUT
from releaser.releases.store import store_of
from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.words import one_line, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.candidate.build import Candidate
    from releaser.candidate.trials import Trial, TrialResult
    from releaser.releases.release import Release
    from releaser.report import Blame, RunLog
    from releaser.site.site import Site, SiteFacts


logger = logging.getLogger(__name__)

LIVE_TESTS = "live-tests.json"
_LONGEST = 200  # characters


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A candidate does not pass: what failed, whose fault that is, and how a report says so."""

    candidate: Candidate
    result: TrialResult
    blame: Blame
    message: str
    advice: str

    def error(self) -> TestsFailedError:
        """Return what ends a run that needs this candidate."""
        output, fault = self.result.output, self.result.fault
        return TestsFailedError(self.message, blame=self.blame, advice=self.advice, output=output, fault=fault)


def run_tests(site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, *, before: SiteFacts) -> None:
    """Test a candidate; `before` is how fit the project was before the pull. Raises TestsFailedError.

    If it fails, the live release is tested too, to tell whose fault it is.
    """
    failed = first_failure(site, log, facts, candidate)
    if failed is not None:
        raise note_failure(site, log, candidate, failed, find_blame(site, log, before, failed)).error()


def first_failure(
    site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, *, after: Trial | None = None
) -> TrialResult | None:
    """Run the trials of a candidate, or those `after` one, until one fails; what they print is kept."""
    due = list_trials(site, facts)
    if after is not None:
        due = due[due.index(after) + 1 :]
    with (candidate.directory / OUTPUT).open("a", encoding="utf-8") as outputs:
        for trial in due:
            with log.step(trial.step) as step:
                result = run_trial(site, trial, candidate.venv, candidate.lock)
                if not result.passed:
                    step.status, step.detail = "failed", result.reason
            outputs.write(result.output + "\n")
            if not result.passed:
                return result
    return None


def steady_failure(
    site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, failed: TrialResult
) -> TrialResult | None:
    """Repeat what has failed; None if everything passes now, which is reported, as such tests cannot be relied on."""
    with log.step(f"{failed.trial.step} again") as step:
        again = run_trial(site, failed.trial, candidate.venv, candidate.lock)
        if not again.passed:
            step.status, step.detail = "failed", again.reason
            return again
        step.warns("passed this time")
    message = f"{failed.trial.name} failed once, and passed when repeated with the same packages and code"
    log.note(Finding(message=message, advice="Find out why: flaky tests can block good updates."))
    return first_failure(site, log, facts, candidate, after=failed.trial)


def note_failure(
    site: Site, log: RunLog, candidate: Candidate, result: TrialResult, blame: Blame, *, unfinished: bool = False
) -> Failed:
    """Seal a candidate as failed and keep it from being built again, and say how it failed.

    While a search for what is to blame is `unfinished`, the next update takes it up again.
    """
    reject(site, log, candidate, result, blame, unfinished=unfinished)
    log.learn(blame=blame)
    message, advice = _describe(site, log, candidate, result, blame)
    return Failed(candidate=candidate, result=result, blame=blame, message=message, advice=advice)


def reject(
    site: Site, log: RunLog, candidate: Candidate, result: TrialResult, blame: Blame, *, unfinished: bool = False
) -> None:
    """Keep the next run from building this very candidate, and only then seal it, as one that has failed."""
    entry = FailedCandidate(
        key=candidate.key,
        release=candidate.id,
        reason=result.reason,
        at=timestamp(),
        sick=blame != "update",
        unfinished=unfinished,
    )
    if not candidate.overrides:  # else there is nothing to keep out, as no update would bring that
        change_quarantine(site.state_dir, lambda quarantine: quarantine.with_candidate(entry))
    seal(site, log, candidate, tests="failed")


def find_blame(site: Site, log: RunLog, before: SiteFacts, failed: TrialResult) -> Blame:
    """Try what is live with that which a candidate does not pass, to tell whose fault it is."""
    return _blame(site, log, *(one for one in list_trials(site, before) if one.step == failed.trial.step))


def live_passes_again(site: Site, log: RunLog, before: SiteFacts) -> bool:
    """Whether the live release passes, with the code that is checked out."""
    return _blame(site, log, *list_trials(site, before)) == "update"


def _blame(site: Site, log: RunLog, *attempted: Trial) -> Blame:
    """Try what is live: its release, with the code that is checked out."""
    live = store_of(site).live()
    if live is None or cannot_run(live):
        return "unknown"
    try:
        with tree_of_live(site, log) as before:
            return "before" if _failure_of_live(before, log, live, *attempted) else "update"
    except BuildError as error:
        log.failed(error, follow_up=False)
        return "unknown"


def _failure_of_live(site: Site, log: RunLog, live: Release, *attempted: Trial) -> TrialResult | None:
    """Return the first trial that a copy of what is live does not pass, as tests may write into their venv.

    Raises BuildError where it cannot be copied.
    """
    for trial in attempted:
        with log.step(f"{trial.step} live release") as step:
            try:
                with copy_of(site, live, place=site.state_dir / LIVE_COPY) as venv:
                    result = run_trial(site, trial, venv, live.lock)
            except (ToolError, OSError) as error:
                message = f"the live release cannot be copied for testing: {error}"
                raise BuildError(message, advice="Check free space below state_dir.") from error
            step.says(result.reason or "passed")
            step.status = "ok" if result.passed else "failed"
        if not result.passed:
            return result
    return None


@contextlib.contextmanager
def tree_of_live(site: Site, log: RunLog) -> Iterator[Site]:
    """Yield the site in a staging tree of the code that is live; what the tests leave there goes with it.

    Raises BuildError.
    """
    head = site.outside.git.commit("HEAD")
    if site.staged is not None and site.staged.commit == head:
        yield site
        return
    with staging_tree(site.outside, log, head, stage="stage live") as tree:
        yield tree


def _describe(site: Site, log: RunLog, candidate: Candidate, result: TrialResult, blame: Blame) -> tuple[str, str]:
    """Return how a candidate failed, by what is new about it and what there was before; and what to do."""
    new, since = "with the new packages or commits", "before this update"
    verdict, again = ": this update broke it", "this candidate is not tried again until a package or the code changes."
    if candidate.overrides:
        new, since = f"with {', '.join(candidate.overrides)}", "without an override"
        verdict, again = "", "updates go on as before."
    elif not candidate.resolution.diff and not site.pulled:
        new, since = f"on the venv that was rebuilt, with Python {candidate.key.python}", "before"
        verdict, again = "", f"`releaser {'init' if log.command == 'init' else 'rebuild'}` tries it again."
    message = {
        "update": f"{result.told} {new} and passed on the live release{verdict}",
        "before": f"{result.told}, and failed on the live release too: it was failing {since}",
    }.get(blame, f"{result.told}, and there is no earlier release to compare with")
    advice = f"{ADVICE} " if result.proves_nothing else ""
    if result.timed_out:
        advice = "Raise `test_timeout` if that is too short. "
    if blame == "before":
        fix = f"Fix the site or its {'tests' if result.trial.step == TEST else 'settings'}"
        return message, f"{advice}{fix}{' first.' if candidate.overrides else '; updates go on by themselves then.'}"
    return message, f"{advice}See the end of the output; {again}"


# With `test_live = "always"`: the live release on nights without anything newer


def red_tests(state_dir: Path, live: Release | None) -> RedTests | None:
    """Return what is known to fail of the live release; None if it has passed, or nobody has looked."""
    try:
        found = read_state(state_dir / LIVE_TESTS, RedTests)
    except (UnreadableStateError, OSError):
        return None
    return found if found is not None and live is not None and found.release == live.id else None


def try_live_release(site: Site, log: RunLog, facts: SiteFacts) -> RedTests | None:
    """Run the tests of what is live, if that is wanted each night; return what fails and has been told before.

    Raises TestsFailedError when they have turned red, or something else fails. That they pass again is told once.
    """
    live, path = store_of(site).live(), site.state_dir / LIVE_TESTS
    if site.settings.test_live != "always":
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return None
    if live is None or cannot_run(live):
        return None
    before, failed = red_tests(site.state_dir, live), _failure_of_live(site, log, live, *list_trials(site, facts))
    if failed is None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        if before is not None:
            log.tell(f"The tests of {live.id} pass again; they had failed since {before.since[:10]}.")
        return None
    # What fails, as unittest, Django and pytest name it; without any names, how it ended.
    failing = failing_tests(failed.output) or (one_line(failed.reason, limit=_LONGEST),)
    if before is not None and before.failing == failing:
        return before
    since = before.since if before is not None else timestamp()
    try:
        write_state(path, RedTests(release=live.id, since=since, reason=one_line(failed.reason), failing=failing))
    except OSError as error:  # a full disk: it is told once more
        logger.warning("that the tests of the live release fail cannot be noted: %s", error)
    log.about(live, None)
    message = f"{failed.told} on the live release {live.id}, although nothing has changed"
    advice = "Fix the site or its tests. The next mail about it comes when something else fails, or when they pass."
    raise TestsFailedError(message, blame="before", advice=advice, output=failed.output, fault=failed.fault)
