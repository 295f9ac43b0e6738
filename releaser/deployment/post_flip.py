"""What follows the flip, in this order: python start, collectstatic, restart, health check, and a hook."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.publish import attempt, note_failed_steps, pending_steps
from releaser.deployment import outage
from releaser.deployment.health_check import RestartCheck, health_check, in_use, moment
from releaser.deployment.static_files import are_in_place, collectstatic
from releaser.errors import ActivationError, PreflightError, ToolError, error_line
from releaser.releases import leases
from releaser.releases.integrity import cannot_run
from releaser.releases.journal import journal_of
from releaser.releases.release import is_missing_or_dangling
from releaser.releases.store import store_of
from releaser.releases.venv import start_through
from releaser.reporting.hooks import run_hook
from releaser.serving.restarts import program_findings, restart_findings, restart_of
from releaser.site.serving import static_findings
from releaser.site.settings import HOOKS
from releaser.tools.django import is_django

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.settings import Hook
    from releaser.site.site import Site

    _Act = Callable[[Site, RunLog, RestartCheck, Step], None]


logger = logging.getLogger(__name__)


def run_post_flip_steps(site: Site, log: RunLog, entry: Entry, release: Release) -> Entry:
    """Do each step that the journal does not have as done, and note it there; return the journal's last entry.

    Raises ActivationError, which names the step. Where nothing is taken back, that is reported, and the others follow;
    the step is due at the next update, which is noted before the journal has it as done.
    """
    origin, journal = store_of(site).get(entry.origin), journal_of(site)
    flipped_at = moment(entry.flipped_at, entry.boot)
    check = RestartCheck(
        target=release,
        origin=origin,
        flipped_at=flipped_at,
        was_used=entry.was_used,
        start=entry.start,
        since=flipped_at,
    )
    failed = {*pending_steps(site.state_dir, release)}.intersection(entry.done)
    for name, act in _steps(site, entry.command).items():
        if name in entry.done:
            continue
        try:
            with log.step(name) as step:
                try:
                    act(site, log, check, step)
                except ToolError as error:
                    raise failure_of(name, error) from error
        except ActivationError as failure:
            why = _why_it_stays(entry, origin, name)
            if not why:
                raise
            message = f"{failure.message}; {release.id} stays live anyway, {why}"
            is_due = name != "on_rollback"
            log.note_failure(ActivationError(message, advice=failure.advice, output=failure.output), follow_up=is_due)
            failed |= {name} if is_due else set()
            note_failed_steps(site, release, failed)
        before = entry
        entry = entry.moved(entry.phase, done=(*entry.done, name), start=() if name == "restart" else entry.start)
        if entry.start == before.start and (step.status == "skipped" or name == "python start"):
            continue  # it is noted with the next step: after a crash, doing it once more costs nothing
        try:
            journal.write_on_full_disk(entry)
        except OSError as error:  # after a crash the step would be done once more
            logger.warning("cannot record that %s is done: %s", name, error)
    note_failed_steps(site, release, failed)
    return entry


def _steps(site: Site, command: str) -> Mapping[str, _Act]:
    """Return the steps after a flip by this command, the hook that comes last included if it is set."""
    hook: Hook = "on_rollback" if command == "rollback" else "after_live"

    def act(site: Site, log: RunLog, check: RestartCheck, step: Step) -> None:
        step.says(run_hook(site, log, hook, check.target.venv))

    return STEPS if getattr(site.settings, hook) is None else {**STEPS, hook: act}


def _why_it_stays(entry: Entry, origin: Release | None, step: str) -> str:
    """Say why a release stays live though a step after its flip fails; empty if it is taken back."""
    if step in HOOKS:
        return "as a hook takes no release back"
    if entry.stays:
        return "because of --force"
    return f"as nothing can run on {origin.id}" if origin is not None and cannot_run(origin) else ""


def attempt_steps(site: Site, log: RunLog, release: Release, due: Collection[str]) -> dict[str, bool]:
    """Do the steps that are due after a flip from which there is no way back, and what follows one that succeeds.

    Returns whether each succeeded; what fails is reported.
    """
    check = RestartCheck(target=release, origin=None, flipped_at=leases.now(), was_used=in_use(release))
    succeeded: dict[str, bool] = {}
    for name, act in _steps(site, log.command).items():
        if name in due or any(succeeded.values()):
            # Who restarts nothing need not wait for new processes.
            looked_for = check if succeeded.get("restart") else replace(check, was_used=False)
            succeeded[name] = attempt(log, name, partial(act, site, log, looked_for))
    return succeeded


def retry_post_flip_steps(site: Site, log: RunLog) -> None:
    """Do again what failed after the flip to the live release, and what comes after that.

    There was no way back from it. What fails again is due once more. Where nothing can run, nothing is restarted.
    """
    release = store_of(site).live()
    due = pending_steps(site.state_dir, release)
    if release is None or not due or cannot_run(release):
        return
    succeeded = attempt_steps(site, log, release, due)
    note_failed_steps(site, release, [name for name, well in succeeded.items() if not well])
    if succeeded and all(succeeded.values()):
        names = " and ".join(succeeded)
        log.tell(f"Steps that failed after {release.id} went live have now succeeded: {names}.")


def failure_of(name: str, error: ToolError) -> ActivationError:
    """Say that a step failed, and why."""
    reason = error_line(error.output)
    because = f" ({reason[:200]})" if reason and reason not in error.message else ""
    return ActivationError(
        f"{name} failed: {error.message}{because}",
        advice=error.advice,
        output=error.output,
        step=name,
        not_the_release=isinstance(error.__cause__, OSError),
    )


def check_before_flip(site: Site, venv: Path, *, goes_back: bool = False) -> None:
    """See that the steps after the flip can be done, before anything is flipped. Raises PreflightError."""
    settings, root = site.settings, site.project.root
    problems = [*program_findings(site.with_own_settings, venv), *restart_findings(site)]
    is_asked = settings.collectstatic != "off" and is_django(root)  # a pull may have changed STATIC_ROOT, or a package
    if is_asked and not (goes_back and are_in_place(site, venv)):
        with contextlib.suppress(ToolError):  # which collectstatic will say
            problems += static_findings(site, venv, compares=goes_back)
    if problems:
        raise PreflightError(*problems)


def start_python(site: Site, release: Release, step: Step) -> None:
    """See that `.venv/bin/python` starts, and takes this release for its venv. Raises ToolError."""
    link = site.project.venv
    if store_of(site).live_id() != release.id and not is_missing_or_dangling(link):
        step.warns(f"somebody has moved {link}")  # what it leads to now says nothing about the release
        return
    start_through(site.runner, link, release.venv, cwd=site.project.root)
    step.says(str(link / "bin" / "python"))


def restart(site: Site, log: RunLog, venv: Path, step: Step, check: RestartCheck | None = None) -> None:
    """Start the site again, if it is stopped for a flip, and tell the web server to reload it, as is set.

    Raises ToolError.
    """
    way = restart_of(site)
    began = outage.start(site, log, venv, check)
    if began and way.yields_to_start:
        step.says(began)
        return
    way.restart(site, venv, step)
    is_first = check is None or check.origin is None  # then nothing of the site can run on another one
    if not is_first and not way.restarts_processes(site):
        _note_not_restarted(site, log, step)


def _note_not_restarted(site: Site, log: RunLog, step: Step) -> None:
    """Say that there is nothing to restart, and what to set for the server that runs; a script needs no restart."""
    from releaser.serving.servers import find_unrestarted  # which most sites never need

    finding = find_unrestarted(site)
    if finding is None:
        return
    step.warns(finding.message)
    if not log.learned.not_restarted:  # once, also if the release is rolled back
        log.note(finding)
    log.learn(not_restarted=True)


# In this order, after every flip; each may be done twice.
STEPS: Mapping[str, _Act] = {
    "python start": lambda site, _, check, step: start_python(site, check.target, step),
    "collectstatic": lambda site, log, check, step: collectstatic(site, log, check.target.venv, step),
    "restart": lambda site, log, check, step: restart(site, log, check.target.venv, step, check),
    "health check": lambda site, log, check, step: health_check(site, log, check, step),
}
