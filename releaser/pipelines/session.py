"""One run of a command that takes the lock: lock, signals, recovery, and one outcome of what was returned or raised."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from releaser.errors import BuildError, Interrupted, Problem, ReleaserError, explain_error
from releaser.packages.holds import list_holds
from releaser.pipelines.recover import Recovery, recover, sweep
from releaser.releases.journal import drop_entry, read_entry
from releaser.releases.link import read_link
from releaser.releases.reserve import fill_reserve
from releaser.releases.store import SiteRun, Store
from releaser.report.history import append_record
from releaser.report.outcomes import Kept, Outcome, complete, make_error, make_interrupted
from releaser.report.tell import run_on_failure, tell, tell_without_state
from releaser.site.run_lock import hold_lock
from releaser.site.site import Site, open_site, prepare_state
from releaser.system.files import sync_file_system
from releaser.system.process import end_marked
from releaser.system.run import Command, Run, Step, make_id, now, write_log
from releaser.system.signals import defer_signals, raise_on_signals
from releaser.system.space import explain_full_disk

logger = logging.getLogger(__name__)

Body = Callable[[Site, SiteRun, Recovery], Outcome]
UNCHANGED = "The live release is unchanged."
UNFINISHED = "The new release is live; the next run does what is left."


def run_command(
    start: Path,
    environ: Mapping[str, str],
    command: Command,
    body: Body,
    *,
    wait: float = 0,
    on_step: Callable[[str, Step | None], None] | None = None,
) -> Outcome:
    """Run a command on the site at `start`, under its lock, after recovery, and return its outcome.

    Every error becomes an outcome; `wait` is how many seconds to wait for another run.
    """
    run, site = SiteRun(make_id(now()), command, on_step), None
    try:
        site = open_site(start, environ)
        os.umask(0o002 if site.is_shared else 0o022)  # of every program, too
        prepare_state(site)
        with hold_lock(site, run, wait), write_log(site.paths.logs, run):
            return _run_body(site, run, body)
    except ReleaserError as error:
        outcome = complete(_make_failure(error), run)
        tell_without_state(start, environ, site, run, outcome)
        return outcome


def _run_body(site: Site, run: SiteRun, body: Body) -> Outcome:
    run.store = Store(site.paths)
    first = run.store.link.release
    try:
        with raise_on_signals():
            try:
                recovery = recover(site, run)
                run.problems += [recovery.problem] if recovery.problem else []
                outcome = body(site, run, recovery)
            finally:
                _clean_up(site, run)
    except ReleaserError as error:
        outcome = _make_failure(explain_full_disk(site.paths.state, error) or error)
    except Interrupted as error:
        live = Store(site.paths).live if _has_flipped(site, run) else None
        outcome = make_interrupted(error, run.command.name, live, UNFINISHED if live else UNCHANGED)
    except OSError as error:
        logger.exception("the system refused something")
        message = f"The system refused something: {explain_error(error)}"
        failure = explain_full_disk(site.paths.state, error) or BuildError(message, "See `ls -l` of that path.")
        outcome = _make_failure(failure)
    except Exception as error:
        logger.exception("a bug in releaser")
        message = f"releaser has a bug: {type(error).__name__}: {error}"
        advice = f"Report it, with {site.paths.logs / run.id}.log."
        outcome = Outcome("failed", 1, message, payload=Kept(), problems=(Problem("bug", message, advice),))
    if outcome.result in ("refused", "failed") and _has_flipped(site, run) and not outcome.is_signalled:
        headline = f"{outcome.headline} {UNFINISHED}"
        outcome = msgspec.structs.replace(outcome, result="updated", exit_code=7, headline=headline, news="new")
    outcome = complete(outcome, run)
    outcome = _describe_site(outcome, site, run, first)
    with contextlib.suppress(Interrupted, OSError), raise_on_signals(), defer_signals():
        outcome = tell(site, run, run_on_failure(site, run, outcome))
        if outcome.news != "nothing":
            append_record(site.paths, run, outcome, now())
    return outcome


def _has_flipped(site: Site, run: Run) -> bool:
    """Return True if this run has made a release live and left the rest to the next one."""
    entry = read_entry(site.paths, run)
    return entry is not None and entry.run == run.id and entry.has_flipped(read_link(site.paths))


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


def _describe_site(outcome: Outcome, site: Site, run: SiteRun, first: str | None) -> Outcome:
    """Add what is live and on hold; `first` is the release that was live when the run began."""
    link = read_link(site.paths)
    store = run.store.linked(link)
    return msgspec.structs.replace(
        outcome,
        release=outcome.release or link.release,
        previous=outcome.previous or (store.previous.id if store.previous else None),
        on_hold=list_holds(site),
        has_flipped=link.release != first,
    )
