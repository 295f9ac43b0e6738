"""One run of a command that takes the lock: lock, signals, recovery, and one outcome of what was returned or raised."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from releaser.errors import BuildError, Interrupted, Problem, ReleaserError, explain_error, refuse
from releaser.packages.changes import compare_releases
from releaser.pipelines.prune import clean_cache
from releaser.pipelines.recover import Recovery, recover, sweep
from releaser.releases.journal import drop_entry, read_entry
from releaser.releases.link import read_link
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import SiteRun, Store
from releaser.report.outcomes import Outcome, complete, locate, make_error, make_interrupted, make_unchanged
from releaser.report.pings import ping
from releaser.report.tell import tell, tell_without_state
from releaser.site.run_lock import Running, hold_lock
from releaser.site.site import Site, open_site, prepare_state
from releaser.system.files import sync_file_system
from releaser.system.process import end_marked
from releaser.system.run import Command, Run, Step, make_id, now, write_log
from releaser.system.signals import check_signals, find_signal, ignore_signals, raise_on_signals
from releaser.system.space import explain_full_disk

logger = logging.getLogger(__name__)

Body = Callable[[Site, SiteRun, Recovery], Outcome]
End = Callable[[Site, Running], float]
UNCHANGED = "The live release is unchanged."
UNFINISHED = "The new release is live; the next run does what is left."


def run_command(  # noqa: PLR0913 - as much as commands differ in
    start: Path,
    environ: Mapping[str, str],
    command: Command,
    body: Body,
    *,
    wait: float = 0,
    on_step: Callable[[str, Step | None], None] | None = None,
    end: End | None = None,
) -> Outcome:
    """Run a command on the site at `start`, under its lock, after recovery, and return its outcome.

    Every error becomes an outcome; `wait` is how many seconds to wait for another run, and `end` may end that. A signal
    ends the body of the command; one that comes later only shortens the wait for hooks and mail servers. The exit code
    says that it came, the result what was done.
    """
    run, site = SiteRun(make_id(now()), command, *filter(None, [on_step])), None
    try:
        with raise_on_signals():
            site = open_site(start, environ, makes_project=command.makes_project)
            os.umask(0o002 if site.is_shared else 0o022)  # of every program, too
            prepare_state(site)
            live = read_link(site.paths).release
            with hold_lock(site, run, wait, functools.partial(end, site) if end else None):
                if not site.paths.run_lock.exists():
                    return _end_uninstalled(run)
                run.is_overtaken = read_link(site.paths).release != live
                with write_log(site.paths.logs, run):
                    return _run_body(site, run, body)
    except Interrupted as error:  # before it had the lock
        return complete(make_interrupted(error, command.name, None, UNCHANGED), run)
    except ReleaserError as error:
        outcome = complete(_make_failure(error), run)
        tell_without_state(start, environ, site, run, outcome)
        if site is not None and error.is_news:  # the run that holds the lock pings for itself
            ping(site, run, str(outcome.exit_code))
        return outcome


def _end_uninstalled(run: SiteRun) -> Outcome:
    """Return the outcome of an update that has waited for `uninstall`. Raises PreflightError for other commands."""
    message = "releaser was uninstalled here while this run waited. Nothing was done."
    if run.command.is_nightly:
        return complete(make_unchanged(message), run)
    raise refuse("uninstalled", message, "Run `releaser init` to begin again.")


def _run_body(site: Site, run: SiteRun, body: Body) -> Outcome:
    run.store = Store(site.paths)
    first = run.store.link.release
    try:
        try:
            ping(site, run, "start", timeout=2.0)
            recovery = recover(site, run)
            run.problems += [recovery.problem] if recovery.problem else []
            outcome = body(site, run, recovery)
        except (ReleaserError, OSError):
            check_signals()  # the same signal may have ended a program
            raise
        finally:
            ignore_signals()
            _clean_up(site, run)
    except ReleaserError as error:
        outcome = _make_failure(explain_full_disk(site.paths.state, error) or error)
    except Interrupted as error:
        outcome = _make_interrupted(site, run, error)
    except OSError as error:
        logger.exception("the system refused something")
        message = f"The system refused something: {explain_error(error)}"
        failure = explain_full_disk(site.paths.state, error) or BuildError(message, "See `ls -l` of that path.")
        outcome = _make_failure(failure)
    except Exception as error:
        logger.exception("a bug in releaser")
        message = f"releaser has a bug: {type(error).__name__}: {error}"
        advice = f"Report it, with {site.paths.logs / run.id}.log."
        outcome = Outcome("failed", 1, message, problems=(Problem("bug", message, advice),))
    if outcome.result in ("refused", "failed") and _has_flipped(site, run) and not outcome.is_signalled:
        headline = f"{outcome.headline} {UNFINISHED}"
        outcome = msgspec.structs.replace(outcome, result="updated", exit_code=7, headline=headline, news="new")
    outcome = _mark_signalled(complete(outcome, run))
    run.store = run.store.linked(read_link(site.paths))
    outcome = locate(outcome, site, run.store, has_flipped=run.store.link.release != first)
    with contextlib.suppress(OSError):
        outcome = tell(site, run, outcome)
        clean_cache(site, run)
    outcome = _mark_signalled(outcome)
    ping(site, run, str(outcome.exit_code))
    return outcome


def _mark_signalled(outcome: Outcome) -> Outcome:
    """Return the outcome with the exit code of a signal that came before the end, also if it came too late."""
    number = find_signal()
    return outcome if number is None else msgspec.structs.replace(outcome, exit_code=128 + number)


def _has_flipped(site: Site, run: Run) -> bool:
    """Return True if this run has made a release live and left the rest to the next one."""
    entry = read_entry(site.paths, run)
    return entry is not None and entry.run == run.id and entry.has_flipped(read_link(site.paths))


def _make_interrupted(site: Site, run: SiteRun, error: Interrupted) -> Outcome:
    """Return the outcome of a run that a signal ended, with what it had made live, or had gone back from."""
    entry, store, name = read_entry(site.paths, run), Store(site.paths), run.command.name
    if entry is not None and entry.run == run.id and entry.phase == "going-back" and not _has_flipped(site, run):
        end = f"Release {entry.release} was live, and failed: {entry.reason} {entry.earlier} is live again"
        outcome = make_interrupted(error, name, (), f"{end}; the next run does what is left.")
        return msgspec.structs.replace(outcome, result="rolled-back")
    if entry is None or store.live is None or not _has_flipped(site, run):
        return make_interrupted(error, name, None, UNCHANGED)
    left = store.get(entry.earlier) if entry.is_way_back else None
    changes = compare_releases(left, store.live) if left else store.live.manifest.changes
    return make_interrupted(error, name, changes, UNFINISHED)


def _clean_up(site: Site, run: SiteRun) -> None:
    """Delete what a run that ended before its change has begun."""
    with contextlib.suppress(OSError):
        end_marked(f"{site.paths.state}/")
        entry = read_entry(site.paths, run)
        if entry is None or entry.phase == "building":
            sweep(site, run)
            sync_file_system(site.paths.cache)  # without the journal, the next run trusts it
            drop_entry(site.paths)
            fill_reserve(site.paths.reserve)


def _make_failure(error: ReleaserError) -> Outcome:
    logger.warning("%s: %s\n%s", error.name, error.message, error.output)
    return make_error(error)
