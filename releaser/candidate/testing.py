"""The gate: the project's own tests against the candidate, and, when they fail, whose fault that is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.candidate.build import seal
from releaser.candidate.copies import PLACE, copied
from releaser.candidate.test_output import ADVICE, NONE_RUN, complaint, count_tests, flaw_of
from releaser.candidate.test_packages import test_packages
from releaser.checkout.staging import link_venv, staging_tree
from releaser.errors import BuildError, Finding, TestsFailedError, ToolError
from releaser.releases.integrity import is_dead
from releaser.releases.quarantine import FailedCandidate, change_quarantine
from releaser.releases.release import OUTPUT
from releaser.releases.store import store_of
from releaser.system.environment import inside
from releaser.system.words import timestamp, truncate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.candidate.build import Candidate
    from releaser.releases.release import Release
    from releaser.report import Blame, RunLog
    from releaser.site.site import Site, SiteFacts


TEST = "test"  # the step of the project's own tests


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Something that a candidate has to pass: the name of the step, the command, and how to speak of it."""

    step: str
    command: tuple[str, ...]
    name: str
    plural: bool

    def verb(self, word: str) -> str:
        """Return a verb in the form that follows the name, `pass` or `passes`."""
        return word if self.plural else f"{word}{'es' if word.endswith('s') else 's'}"

    @property
    def pronoun(self) -> str:
        """What stands for the name."""
        return "they" if self.plural else "it"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """How a trial ended: `reason` is empty when it was passed; one that `proves_nothing` ran no tests, or not all."""

    trial: Trial
    reason: str
    output: str
    timed_out: bool = False
    proves_nothing: bool = False

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.reason

    @property
    def fault(self) -> str:
        """What went wrong with the packages that were tried, in a few words."""
        if self.timed_out or self.proves_nothing:
            return f"{self.reason} with it"
        return f"{self.trial.name} {self.trial.verb('fail')} with it{complaint(self.output)}"


def trials(site: Site, facts: SiteFacts) -> tuple[Trial, ...]:
    """List what has to be passed, the quickest first."""
    tests = Trial(step=TEST, command=facts.test_command, name="the tests", plural=True)
    settings = site.settings
    if settings.django_check == "off":
        return (tests,)
    words = ("python", "manage.py", "check", f"--{settings.django_check}")
    level = ("--fail-level", settings.django_check_level.upper())
    check = Trial(step="django check", command=words + level, name=f"`{' '.join(words[1:])}`", plural=False)
    return (check, tests)


def run_trial(site: Site, trial: Trial, venv: Path, lock: Path) -> Tried:
    """Let the interpreter of `venv` try, within `test_timeout`.

    `lock` is what the venv was built from: with the packages of `test_groups` in its versions. Raises BuildError if
    these cannot be installed.
    """
    with test_packages(site, venv, lock) as beside:
        return _run_trial(site, trial, venv, beside)


def _run_trial(site: Site, trial: Trial, venv: Path, beside: Path | None) -> Tried:
    words = list(trial.command)
    if site.staged is not None:
        link_venv(site, venv)
    if words[0] == "python":
        words[0] = str(venv / "bin" / "python")
    try:
        finished = site.runner.run(
            words,
            cwd=site.project.root,
            env=inside(venv, site.runner.site_environ, beside=beside),
            timeout=site.settings.test_timeout,
            merge=True,
        )
    except ToolError as error:
        if error.returncode is None and not error.timed_out:
            raise _not_run(trial, error) from error
        if trial.step == TEST and count_tests(error.output) == 0:  # of which pytest makes exit status 5
            return Tried(trial=trial, reason=NONE_RUN, output=truncate(error.output), proves_nothing=True)
        slow = f"{trial.name} did not end within {site.settings.test_timeout:g} s"
        reason = slow if error.timed_out else error.message
        return Tried(trial=trial, reason=reason, output=truncate(error.output), timed_out=error.timed_out)
    flaw = flaw_of(trial.command, finished.output) if trial.step == TEST else ""
    return Tried(trial=trial, reason=flaw, output=truncate(finished.output), proves_nothing=bool(flaw))


def _not_run(trial: Trial, error: ToolError) -> TestsFailedError:
    message = f"{trial.name} could not be run: {error.message}"
    return TestsFailedError(
        message, blame="unknown", advice="Correct `test_command`; then this candidate is tried again."
    )


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A candidate passes everything that it has to pass."""

    candidate: Candidate


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A candidate does not pass: what failed, whose fault that is, and how a report says so."""

    candidate: Candidate
    tried: Tried
    blame: Blame
    message: str
    advice: str

    def error(self) -> TestsFailedError:
        """Return what ends a run that needs this candidate."""
        output, fault = self.tried.output, self.tried.fault
        return TestsFailedError(self.message, blame=self.blame, advice=self.advice, output=output, fault=fault)


def gate(site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, *, before: SiteFacts) -> None:
    """Let the candidate pass only if it passes the tests, as `test` has it. Raises TestsFailedError."""
    result = test(site, log, facts, candidate, before=before)
    if isinstance(result, Failed):
        raise result.error()


def test(site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, *, before: SiteFacts) -> Passed | Failed:
    """Test a candidate; `before` is how fit the project was before the pull.

    If it fails, the live release is tested too, to tell whose fault it is.
    """
    failed = first_failure(site, log, facts, candidate)
    if failed is None:
        return Passed(candidate=candidate)
    return fail(site, log, candidate, failed, find_blame(site, log, before, failed))


def first_failure(
    site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, *, after: Trial | None = None
) -> Tried | None:
    """Run the trials of a candidate, or those `after` one, until one fails; what they print is kept."""
    due = trials(site, facts)
    if after is not None:
        due = due[due.index(after) + 1 :]
    with (candidate.directory / OUTPUT).open("a", encoding="utf-8") as outputs:
        for trial in due:
            tried = _recorded(site, log, trial, candidate)
            outputs.write(tried.output + "\n")
            if not tried.passed:
                return tried
    return None


def _recorded(site: Site, log: RunLog, trial: Trial, candidate: Candidate) -> Tried:
    with log.step(trial.step) as step:
        tried = run_trial(site, trial, candidate.venv, candidate.lock)
        if not tried.passed:
            step.status, step.detail = "failed", tried.reason
        return tried


def steady_failure(site: Site, log: RunLog, facts: SiteFacts, candidate: Candidate, failed: Tried) -> Tried | None:
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


def fail(
    site: Site, log: RunLog, candidate: Candidate, tried: Tried, blame: Blame, *, unfinished: bool = False
) -> Failed:
    """Seal a candidate as failed and keep it from being built again, and say how it failed.

    While a search for what is to blame is `unfinished`, the next update takes it up again.
    """
    reject(site, log, candidate, tried, blame, unfinished=unfinished)
    log.learn(blame=blame)
    purpose = _purpose(site, log, candidate)
    message, advice = _verdict(blame, tried, purpose), _advice(blame, tried, purpose)
    return Failed(candidate=candidate, tried=tried, blame=blame, message=message, advice=advice)


def reject(
    site: Site, log: RunLog, candidate: Candidate, tried: Tried, blame: Blame, *, unfinished: bool = False
) -> None:
    """Keep a candidate from being built again, and seal it as one that has failed."""
    if not candidate.overrides:  # else there is nothing to keep out, as no update would bring that
        _quarantine(site, candidate, tried, blame, unfinished=unfinished)
    seal(site, log, candidate, tests="failed")


def _quarantine(site: Site, candidate: Candidate, tried: Tried, blame: Blame, *, unfinished: bool) -> None:
    """Keep the next run from building and testing this very candidate; this comes first, before it is sealed."""
    change_quarantine(
        site.state_dir,
        lambda quarantine: quarantine.with_candidate(
            FailedCandidate(
                key=candidate.key,
                release=candidate.id,
                reason=tried.reason,
                at=timestamp(),
                sick=blame != "update",
                unfinished=unfinished,
            )
        ),
    )


def find_blame(site: Site, log: RunLog, before: SiteFacts, failed: Tried) -> Blame:
    """Try what is live with that which a candidate does not pass, to tell whose fault it is."""
    return _blame(site, log, *(one for one in trials(site, before) if one.step == failed.trial.step))


def _blame(site: Site, log: RunLog, *attempted: Trial) -> Blame:
    """Try what is live: its release, with the code that is checked out."""
    live = store_of(site).live()
    if live is None or is_dead(live):
        return "unknown"
    try:
        with tree_of_live(site, log) as before:
            for trial in attempted:
                if not _passes_live(before, log, trial, live):
                    return "before"
    except BuildError as error:
        log.failed(error, follow_up=False)
        return "unknown"
    return "update"


def _passes_live(site: Site, log: RunLog, trial: Trial, live: Release) -> bool:
    """Try a copy of what is live. Raises BuildError where it cannot be copied."""
    with log.step(f"{trial.step} live release") as step:
        tried = try_live(site, trial, live)
        step.says("passed" if tried.passed else tried.reason)
        step.status = "ok" if tried.passed else "failed"
    return tried.passed


def try_live(site: Site, trial: Trial, live: Release) -> Tried:
    """Try a copy of what is live, as tests may write into their venv. Raises BuildError where it cannot be copied."""
    try:
        with copied(site, live, place=site.state_dir / PLACE) as venv:
            return run_trial(site, trial, venv, live.lock)
    except (ToolError, OSError) as error:
        message = f"the live release cannot be copied to be tested: {error}"
        raise BuildError(message, advice="Check free space below state_dir.") from error


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


def is_well_again(site: Site, log: RunLog, before: SiteFacts) -> bool:
    """Whether the live release passes, with the code that is checked out."""
    return _blame(site, log, *trials(site, before)) == "update"


@dataclass(frozen=True, kw_only=True)
class _Purpose:
    """What a candidate was made for, as far as words go: what is new about it, and what there was without it.

    `again` says when it is tried again; what is `asked_for` by a person leaves the updates alone.
    """

    broken: str
    without: str
    since: str
    again: str
    asked_for: bool = False


def _purpose(site: Site, log: RunLog, candidate: Candidate) -> _Purpose:
    if candidate.overrides:
        return _Purpose(
            broken=f"with {', '.join(candidate.overrides)}",
            without="without",
            since="without an override",
            again="updates go on as before.",
            asked_for=True,
        )
    if not candidate.resolution.diff and not site.pulled:
        return _Purpose(
            broken=f"on the venv that was rebuilt, with Python {candidate.key.python}",
            without="on the live release",
            since="before",
            again=f"`releaser {'init' if log.command == 'init' else 'rebuild'}` tries it again.",
        )
    return _Purpose(
        broken="with the new packages or commits",
        without="without: this update broke it",
        since="before this update",
        again="this candidate is not tried again until a package or the code changes.",
    )


def _verdict(blame: Blame, tried: Tried, purpose: _Purpose) -> str:
    trial = tried.trial
    fail, succeed = trial.verb("fail"), trial.verb("pass")
    what = tried.reason if tried.timed_out or tried.proves_nothing else f"{trial.name} {fail}"
    return {
        "update": f"{what} {purpose.broken} and {succeed} {purpose.without}",
        "before": f"{what}, and {trial.pronoun} {fail} on the live release too: it was failing {purpose.since}",
    }.get(blame, f"{what}, and there is no earlier release to compare with")


def _advice(blame: Blame, tried: Tried, purpose: _Purpose) -> str:
    trial = tried.trial
    longer = f"Raise `test_timeout` if {trial.pronoun} {trial.verb('need')} longer. " if tried.timed_out else ""
    if tried.proves_nothing:
        longer = f"{ADVICE} "
    if blame == "before":
        fix = "Fix the tests or the site" if trial.plural else "Fix the site or its settings"
        if purpose.asked_for:
            return f"{longer}{fix} first."
        return f"{longer}{fix}; updates go on by themselves once {trial.name} {trial.verb('pass')} again."
    return f"{longer}See the end of the {'test output' if trial.plural else 'output'}; {purpose.again}"


def smoke_test(site: Site, release: Release) -> None:
    """See that the interpreter of a release starts; ToolError when it does not."""
    site.runner.run(
        [release.venv / "bin" / "python", "-c", "pass"],
        cwd=site.project.root,
        env=inside(release.venv, site.runner.site_environ),
        timeout=60,
    )
