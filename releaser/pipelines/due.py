"""Decides when an update may start: due time and maintenance window; and whether the site has the named packages."""

from __future__ import annotations

import contextlib
import itertools
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.capabilities import gather
from releaser.core.change import retry_failed_actions
from releaser.core.due import GOES_LIVE, Due, find_delay, find_package_waits
from releaser.core.follow_up import read_pending
from releaser.core.gate import find_opening as find_start
from releaser.core.run import Run, new_log
from releaser.errors import ExitCode, PreflightError, UsageError
from releaser.locks.blocks import PackageWaits
from releaser.locks.lock import InvalidLockError, LockFile, find_locked
from releaser.locks.versions import normalize_name
from releaser.pipelines.session import PipelineResult, run_session
from releaser.releases.journal import journal_of, list_limits, read_history
from releaser.releases.store import store_of
from releaser.report import Outcome, Plan
from releaser.site import run_lock
from releaser.site.settings import this_host
from releaser.site.site import find_site
from releaser.site.windows import (
    DueSection,
    DueSettings,
    find_opening,
    local_time,
    longest_pause,
    next_opening,
    open_since,
)
from releaser.system.digests import hex_digest
from releaser.system.file_lock import LockTimeoutError, locked
from releaser.system.frozen import Frozen, replace
from releaser.system.words import show_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from releaser.pipelines.session import Request
    from releaser.report import RunReport
    from releaser.site.site import Site
    from releaser.system.sections import Section


_EVERY = 86400.0  # seconds
_SOON = timedelta(hours=1)  # until the next try of an update that did not reach its tests
_SLACK = timedelta(minutes=2)  # cron is not exact
_COUNTED = (ExitCode.OK, ExitCode.TESTS, ExitCode.ROLLED_BACK, ExitCode.FOLLOW_UP)


class Timing(Frozen):
    """The options of the command line for the start of an update."""

    #: True if an update that is not due only finishes an interrupted run.
    if_due: bool = False
    #: True if an update starts even if it is not due, or outside the maintenance window.
    now: bool = False
    #: The keys of the facts that limit the run, for example to its tests. Only runs with the same limits count for its
    #: interval, and it needs no window unless it goes live.
    limits: frozenset[str] = frozenset()
    #: True if the rules of the site choose among all packages: no channel, and no named packages.
    by_rules: bool = True
    #: True if a person has named the packages.
    named: bool = False


def find_due(
    site: Site, *, if_due: bool, limits: frozenset[str] = frozenset(), by_rules: bool = True, named: bool = False
) -> Due:
    """Return when an update may start; with `if_due`, also wait until it is due. The rest is as in `Timing`."""
    delay = find_delay(site, limits)
    if delay is None:
        return _find_due(site, if_due=if_due, limits=limits)
    if not (delay.anyway and (by_rules or (named and delay.for_named))):
        return delay
    return replace(_find_due(site, if_due=if_due, limits=limits | limits_of(delay.anyway)), anyway=delay.anyway)


def _find_due(site: Site, *, if_due: bool, limits: frozenset[str]) -> Due:
    """Return when an update may start by interval and window."""
    now, windows = datetime.now(UTC), DueSettings.of(site).window if limits <= GOES_LIVE else ()
    from_then_on = _due_by_interval(site, now, limits) if if_due else None
    earliest = max(from_then_on or now, now)
    begins = find_opening(windows, local_time(earliest)).astimezone(UTC) if windows else earliest
    ready = _when_ready(site) if begins > now and not limits else None
    if ready is not None and (opens := next_opening(site, max(ready, now))) < begins:
        waits = f"a release is ready, and may go live {show_time(opens)}"
        return Due(at=ready) if opens <= now else Due(at=opens, reason=waits)
    if begins <= now:
        opened = open_since(windows, local_time(now))
        known = [moment for moment in (from_then_on, opened and opened.astimezone(UTC)) if moment]
        return Due(at=max(known, default=now))
    if earliest <= now:
        return Due(at=begins, reason=f"an update waits for the maintenance window, which opens {show_time(begins)}")
    return Due(at=begins, reason=f"the next update is due {show_time(begins)}")


def find_next(site: Site) -> Due | None:
    """Return when the next update may start; None if no setting limits that."""
    settings, delay = DueSettings.of(site), find_delay(site)
    has_limit = settings.every or settings.window or (delay is not None and not delay.anyway)
    return find_due(site, if_due=settings.every is not None) if has_limit else None


def find_interval(site: Site) -> float:
    """Return the longest time between two updates by `every` and `window`, in seconds; a day without them."""
    settings = DueSettings.of(site)
    pause = longest_pause(settings.window, local_time(datetime.now(UTC))).total_seconds()
    every = settings.every or 0.0
    return max(_EVERY, pause if every <= pause else every + pause)


def _when_ready(site: Site) -> datetime | None:
    """Return when the waiting release may go live, whatever the interval.

    None without one, and once an update has started since then.
    """
    snapshot = store_of(site).snapshot()
    release = snapshot.find_waiting()
    at = snapshot.lifecycles[release.id].until if release is not None else None
    return None if at is None or any(begun >= at for begun, _ in _updates(site)) else at


def _updates(site: Site, limits: frozenset[str] = frozenset()) -> Iterator[tuple[datetime, bool]]:
    """Yield when updates of all packages of one kind started, newest first, and whether they reached their tests."""
    for run in read_history(site.state_dir):
        is_one = run.get("command") == "update" and not run.get("only") and list_limits(run) == limits
        if is_one and (at := _begun(run)):
            yield at, run.get("exit_code") in _COUNTED


def limits_of(sections: Iterable[Section]) -> frozenset[str]:
    """Return the keys of those facts that limit an update."""
    return list_limits({key: value for section in sections for key, value in vars(section).items()})


def may_go_live(sections: Iterable[Section]) -> bool:
    """True unless these facts limit a run to a release that does not go live."""
    return limits_of(sections) <= GOES_LIVE


def _due_by_interval(site: Site, now: datetime, limits: frozenset[str]) -> datetime | None:
    """Return when the next update is due by the interval; None before the first update.

    An update that did not reach its tests, for example without a network, is tried again soon, and then less and less
    often.
    """
    begun = [(at, counts) for at, counts in _updates(site, limits) if at <= now]
    failed = list(itertools.takewhile(lambda run: not run[1], begun))
    every = timedelta(seconds=DueSettings.of(site).every or _EVERY)
    due = [at - jitter_of(site) + every for at, _ in begun[len(failed) :][:1]]
    due += [at + min(every, _SOON * 2 ** min(len(failed) - 1, 16)) for at, _ in failed[:1]]
    return max(due) - _SLACK if due else None


def _begun(run: Mapping[str, Any]) -> datetime | None:
    """Return when a run of the history started; None if unreadable. A clock set back may put it in the future."""
    try:
        return datetime.fromisoformat(str(run.get("started_at"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def jitter_of(site: Site) -> timedelta:
    """Return the delay of this site's updates: constant for its host and path, and shorter than each window."""
    longest = min(
        [DueSettings.of(site).jitter, *(window.lasts.total_seconds() for window in DueSettings.of(site).window)]
    )
    digest = hex_digest(f"{this_host()}\0{site.project.root}".encode(errors="surrogateescape"))
    return timedelta(seconds=longest * int(digest[:8], 16) / 2**32)


def update_when_due(request: Request, timing: Timing, pipeline: Callable[[Run], PipelineResult]) -> RunReport:
    """Run an update if it may start; otherwise only finish an interrupted run, and report that the update waits.

    With `if_due`, first wait for the `jitter` of the site, and start no run if no earlier one has to be finished.
    In any case, carry out first what people have asked for.
    """
    for carry_out in gather("preludes"):
        carry_out(request)
    if not timing.if_due:
        return update_in_window(request, timing, pipeline)
    pipeline = partial(_in_window, pipeline=pipeline, timing=timing)
    try:
        site = find_site(request.path, request.environ)
    except PreflightError:
        return run_session(request, pipeline)  # the run reports that
    with _alone(site) as alone:
        if not alone:
            return _report(site, request, Due(at=datetime.now(UTC), reason="another update is waiting or running"))
        due = _find_start(site, timing, if_due=True)
        if not due.reason:
            _wait(site, request, due)
            due = _find_start(site, timing, if_due=True)
        if not due.reason or site.findings:
            return run_session(request, pipeline)
        if journal_of(site).path.exists() or read_pending(site.state_dir).pending_steps is not None:
            return run_session(request, partial(_finish_only, due=due))
        return _report(site, request, due)


def update_in_window(request: Request, timing: Timing, pipeline: Callable[[Run], PipelineResult]) -> RunReport:
    """Run an update if it may start now, due or not; otherwise only finish an interrupted run."""
    return run_session(request, partial(_in_window, pipeline=pipeline, timing=timing))


def plan_when_due(site: Site, timing: Timing, plan: Callable[..., Plan], asked: Sequence[Section] = ()) -> Plan:
    """Return the plan of an update, and whether it would wait; `asked` are the facts with which it begins."""
    due = _find_start(site, timing, if_due=timing.if_due)
    found = plan(site, (*asked, *due.anyway, *_list_waits(site, timing)))
    return replace(found, would=(due.reason, *found.would)) if due.reason else found


def _find_start(site: Site, timing: Timing, *, if_due: bool) -> Due:
    """Return when an update with these options may start."""
    if timing.now:
        return Due(at=None)
    return find_due(site, if_due=if_due, limits=timing.limits, by_rules=timing.by_rules, named=timing.named)


def _list_waits(site: Site, timing: Timing) -> tuple[Section, ...]:
    """Return the packages that wait in a run, or once its release may go live; none if a person wants packages now."""
    if timing.now and timing.named:
        return ()
    now = datetime.now(UTC)
    at = now if timing.limits <= GOES_LIVE else find_start(site, now)
    waits = find_package_waits(site, at, regardless=timing.now)
    return (PackageWaits(package_waits=waits),) if waits else ()


def _wait(site: Site, request: Request, due: Due) -> None:
    now = datetime.now(UTC)
    seconds = (due.known(now) + jitter_of(site) - now).total_seconds()
    if seconds > 0:
        request.listener.started("wait")
        time.sleep(seconds)
        outcome = Outcome(step="wait", status="ok", detail="the jitter of this site", seconds=round(seconds, 3))
        request.listener.ended(outcome)


@contextlib.contextmanager
def _alone(site: Site) -> Iterator[bool]:
    """Yield whether no run is in progress and no other `update --if-due` waits; block such updates meanwhile."""
    if run_lock.find_running(site.state_dir):
        yield False
        return
    if not site.state_dir.is_dir():  # the lock would make it, perhaps next to a wrong directory
        yield True
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(site.state_dir / run_lock.WAITING, mode=0o660))
        except LockTimeoutError:
            yield False
            return
        except OSError:  # not writable; the project lock still protects the run
            pass
        yield True


def _in_window(run: Run, *, pipeline: Callable[[Run], PipelineResult], timing: Timing) -> PipelineResult:
    due = _find_start(run.site, timing, if_due=False)
    for section in (*due.anyway, *_list_waits(run.site, timing)):
        run.log.add(section)
    return _finish_only(run, due=due) if due.reason else pipeline(run)


def _finish_only(run: Run, *, due: Due) -> PipelineResult:
    retry_failed_actions(run.site, run.log)
    run.log.add(DueSection(due_at=due.known(run.log.started_at)))
    return PipelineResult(result="no-changes", headline=due.reason, advice=due.advice)


def _report(site: Site, request: Request, due: Due) -> RunReport:
    log = new_log(request.command, request.listener)
    log.add(DueSection(due_at=due.known(log.started_at)))
    return Run(site=site, log=log).report(result="no-changes", exit_code=0, headline=due.reason, advice=due.advice)


# The packages that the command line names


def find_selected(path: Path, environ: Mapping[str, str], names: Sequence[str], *, if_locked: bool) -> frozenset[str]:
    """Return the packages as uv.lock spells them; with `if_locked`, only those in it. No names mean all packages.

    Raises UsageError for an invalid name, a package that is not in uv.lock, and a site that upgrades nothing.
    """
    if not names:
        return frozenset()
    from packaging.utils import is_normalized_name  # slow to import

    spelled = tuple(map(normalize_name, names))
    for name, spelling in zip(names, spelled, strict=True):
        if not is_normalized_name(spelling):
            message = f"{name!r} is not the name of a package"
            raise UsageError(message, "Write the name only, without a version or extras.")
    with contextlib.suppress(PreflightError, OSError, InvalidLockError):  # the run reports these
        site = find_site(path, environ)
        if not site.supply.upgrades:
            if if_locked:
                return frozenset()
            advice = (
                "Update the host that upgrades packages, or run `uv lock --upgrade-package NAME` where you "
                "develop; then push."
            )
            raise UsageError(_explain_no_upgrade(site), advice)
        lock = LockFile.read(site.project.lock)
        return frozenset(find_locked(lock, name) for name in spelled if name in lock.names or not if_locked)
    return frozenset(spelled)


def report_unaffected(request: Request, names: Sequence[str]) -> RunReport:
    """Report that the site has none of these packages, or upgrades no package."""
    site, log = find_site(request.path, request.environ), new_log(request.command, request.listener)
    log.learn(only=tuple(names), not_installed=tuple(names) if site.supply.upgrades else ())
    return Run(site=site, log=log).report(result="no-changes", exit_code=0, headline=_explain_unaffected(site, names))


def plan_unaffected(site: Site, names: Sequence[str]) -> Plan:
    """Return the same as a plan, for `--dry-run`."""
    return Plan(would=(_explain_unaffected(site, names),))


def _explain_unaffected(site: Site, names: Sequence[str]) -> str:
    if not site.supply.upgrades:
        return f"no change, because {_explain_no_upgrade(site)}"
    return f"not installed: {', '.join(names)}"


def _explain_no_upgrade(site: Site) -> str:
    return f"this site takes {site.supply.takes}, and upgrades no packages"
