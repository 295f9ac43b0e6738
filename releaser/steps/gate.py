"""The gate: the project's own tests against the candidate, and, when they fail, whose fault that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.errors import TestsFailedError, ToolError
from releaser.releases.quarantine import FailedCandidate
from releaser.releases.release import OUTPUT
from releaser.report.capping import cap
from releaser.steps.build import seal
from releaser.steps.litter import note_litter
from releaser.tools.environment import inside

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.report.outcome import Blame
    from releaser.run import Run
    from releaser.steps.build import Candidate


@dataclass(frozen=True, kw_only=True)
class TestRun:
    """How a run of the project's tests ended: `reason` is empty when they passed."""

    __test__ = False  # pytest would collect it

    reason: str
    output: str
    timed_out: bool = False

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return not self.reason


def run_tests(run: Run, fitness: Fitness, venv: Path) -> TestRun:
    """Run the project's tests with the interpreter of `venv`, within `test_timeout`."""
    words = list(fitness.test_command)
    if words[0] == "python":
        words[0] = str(venv / "bin" / "python")
    try:
        finished = run.site.runner.run(
            words,
            cwd=run.site.project.root,
            env=inside(venv, run.site.runner.environ),
            timeout=run.site.settings.test_timeout,
            merge=True,
        )
    except ToolError as error:
        if error.returncode is None and not error.timed_out:
            raise _not_run(error) from error
        reason = (
            f"the tests did not end within {run.site.settings.test_timeout:g} s" if error.timed_out else error.message
        )
        return TestRun(reason=reason, output=cap(error.output), timed_out=error.timed_out)
    return TestRun(reason="", output=cap(finished.output))


def _not_run(error: ToolError) -> TestsFailedError:
    message = f"the tests could not be run: {error.message}"
    return TestsFailedError(
        message, blame="unknown", advice="Correct `test_command`; then this candidate is tried again."
    )


def gate(run: Run, fitness: Fitness, candidate: Candidate, *, before: Fitness) -> None:
    """Let the candidate pass only if the tests do; `before` is how fit the project was before the pull.

    If they fail, the live release is tested too, the candidate is sealed as failed and quarantined, and
    TestsFailedError tells whose fault it is.
    """
    with run.recorder.step("test") as step:
        tested = run_tests(run, fitness, candidate.venv)
        (candidate.directory / OUTPUT).write_text(tested.output + "\n", encoding="utf-8")
        note_litter(run)
        if tested.passed:
            return
        step.status, step.detail = "failed", tested.reason
    blame = _blame(run, before)
    # First, as without it the next run would build and test this very candidate again.
    run.change_quarantine(
        lambda quarantine: quarantine.with_candidate(
            FailedCandidate(
                key=candidate.key,
                release=candidate.id,
                reason=tested.reason,
                at=run.now_iso(),
                sick=blame != "update",
            )
        )
    )
    seal(run, candidate, tests="failed")
    run.draft.blame = blame
    raise TestsFailedError(_verdict(blame, tested), blame=blame, advice=_advice(blame, tested), output=tested.output)


def _blame(run: Run, before: Fitness) -> Blame:
    """Test what is live: its release, and the commits that were there before the pull, which is taken back here."""
    live = run.store.live()
    if live is None or not live.works():
        return "unknown"
    with run.recorder.step("test live release") as step:
        try:
            _take_back_pull(run)
        except ToolError as error:
            step.warns(f"the commits from before the pull cannot be had: {error.message}")
            return "unknown"
        tested = run_tests(run, before, live.venv)
        step.says("passed" if tested.passed else tested.reason)
        step.status = "ok" if tested.passed else "failed"
    return "update" if tested.passed else "before"


def is_well_again(run: Run, before: Fitness) -> bool:
    """Whether the tests pass on the live release, with the code from before the pull, which is taken back here."""
    return _blame(run, before) == "update"


def _take_back_pull(run: Run) -> None:
    pulled = run.draft.pulled
    if pulled is not None and run.site.git.commit("HEAD") == pulled.new:
        run.site.git.reset_keep(pulled.old)


def _verdict(blame: Blame, tested: TestRun) -> str:
    what = tested.reason if tested.timed_out else "the tests fail"
    return {
        "update": f"{what} with the new packages or commits and pass without: this update broke it",
        "before": f"{what}, and they fail on the live release too: it was failing before this update",
    }.get(blame, f"{what}, and there is no earlier release to compare with")


def _advice(blame: Blame, tested: TestRun) -> str:
    longer = "Raise `test_timeout` if they need longer. " if tested.timed_out else ""
    if blame == "before":
        return f"{longer}Mend the tests or the site; updates go on by themselves once the tests pass again."
    again = "this candidate is not tried again until a package or the code changes."
    return f"{longer}See the end of the test output; {again}"


def smoke_test(site: Site, release: Release) -> None:
    """See that the interpreter of a release starts; ToolError when it does not."""
    site.runner.run(
        [release.venv / "bin" / "python", "-c", "pass"],
        cwd=site.project.root,
        env=inside(release.venv, site.runner.environ),
        timeout=60,
    )
