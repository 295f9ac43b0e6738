"""A service that cannot be restarted in place: stopped before the flip, started after it, and never left stopped."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from releaser.checkout.publish import BY_HAND, note_failed_steps
from releaser.deployment.health_check import moment
from releaser.errors import ActivationError, Finding, PreflightError, ToolError
from releaser.releases import leases
from releaser.releases.journal import journal_of
from releaser.releases.store import store_of
from releaser.reporting.hooks import run_hook
from releaser.system import signals
from releaser.system.files import UnreadableStateError
from releaser.system.words import elapsed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.deployment.health_check import RestartCheck
    from releaser.releases.journal import Entry
    from releaser.report import RunLog
    from releaser.run import Run
    from releaser.site.site import Site


logger = logging.getLogger(__name__)


def stop(site: Site, log: RunLog, venv: Path | None, *, goes_on: bool, name: str = "stop") -> None:
    """Stop the service that runs on `venv`. Where it is no reason to stay, a failure is reported, and the run goes on.

    Else it raises PreflightError, as nothing has gone live then.
    """
    with log.step(name) as step:
        try:
            step.says(run_hook(site, log, "stop", venv))
        except ToolError as error:
            if not goes_on:
                message = f"{error.reason}: nothing goes live"
                raise PreflightError(Finding(message, advice=error.advice, output=error.output)) from error
            step.warns(error.message)
            log.note_failure(ActivationError(error.reason, advice=error.advice, output=error.output))


def start(site: Site, log: RunLog, venv: Path, check: RestartCheck | None = None) -> str:
    """Start the service on `venv`; return a line on it, empty without one. Raises ToolError.

    One that no flip has stopped is stopped first, and started even if that fails.
    """
    if check is not None and check.start:
        return _start(site, log, venv, check.start, since=check.since)
    if site.settings.start is None:
        return ""
    since = leases.now()
    try:
        run_hook(site, log, "stop", venv)
    finally:
        said = _start(site, log, venv, (), since=since)
    return said


def _start(site: Site, log: RunLog, venv: Path | None, command: tuple[str, ...], *, since: float) -> str:
    """Start what was stopped `since` then (0: nobody knows); interrupts wait, as it would stay stopped."""
    with signals.defer_interrupts():
        said = run_hook(site, log, "start", venv, command=command)
        if not since:
            return said
        seconds = round(leases.now() - since, 3)
        log.learn(outage_seconds=round((log.learned.outage_seconds or 0.0) + seconds, 3))
        return f"{said}; it was stopped for {elapsed(seconds)}"


def start_again(site: Site, log: RunLog, entry: Entry) -> None:
    """Start what was stopped for a flip that did not happen. A failure is reported, and due at the next update."""
    if not entry.start:
        return
    live = store_of(site).live()
    with log.step("start again") as step:
        try:
            since = moment(entry.flipped_at, entry.boot)
            step.says(_start(site, log, live.venv if live else None, entry.start, since=since))
        except ToolError as error:
            step.warns(error.message)
            message = f"the service is stopped, and could not be started again: {error.reason}"
            advice = f"{BY_HAND} {error.advice}".strip()
            log.note_failure(ActivationError(message, advice=advice, output=error.output))
            if live is not None:
                note_failed_steps(site, live, {"restart"})


@contextlib.contextmanager
def never_left_stopped(run: Run, by: type[BaseException] = Exception) -> Iterator[None]:
    """Start what the journal says is stopped, if what is inside ends `by` an error without having started it."""
    try:
        yield
    except by:
        with contextlib.suppress(UnreadableStateError):
            entry = journal_of(run.site).read()
            if entry is not None and entry.start:
                start_again(run.site, run.log, entry)
                note_running(run.site, entry)
        raise


def note_running(site: Site, entry: Entry) -> None:
    """Note in the journal that what `stop` had stopped runs again, so that no other end of the run starts it."""
    if entry.start:
        try:
            journal_of(site).write_on_full_disk(entry.moved(entry.phase, start=()))
        except OSError as error:  # it is started once more, which does no harm
            logger.warning("cannot record that the service runs: %s", error)
