"""One run from end to end: lock, log file, signals, recovery, report, history and mail."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.capabilities import gather
from releaser.core.announcing import add_problem, announcer
from releaser.core.run import Run, clean_problems, new_log, run_log
from releaser.errors import (
    BuildError,
    ExitCode,
    Finding,
    FollowUpError,
    Interrupted,
    LockedError,
    PreflightError,
    ReleaserError,
    TestsFailedError,
    ToolError,
    how_to_set,
    os_reason,
    refuse_any,
)
from releaser.listener import Listener, Silence
from releaser.pipelines.recovery import recover, restart_service_on_failure
from releaser.releases.integrity import find_damage
from releaser.releases.journal import Journal, add_to_history
from releaser.report import Result, RunLog, RunReport
from releaser.site import disk, run_lock
from releaser.site.loading import load
from releaser.site.location import PYPROJECT, find_project
from releaser.site.ownership import Ownership, environment_of
from releaser.site.project import read_pyproject
from releaser.site.settings import this_host
from releaser.site.site import Site, find_site, open_site
from releaser.site.state_dir import claim, claim_work_tree, foreign, prepare
from releaser.system import signals
from releaser.system.frozen import Frozen, field, replace
from releaser.system.process import Runner
from releaser.system.reserve import keep_reserve
from releaser.system.words import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from releaser.system.sections import Section

logger = logging.getLogger(__name__)

_RESULTS: dict[int, Result] = {
    ExitCode.USAGE: "refused",
    ExitCode.PREFLIGHT: "refused",
    ExitCode.TESTS: "refused",
    ExitCode.ROLLED_BACK: "rolled-back",
    ExitCode.FOLLOW_UP: "updated",
    ExitCode.LOCKED: "refused",
    ExitCode.NO_RELEASE: "refused",
}


class Request(Frozen):
    """The parameters of every run; those of one command, such as `force`, go to its pipeline."""

    path: Path
    environ: Mapping[str, str]
    command: str
    listener: Listener = field(default_factory=Silence)
    #: How long to wait for the project lock, in seconds.
    wait: float = 0.0
    #: True if the run may send a mail.
    mails: bool = False
    #: The project may have no pyproject.toml yet.
    creates_pyproject: bool = False
    #: The facts with which the run begins, from options that ask for another kind of run.
    asked: tuple[Section, ...] = ()


class PipelineResult(Frozen):
    """The result of a pipeline that did not raise."""

    result: Result
    headline: str
    advice: str = ""


def run_session(
    request: Request, pipeline: Callable[[Run], PipelineResult], *, check: Callable[[Site], object] | None = None
) -> RunReport:
    """Run a pipeline under the project lock, after recovery; write history and mail, and return the report.

    Every error of a run becomes part of its report. Only a second interrupt raises. In a project without releases,
    `check` comes first, and nothing is written if it raises a ReleaserError: it may be the wrong project. A wrong
    command line leaves no log file and no line in the history.
    """
    log = new_log(request.command, request.listener)
    for section in request.asked:
        log.add(section)
    try:
        site = (open_site if request.creates_pyproject else find_site)(request.path, request.environ)
    except PreflightError as error:
        return report_unopened(request, error, log=log)
    log.clean = site.redactor.line
    if request.listener.shows_progress:
        site.runner.watch = request.listener.printed
    run = Run(site=site, log=log)
    try:
        if check is not None and not site.project.releases.is_dir() and not _has_journal(site):
            refuse_any(foreign(site.project))
            check(site)
    except ReleaserError as error:
        return _report_failure(run, error)
    try:
        _prepare_state(site, creates_pyproject=request.creates_pyproject)
    except PreflightError as error:
        report = _report_without_state_dir(request, run, error)
    else:
        with run_log(site.project.logs, log.run_id, site.redactor) as log_file:
            run.log_file = str(log_file)
            report = _run_under_lock(request, run, pipeline)
        if report.is_slip:
            log_file.unlink(missing_ok=True)
            report = replace(report, log_file="")
    announcer().ended(run.site, request.command, report)
    return report


def _prepare_state(site: Site, *, creates_pyproject: bool) -> None:
    """Make the state directory. Raises PreflightError with all problems if that is impossible or unwise.

    Nothing is made in a project without a lock and without releases, which may be the wrong directory. A journal
    without pyproject.toml is accepted: a run was about to write the first one.
    """
    project = site.project
    has_lock = project.lock.exists() or project.releases.is_dir()
    is_one = creates_pyproject or _has_journal(site) or (project.pyproject.exists() and has_lock)
    if not is_one or any(disk.state_findings(site.project)):
        _check(site)
    try:
        prepare(site.project, group_writable=site.settings.group_writable)
    except OSError as error:
        raise _unusable(site, error) from error


def _has_journal(site: Site) -> bool:
    return Journal(state_dir=site.state_dir).path.exists()


def _check(site: Site) -> None:
    from releaser.pipelines import preflight  # slow to import

    preflight.check(site)


def _unusable(site: Site, error: OSError) -> PreflightError:
    """Return the error for an unusable state directory, with all other problems, which may be the cause."""
    message = f"state_dir {site.state_dir} cannot be used: {os_reason(error)}"
    finding = Finding(
        "state-dir-unusable",
        message,
        f"Free some disk space, give this user write access, or {how_to_set('state_dir', 'PATH')}.",
    )
    try:
        _check(site)
    except PreflightError as found:
        return PreflightError(*found.findings, finding)
    return PreflightError(finding)


def _report_without_state_dir(request: Request, run: Run, error: PreflightError) -> RunReport:
    report = _report_failure(run, error)
    return announcer().announce_without_state(run.site, report) if request.mails else report


def _run_under_lock(request: Request, run: Run, pipeline: Callable[[Run], PipelineResult]) -> RunReport:
    with contextlib.ExitStack() as stack:
        lock = run_lock.acquire(run.site.state_dir, command=request.command, now=run.log.started_at, wait=request.wait)
        try:
            held = stack.enter_context(lock)
        except LockedError as error:
            if request.mails and (sentence := announcer().announce_long_holder(run.site, run.log.started_at)):
                run.log.note(Finding("lock-held", sentence))
            return _report_failure(run, error)
        except OSError as error:
            return _report_without_state_dir(request, run, _unusable(run.site, error))
        run.killed_since = held.killed_since
        run.site.runner.marks[signals.MARK] = run_lock.this_run(request.command, run.log.started_at).mark
        with signals.raise_on_signals():
            report = _run_pipeline(run, pipeline)
            for end in gather("endings"):
                report = end(run, report)
            # A person may be editing the settings: only a move of the checkout by releaser makes others count.
            if run.log.moved_checkout:
                with contextlib.suppress(PreflightError, KeyboardInterrupt, Interrupted):
                    run.site = run.site.reread()
            held.killed_since = run.killed_since
            # Repairs and automatic rollbacks are mailed, whichever command comes first.
            reports = request.mails or report.has_news_from_before or report.is_automatic_rollback
            try:
                return _announce(run, report, mails=reports)
            finally:
                keep_reserve(run.site.state_dir, _written_by_git(run.site))


def _announce(run: Run, report: RunReport, *, mails: bool) -> RunReport:
    """Announce a report and write the history; return the report, with the problems of both.

    The history has every run, even if an interrupt arrives while the announcer returns.
    """
    advice = "The result of the run stays. The next run sends its mail, unless it was sent."
    interrupted = Finding("interrupted", "interrupted at the end of the run", advice)
    try:
        report = announcer().announce(run.site, run.log, report, mails=mails)
    except (KeyboardInterrupt, Interrupted):
        report = add_problem(report, interrupted)
    try:
        with signals.defer_interrupts():
            add_to_history(run.site.state_dir, report)
    except OSError as error:
        message = f"the history cannot be written: {os_reason(error)}"
        advice = f"Check free space and permissions in {run.site.state_dir}. `releaser history` lacks this run."
        return add_problem(report, Finding("history-unwritable", message, advice))
    except (KeyboardInterrupt, Interrupted):
        return add_problem(report, interrupted)
    return report


def report_unopened(request: Request, error: ReleaserError, *, log: RunLog | None = None) -> RunReport:
    """Report that there is no site to work on; if the run may mail, also by mail.

    Ignores files that others than the owner of the site, or than this user and root, may have written.
    """
    log = log or new_log(request.command, request.listener)
    start = os.path.realpath(os.path.expanduser(request.path))  # noqa: PTH111 - an unknown `~user` stays
    root = Path((os.path.isdir(start) and find_project(start)) or start)
    trusting, pyproject = Ownership.of_missing(root), root / PYPROJECT
    if trusting.stranger():
        trusting = Ownership(root=str(root.parent), owner=os.geteuid(), group=None)
    env_file = Path(environment_of(root))
    believed = None if trusting.foreign(root.parent) or trusting.unsafe(env_file) else env_file
    table: Any = {}
    if not (trusting.foreign(root) or trusting.unsafe(pyproject)):
        with contextlib.suppress(ReleaserError, OSError):
            table = read_pyproject(pyproject).table("tool").get("releaser", {})
    loaded = load(table=table, pyproject=pyproject, env_file=believed, environ=request.environ)
    redactor = Redactor(loaded.secrets)
    report = RunReport(
        command=log.command,
        project=root.name,
        path=str(root),
        host=this_host(),
        run_id=log.run_id,
        started_at=log.started_at,
        seconds=round((datetime.now(UTC) - log.started_at).total_seconds(), 3),
        result=_RESULTS.get(error.exit_code, "failed"),
        exit_code=error.exit_code,
        headline=redactor.line(error.message),
        problems=clean_problems(redactor, (*error.findings, *loaded.problems)),
        advice=error.advice,
    ).with_problems()
    if not request.mails:
        return report
    runner = Runner(environ=request.environ, redactor=redactor)
    return announcer().announce_unopened(report, loaded, trusting, runner)


def _written_by_git(site: Site) -> int:
    """Return the most bytes that git writes, besides the files, to move the checkout: its index, and the lock."""
    files = [site.project.lock]
    with contextlib.suppress(ToolError):  # a rollback works without git, too
        files.append(site.git.layout.git_directory / "index")
    sizes = 0
    for file in files:
        with contextlib.suppress(OSError):
            sizes += file.stat().st_size
    return 2 * sizes


def _run_pipeline(run: Run, pipeline: Callable[[Run], PipelineResult]) -> RunReport:
    with signals.raise_on_signals():
        try:
            run.site = run.site.reread()  # another run may have pulled while this one waited for the lock
            run.log.sentences += filter(None, [claim(run.site.project)])
            with contextlib.suppress(ToolError):  # preflight reports problems of git
                run.log.sentences += filter(None, [claim_work_tree(run.site.project, run.site.git.layout)])
            announcer().began(run.site, run.log.command)
            keep_reserve(run.site.state_dir, _written_by_git(run.site))
            with restart_service_on_failure(run):
                recover(run)
                if run.log.recovered:  # it may have moved the checkout, and with it the settings
                    run.site = run.site.reread()
                ending = pipeline(run)
        except ReleaserError as error:
            return _report_failure(run, error)
        except (KeyboardInterrupt, Interrupted) as error:
            return _report_interrupt(run, error)
        except OSError as error:
            logger.error("system error\n%s", traceback.format_exc())
            message = f"{run.log.command} could not continue: {os_reason(error)}"
            advice = "Check free space and permissions. The next run first finishes or undoes this one."
            failure = FollowUpError if run.log.learned.live_changed else BuildError
            return _report_failure(run, failure(message, advice=advice))
        except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a report
            return _report_bug(run, error)
    failed, old = run.log.follow_up_failed, run.log.not_restarted and run.log.learned.live_changed
    but = [*(["the site was not restarted"] if old else ()), *(["a follow-up failed"] if failed else ())]
    return run.report(
        result="updated-not-restarted" if old and ending.result in ("updated", "rolled-back") else ending.result,
        exit_code=ExitCode.FOLLOW_UP if but else 0,
        headline=ending.headline + (f", but {' and '.join(but)}" if but else ""),
        advice=ending.advice,
    )


def _note_if_live_differs(run: Run) -> None:
    """Check that builds and tests have not changed live release and checkout, before the report says so."""
    log = run.log
    if log.learned.live_changed or not log.has_tried_code:
        return
    found: list[Finding] = []
    try:
        live = run.store.live()
        if live is not None and (damage := find_damage(live)) is not None:
            message = f"the live release {live.id} is damaged: {damage}"
            found.append(Finding("release-damaged", message, "Check who changed it. The next update rebuilds it."))
        if run.find_changes is not None:
            found += run.find_changes()
    except OSError as error:
        message = f"releaser could not check that the live site is unchanged: {error}"
        log.note(Finding("live-unknown", message, "Check free space and permissions, then run `releaser verify`."))
    known = {finding.message for finding in log.findings}
    log.note(*(path for path in found if path.message not in known))
    if found:
        log.learn(live_differs=True)


def _report_failure(run: Run, error: ReleaserError) -> RunReport:
    run.log.findings[:0] = error.findings
    if error.output:
        run.log.learn(output=error.output)
    _note_if_live_differs(run)
    if isinstance(error, TestsFailedError):
        run.log.findings[0] = replace(error.finding, output="")
    return run.report(
        result=_RESULTS.get(error.exit_code, "failed"),
        exit_code=error.exit_code,
        headline=error.message,
        advice=error.advice,
    )


def _report_interrupt(run: Run, error: BaseException) -> RunReport:
    """Recover at once, as after a crash, and return the report."""
    number = error.signal_number if isinstance(error, Interrupted) else signal.SIGINT
    headline = f"{run.log.command} was interrupted by {signal.Signals(number).name}"
    if isinstance(error, Interrupted) and error.is_orphan:
        headline += " after the process that had started it ended"
    try:
        with restart_service_on_failure(run, BaseException):
            recover(run)
    except ReleaserError as failure:
        run.log.note(failure.finding)
    except OSError as failure:
        message = f"the interrupted run could not clean up: {os_reason(failure)}"
        advice = "Check free space and permissions. The next run tries again."
        run.log.note(Finding("clean-up-failed", message=message, advice=advice))
    if run.log.learned.release is not None and run.store.get(run.log.learned.release) is None:
        run.log.learn(release=run.store.live_id())  # the candidate is gone
    run.log.findings.insert(
        0, Finding("interrupted", message=headline, advice="Run the command again when you are ready.")
    )
    return run.report(result="failed", exit_code=ExitCode.SIGNALLED + number, headline=headline)


def _report_bug(run: Run, error: Exception) -> RunReport:
    logger.error("bug in releaser\n%s", traceback.format_exc())
    headline = f"internal error: {type(error).__name__}: {error}"
    advice = f"Please report this bug, with the traceback in {run.log_file}. The next run recovers first."
    run.log.note(Finding("bug", headline, advice))
    return run.report(result="failed", exit_code=ExitCode.BUG, headline=headline, advice=advice)
