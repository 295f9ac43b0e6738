"""Updates that wait: until they are due, for their window, and for the moment at which their site begins."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.publish import pending
from releaser.deployment.post_flip import retry_post_flip_steps
from releaser.errors import PreflightError
from releaser.pipelines.due import Due, Timing, find_due, jitter_of
from releaser.pipelines.session import PipelineResult, run_session
from releaser.releases.journal import journal_of
from releaser.report import Outcome, RunLog
from releaser.run import Run, new_run_id
from releaser.site import run_lock
from releaser.site.site import find_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.pipelines.session import Request
    from releaser.report import RunReport
    from releaser.site.site import Site


_NOW = "`releaser update --now` does not wait."


def update_when_due(request: Request, timing: Timing, pipeline: Callable[[Run], PipelineResult]) -> RunReport:
    """Run an update if it may begin; else bring to its end what an earlier one has left, and say that this one waits.

    One that is to be due waits the `jitter` of the site before it begins.
    """
    if not timing.now:
        pipeline = partial(_in_window, pipeline=pipeline)
    if not timing.if_due:
        return run_session(request, pipeline)
    try:
        site = find_site(request.path, request.environ)
    except PreflightError:
        return run_session(request, pipeline)  # which reports that, as it does wrong settings
    with _alone(site) as alone:
        if not alone:
            return _report(site, request, Due(at=datetime.now(UTC), reason="another update is waiting or running"))
        due = find_due(site, if_due=True)
        if not due.reason:
            _wait(site, request, due)
            due = find_due(site, if_due=True)
        if not due.reason or site.findings:
            return run_session(request, pipeline)
        if _is_unfinished(site):
            return run_session(request, partial(_finish_only, due=due))
        return _report(site, request, due)


def _wait(site: Site, request: Request, due: Due) -> None:
    seconds = (due.at + jitter_of(site) - datetime.now(UTC)).total_seconds()
    if seconds > 0:
        request.listener.started("wait")
        time.sleep(seconds)
        said = Outcome(step="wait", status="ok", detail="the jitter of this site", seconds=round(seconds, 3))
        request.listener.ended(said)


@contextlib.contextmanager
def _alone(site: Site) -> Iterator[bool]:
    """Yield whether no other `update --if-due` waits or runs, and keep others from it."""
    from filelock import FileLock, Timeout

    if run_lock.running(site.state_dir):
        yield False
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                FileLock(site.state_dir / run_lock.WAITING, timeout=0, mode=0o660, preserve_lock_file=True)
            )
        except Timeout:
            yield False
            return
        except OSError:  # nothing is adopted yet, or this user may not; the lock of the project is what counts
            pass
        yield True


def _is_unfinished(site: Site) -> bool:
    due = pending(site.state_dir)
    return journal_of(site).path.exists() or due.pending_steps is not None


def _in_window(run: Run, *, pipeline: Callable[[Run], PipelineResult]) -> PipelineResult:
    due = find_due(run.site, if_due=False)
    return _finish_only(run, due=due) if due.reason else pipeline(run)


def _finish_only(run: Run, *, due: Due) -> PipelineResult:
    retry_post_flip_steps(run.site, run.log)
    run.log.learn(due_at=due.at)
    return PipelineResult(result="unchanged", headline=due.reason, advice=_NOW)


def _report(site: Site, request: Request, due: Due) -> RunReport:
    started = datetime.now(UTC)
    log = RunLog(request.listener, command=request.command, run_id=new_run_id(started), started_at=started)
    log.learn(due_at=due.at)
    return Run(site=site, log=log).report(result="unchanged", exit_code=0, headline=due.reason, advice=_NOW)
