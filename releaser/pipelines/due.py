"""Whether an update begins: when it is due, in which window; and whether the site has the packages it is to bring."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from packaging.utils import is_normalized_name

from releaser.core.change import retry_failed_actions
from releaser.core.follow_up import read_pending
from releaser.core.run import Run, new_log
from releaser.errors import ExitCode, PreflightError, UsageError
from releaser.locks.lock import InvalidLockError, LockFile, find_locked
from releaser.locks.versions import normalize_name
from releaser.pipelines.session import PipelineResult, run_session
from releaser.releases.journal import journal_of, read_history
from releaser.releases.store import store_of
from releaser.report import Outcome, Plan
from releaser.site import run_lock
from releaser.site.settings import this_host
from releaser.site.site import find_site
from releaser.site.windows import DueSettings, find_opening, local_time, open_since
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from releaser.pipelines.session import Request
    from releaser.report import RunReport
    from releaser.site.site import Site


_EVERY = 86400.0  # seconds
_SOON = timedelta(hours=1)  # after which an update that did not get as far as the tests is tried again
_SLACK = timedelta(minutes=2)  # as cron is not that exact
_COUNTED = (ExitCode.OK, ExitCode.TESTS, ExitCode.ROLLED_BACK, ExitCode.FOLLOW_UP)


class Timing(Frozen):
    """What the command line says of when an update may begin."""

    #: Whether one that is not due only finishes what an earlier run has left.
    if_due: bool = False
    #: Whether it begins whatever is due, and whatever the window is.
    now: bool = False


class Due(Frozen):
    """From when on an update may begin, and why not before that; the reason is empty if nothing keeps it."""

    at: datetime
    reason: str = ""


def find_due(site: Site, *, if_due: bool) -> Due:
    """Return from when on an update may begin: `if_due`, one that is due, else any one."""
    settings, now = DueSettings.of(site), datetime.now(UTC)
    from_then_on = _due_by_interval(site, now) if if_due else None
    earliest = max(from_then_on or now, now)
    begins = find_opening(settings.window, local_time(earliest)).astimezone(UTC) if settings.window else earliest
    if begins > now and (ready := _when_ready(site)) is not None and ready < begins:
        return Due(at=ready, reason="" if ready <= now else f"the release that is ready may go live {_show(ready)}")
    if begins <= now:
        opened = open_since(settings.window, local_time(now))
        known = [one for one in (from_then_on, opened and opened.astimezone(UTC)) if one]
        return Due(at=max(known, default=now))
    if earliest <= now:
        return Due(at=begins, reason=f"an update waits for the window, which opens {_show(begins)}")
    return Due(at=begins, reason=f"the next update is due {_show(begins)}")


def find_next(site: Site) -> Due | None:
    """Return from when on the next update may begin; None if no setting says so."""
    settings = DueSettings.of(site)
    return find_due(site, if_due=settings.every is not None) if settings.every or settings.window else None


def _when_ready(site: Site) -> datetime | None:
    """Return from when on the release that waits may go live, which no interval or window puts off.

    None once an update has begun since then: what it could not do is tried again as always.
    """
    snapshot = store_of(site).snapshot()
    release = snapshot.find_waiting()
    at = snapshot.lifecycles[release.id].until if release is not None else None
    return None if at is None or any(begun >= at for begun, _ in _updates(site)) else at


def _updates(site: Site) -> Iterator[tuple[datetime, bool]]:
    """Yield when updates of all packages began, newest first, and whether they got as far as the tests."""
    for run in read_history(site.state_dir):
        if run.get("command") == "update" and not run.get("only") and not run.get("due_at") and (at := _begun(run)):
            yield at, run.get("exit_code") in _COUNTED


def _due_by_interval(site: Site, now: datetime) -> datetime | None:
    """Return when an update is due after the last ones; None before the first.

    One that did not get as far as the tests, as the network was down, say, does not count: it is tried again soon, and
    then less and less often.
    """
    begun = [(at, counts) for at, counts in _updates(site) if at <= now]
    failed = list(itertools.takewhile(lambda one: not one[1], begun))
    every = timedelta(seconds=DueSettings.of(site).every or _EVERY)
    due = [at - jitter_of(site) + every for at, _ in begun[len(failed) :][:1]]
    due += [at + min(every, _SOON * 2 ** min(len(failed) - 1, 16)) for at, _ in failed[:1]]
    return max(due) - _SLACK if due else None


def _begun(run: Mapping[str, Any]) -> datetime | None:
    """Return when a run of the history began; None if that cannot be read. A clock may have been set back since."""
    try:
        return datetime.fromisoformat(str(run.get("started_at"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def jitter_of(site: Site) -> timedelta:
    """Return how long after others this site begins: always the same, by its host and path, and within each window."""
    longest = min([DueSettings.of(site).jitter, *(one.lasts.total_seconds() for one in DueSettings.of(site).window)])
    digest = hashlib.sha256(f"{this_host()}\0{site.project.root}".encode(errors="surrogateescape")).digest()
    return timedelta(seconds=longest * int.from_bytes(digest[:4]) / 2**32)


def _show(at: datetime) -> str:
    return f"{local_time(at):%a %Y-%m-%d %H:%M}"


_NOW = "`releaser update --now` does not wait."


def update_when_due(request: Request, timing: Timing, pipeline: Callable[[Run], PipelineResult]) -> RunReport:
    """Run an update if it may begin; else finish what an earlier run has left, and say that this one waits.

    With `if_due`, it first waits for the `jitter` of the site, and nothing is run if there is nothing to finish.
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
        if journal_of(site).path.exists() or read_pending(site.state_dir).pending_steps is not None:
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

    if run_lock.find_running(site.state_dir):
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


def _in_window(run: Run, *, pipeline: Callable[[Run], PipelineResult]) -> PipelineResult:
    due = find_due(run.site, if_due=False)
    return _finish_only(run, due=due) if due.reason else pipeline(run)


def _finish_only(run: Run, *, due: Due) -> PipelineResult:
    retry_failed_actions(run.site, run.log)
    run.log.learn(due_at=due.at)
    return PipelineResult(result="unchanged", headline=due.reason, advice=_NOW)


def _report(site: Site, request: Request, due: Due) -> RunReport:
    log = new_log(request.command, request.listener)
    log.learn(due_at=due.at)
    return Run(site=site, log=log).report(result="unchanged", exit_code=0, headline=due.reason, advice=_NOW)


# The packages that an update is to bring alone, as the command line names them


def find_selected(path: Path, environ: Mapping[str, str], names: Sequence[str], *, if_locked: bool) -> frozenset[str]:
    """Return the packages as uv.lock writes them; with `if_locked`, only those that are there. None are for all.

    Raises UsageError for what is no name, for a package that is not in uv.lock, and where nothing is upgraded.
    """
    if not names:
        return frozenset()
    spelled = tuple(map(normalize_name, names))
    for name, spelling in zip(names, spelled, strict=True):
        if not is_normalized_name(spelling):
            message = f"{name!r} is not the name of a package"
            raise UsageError(message, "Give the name alone, without a version or extras.")
    with contextlib.suppress(PreflightError, OSError, InvalidLockError):  # which the run reports, along with all else
        site = find_site(path, environ)
        if not site.supply.upgrades:
            if if_locked:
                return frozenset()
            advice = "Update the host that upgrades, or `uv lock --upgrade-package NAME` where you develop; and push."
            raise UsageError(_say_why_no_upgrade(site), advice)
        lock = LockFile.read(site.project.lock)
        return frozenset(find_locked(lock, name) for name in spelled if name in lock.names or not if_locked)
    return frozenset(spelled)


def report_unaffected(request: Request, names: Sequence[str]) -> RunReport:
    """Say of a site that it has none of these packages, or upgrades none."""
    site, log = find_site(request.path, request.environ), new_log(request.command, request.listener)
    log.learn(only=tuple(names))
    return Run(site=site, log=log).report(result="unchanged", exit_code=0, headline=_say_why_unaffected(site, names))


def plan_unaffected(site: Site, names: Sequence[str]) -> Plan:
    """Say the same with `--dry-run`."""
    return Plan(would=(_say_why_unaffected(site, names),))


def _say_why_unaffected(site: Site, names: Sequence[str]) -> str:
    if not site.supply.upgrades:
        return f"left alone, as {_say_why_no_upgrade(site)}"
    return f"left alone, as {' and '.join(names)} {'is' if len(names) == 1 else 'are'} not in uv.lock"


def _say_why_no_upgrade(site: Site) -> str:
    return f"this site takes {site.supply.takes}, and upgrades no package"
