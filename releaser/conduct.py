"""Conducting a run: lock, log file, interrupts, and, at the end, the report, the history and the mail."""

from __future__ import annotations

import contextlib
import logging
import signal
import traceback
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser import interrupts, notify
from releaser.errors import (
    BuildError,
    FollowUpError,
    Interrupted,
    LockedError,
    PreflightError,
    ReleaserError,
    TestsFailedError,
    ToolError,
    Unfit,
)
from releaser.project import disk, mutex, state
from releaser.project.ownership import claim, claim_work_tree
from releaser.project.preflight import check
from releaser.project.site import Site, find_site, open_site
from releaser.recovery import recover
from releaser.releases.journal import Journal
from releaser.releases.reserve import keep_reserve
from releaser.report.outcome import LeftBehind, Problem, Result, RunReport
from releaser.report.recorder import Listener, Recorder, Silence
from releaser.run import Run, new_run_id, problem_of
from releaser.runlog import run_log
from releaser.steps.fixes import tell_unknown_once
from releaser.steps.holding import standing_holds
from releaser.steps.left_behind import left_behind
from releaser.tools.orphans import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

BUG = 1
FOLLOW_UP_FAILED = 7
_RESULTS: dict[int, Result] = {
    2: "refused", 3: "refused", 6: "rolled_back", 7: "activated", 8: "refused", 9: "refused",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for; `wait` is how many seconds to wait for the project lock.

    What `founds` a project needs no pyproject.toml yet.
    """

    path: Path
    environ: Mapping[str, str]
    command: str
    listener: Listener = field(default_factory=Silence)
    wait: float = 0.0
    mails: bool = False
    founds: bool = False


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a pipeline ended when it ended well."""

    result: Result
    headline: str
    advice: str = ""


def conduct(request: Request, pipeline: Callable[[Run], Ending]) -> RunReport:
    """Run a pipeline under the project lock, after recovery, and return its report; history and mail are done then.

    Every error of a run becomes part of its report. Raises nothing but what a second interrupt raises.
    """
    started = datetime.now(UTC)
    run_id = new_run_id(started)
    try:
        site = (open_site if request.founds else find_site)(request.path, request.environ)
    except PreflightError as error:
        return notify.about_missing_project(
            request.path, request.environ, request.command, run_id, started, error, mails=request.mails
        )
    run = Run(
        site=site,
        command=request.command,
        run_id=run_id,
        started_at=started,
        recorder=Recorder(request.listener),
    )
    stranger = disk.stranger_finding(site.project, request.command) if request.command == "rollback" else None
    if stranger is not None:
        return _failed(run, PreflightError((stranger,)))
    try:
        _prepare_state(site, founds=request.founds)
    except PreflightError as error:
        return _stateless(request, run, error)
    with run_log(site.project.logs, run_id, site.redactor) as log_file:
        run.log_file = str(log_file)
        return _locked(request, run, pipeline)


def _prepare_state(site: Site, *, founds: bool) -> None:
    """Make the state directory; PreflightError with everything that is wrong when that is not possible or not wise.

    A project without pyproject.toml may be one that a run was about to give its first.
    """
    is_one = founds or site.project.pyproject.exists() or Journal(state_dir=site.project.state_dir).path.exists()
    if not is_one or any(disk.state_findings(site.project)):
        check(site)
    try:
        state.prepare(site.project)
    except OSError as error:
        raise _unusable(site, error) from error


def _unusable(site: Site, error: OSError) -> PreflightError:
    """Say that the state directory cannot be used, along with everything else that is wrong, as that may be why."""
    message = f"state_dir {site.project.state_dir} cannot be used: {error}"
    finding = Unfit(message, advice="Make room, let this user write it, or set `state_dir`.")
    try:
        check(site)
    except PreflightError as found:
        return PreflightError((*found.problems, finding))
    return PreflightError((finding,))


def _stateless(request: Request, run: Run, error: PreflightError) -> RunReport:
    report = _failed(run, error)
    return notify.finish_without_state(run, report) if request.mails else report


def _locked(request: Request, run: Run, pipeline: Callable[[Run], Ending]) -> RunReport:
    with contextlib.ExitStack() as stack:
        lock = mutex.hold(run.site.project.state_dir, command=request.command, now=run.started_at, wait=request.wait)
        try:
            held = stack.enter_context(lock)
        except LockedError as error:
            return _failed(run, error)
        except OSError as error:
            return _stateless(request, run, _unusable(run.site, error))
        run.killed_since = held.killed_since
        run.site.runner.marks[MARK] = mutex.this_run(request.command, run.started_at).mark
        with interrupts.raised():
            report = _play(run, pipeline)
            held.killed_since = run.killed_since
            # What recovery found or took back must be told, whatever command happened to come first.
            tells = request.mails or report.tells_of_before or report.result == "rolled_back"
            return notify.finish(run, report, mails=tells, complete=lambda one: _with_what_stands(run, one))


def _with_what_stands(run: Run, report: RunReport) -> RunReport:
    """Add what is held, and the processes that no run has got to restart, if there is anything to report."""
    report = tell_unknown_once(run, report)
    if not report.noteworthy:
        return report
    processes: tuple[LeftBehind, ...] = ()
    with contextlib.suppress(OSError):
        processes = left_behind(run.store)
    clean = run.site.redactor.clean
    return replace(
        report,
        left_behind=tuple(replace(one, command=clean(one.command)) for one in processes),
        holds=tuple(replace(one, reason=clean(one.reason)) for one in standing_holds(run)),
    )


def _play(run: Run, pipeline: Callable[[Run], Ending]) -> RunReport:
    with interrupts.raised():
        try:
            run.site = run.site.reread()  # another run may have pulled while this one waited for the lock
            run.draft.noted += filter(None, _claims(run))
            keep_reserve(run.site.project.state_dir)
            recover(run)
            run.site = run.site.reread()
            ending = pipeline(run)
        except ReleaserError as error:
            return _failed(run, error)
        except (KeyboardInterrupt, Interrupted) as error:
            return _interrupted(run, error)
        except OSError as error:
            return _disk_failed(run, error)
        except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a report
            return _crashed(run, error)
    failed = run.draft.follow_up_failed
    return run.report(
        result=ending.result,
        exit_code=FOLLOW_UP_FAILED if failed else 0,
        headline=ending.headline + (", but a follow-up failed" if failed else ""),
        advice=ending.advice,
    )


def _claims(run: Run) -> list[str]:
    """Claim what belongs to the project, and return what is to be said of it. Raises PreflightError."""
    said = [claim(run.site.project)]
    with contextlib.suppress(ToolError):  # preflight says what is wrong with git
        said.append(claim_work_tree(run.site.project, run.site.git.layout))
    return said


def _failed(run: Run, error: ReleaserError) -> RunReport:
    problems = error.problems if isinstance(error, PreflightError) else (error,)
    run.draft.problems[:0] = [problem_of(problem) for problem in problems]
    if error.output:
        run.draft.output = error.output
    if isinstance(error, TestsFailedError):
        run.draft.problems[0] = Problem(message=error.message, advice=error.advice)
    return run.report(
        result=_RESULTS.get(error.exit_code, "failed"),
        exit_code=error.exit_code,
        headline=error.message,
        advice=error.advice,
    )


def _disk_failed(run: Run, error: OSError) -> RunReport:
    """The disk ended the run, or its permissions: before the flip a failed build, after it a failed follow-up."""
    log.error("system error\n%s", traceback.format_exc())
    message = f"{run.command} could not go on: {error}"
    advice = "Check free space and permissions; the next run first finishes or undoes what this one left."
    failure = FollowUpError if run.draft.live_changed else BuildError
    return _failed(run, failure(message, advice=advice))


def _interrupted(run: Run, error: BaseException) -> RunReport:
    """Say goodbye: what an interrupt leaves is what a crash leaves, so recovery deals with it at once."""
    number = error.signal_number if isinstance(error, Interrupted) else signal.SIGINT
    name = signal.Signals(number).name
    headline = f"{run.command} was interrupted by {name}"
    try:
        recover(run)
    except ReleaserError as failure:
        run.draft.problems.append(problem_of(failure))
    except OSError as failure:
        run.draft.problems.append(Problem(message=str(failure), advice="The next run will try to clean up again."))
    if run.draft.release is not None and run.store.get(run.draft.release) is None:
        run.draft.release = run.store.live_id()  # the candidate is gone
    run.draft.problems.insert(0, Problem(message=headline, advice="Run it again when you like."))
    return run.report(result="failed", exit_code=128 + number, headline=headline)


def _crashed(run: Run, error: Exception) -> RunReport:
    log.error("bug in releaser\n%s", traceback.format_exc())
    headline = f"releaser hit an internal error: {type(error).__name__}: {error}"
    advice = f"The traceback is in {run.log_file}. The next run recovers first; please report this."
    run.draft.problems.append(Problem(message=headline, advice=advice))
    return run.report(result="failed", exit_code=BUG, headline=headline, advice=advice)
