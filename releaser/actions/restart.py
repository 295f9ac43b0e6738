"""The restart as an action. A service may be stopped before the flip and started after it; it is never left stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.action import Action
from releaser.core.follow_up import BY_HAND, note_failed_actions
from releaser.errors import ActivationError, Finding, PreflightError, ToolError
from releaser.releases import startup
from releaser.releases.integrity import usable
from releaser.releases.store import store_of
from releaser.reporting.hooks import run_hook
from releaser.serving.processes import in_use
from releaser.serving.restarts import program_findings, restart_findings, restart_of
from releaser.site.restart_settings import OutageSection, RestartSettings
from releaser.system import signals
from releaser.system.frozen import replace
from releaser.system.uptime import uptime
from releaser.system.words import elapsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from releaser.core.change import Change, Deployment
    from releaser.releases.journal import Entry, Record
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


RESTART = "restart"  # the action, and its record in the journal


class Restart(Action):
    """Restarts the site. If `stop` and `start` are set, the flip comes between them.

    Its record says whether processes `was_used` the previous release, and whether the restart has `begun`. While the
    service is `stopped`, it also has the command to `start` it, and `since` when it is stopped, in seconds since the
    system started.
    """

    name = RESTART

    def findings(self, site: Site, venv: Path | None, *, goes_back: bool) -> Iterator[Finding]:
        """Yield the programs that are missing, and what would make the restart fail."""
        if venv is not None:
            yield from program_findings(site.with_own_settings, venv)
        yield from restart_findings(site)

    def record(self, change: Change, deployment: Deployment) -> Record:
        """Record who uses the previous release, and the command that starts the service again."""
        settings, was_used = RestartSettings.of(change.site), in_use(change.previous)
        if not settings.stop or not settings.start:
            return {"was_used": was_used}
        return {"was_used": was_used, "stopped": True, "start": settings.start, "since": change.flip.at}

    def prepare(self, change: Change, deployment: Deployment) -> None:
        """Stop the service."""
        if not is_stopped(change):
            return
        live = change.previous
        # A failed stop must not keep a bad release live.
        goes_on = deployment.stays or deployment.goes_back or usable(live) is not live
        _stop(change.site, change.log, live.venv if live else None, goes_on=goes_on)
        deployment.look_again()

    def undo(self, change: Change) -> None:
        """Start the service again."""
        if not is_stopped(change):
            return
        live = store_of(change.site).live()
        with change.log.step("start again") as step:
            try:
                step.says(_start(change, live.venv if live else None))
            except ToolError as error:
                step.warns(error.message)
                message = f"the service is stopped, and its start failed: {error.reason}"
                advice = f"{BY_HAND} {error.advice}".strip()
                change.log.note_failure(ActivationError(message, advice, output=error.output))
                if live is not None:
                    note_failed_actions(change.site, live, {self.name}, is_down=True)
        self._note_runs(change)

    def do(self, change: Change, step: Step) -> None:
        """Start the service if it is stopped, and restart the site with the method that is set."""
        site, venv = change.site, change.release.venv
        if "was_used" not in change.record(self.name):
            change.note(self.name, was_used=in_use(change.release))
        change.note(self.name, begun=True)
        if is_stopped(change):
            began = _start(change, venv)
            change.note(self.name, stopped=False)
        else:
            began = restart_fully(site, change.log, venv)
        reload_site(site, venv, step, began=began)
        skipped = step.detail if step.status == "skipped" else ""
        change.log.add(replace(OutageSection.of(change.log), restart_skipped=skipped))
        can_be_old = change.replaced is not None  # else nothing of the site can run on another release
        if can_be_old and not (began and restart_of(site).yields_to_start):
            _report_if_not_restarted(site, change.log, step)

    def leave(self, change: Change) -> None:
        """Stop the service again, as the new release may have started it."""
        settings, record = RestartSettings.of(change.site), change.record(self.name)
        change.note(self.name, was_used=record.get("was_used") or in_use(change.new))
        if settings.stop is None:
            return
        if not is_stopped(change):
            before = change.entry
            change.note(self.name, start=settings.start or (), since=uptime(), stopped=bool(settings.start))
            if not change.save():  # the service runs, and would stay stopped if the link cannot be moved either
                change.entry = before
        if is_stopped(change):
            new = change.new
            _stop(change.site, change.log, new.venv if new else None, goes_on=True, name="stop again")

    def do_for_previous(self, change: Change) -> bool:
        """Restart the site on the previous release, unless all of its processes still run on it."""
        if _is_untouched(change):
            with change.log.step(f"{self.name} again") as step:
                step.skip("the processes of this release still run")
            change.note(self.name, was_used=False)  # so that the health check waits for no new ones
            return True
        fine = super().do_for_previous(change)
        self._note_runs(change)
        return fine

    def takes_down(self, site: Site) -> bool:
        """True if a service is stopped and started."""
        return RestartSettings.of(site).start is not None

    def down_since(self, entry: Entry) -> float | None:
        """Return since when the service is stopped."""
        record = entry.actions.get(self.name, {})
        if not record.get("stopped"):
            return None
        return entry.flip.moment(record.get("since")) if entry.flip is not None else 0.0

    def failure_for_previous(self, change: Change, reason: str) -> ActivationError:
        """Describe the failure; a service that stays stopped is due at the next update."""
        failure = super().failure_for_previous(change, reason)
        if not is_stopped(change):
            return failure
        note_failed_actions(change.site, change.release, {self.name}, is_down=True)
        return ActivationError(f"the service is stopped: {failure.message}", BY_HAND)

    def _note_runs(self, change: Change) -> None:
        """Note that the service is started, or that this is due, so that no other end of the run starts it."""
        if change.record(self.name).get("start"):
            change.note(self.name, stopped=False)
            change.save()


def is_stopped(change: Change) -> bool:
    """True if the service is stopped for this change, or about to be."""
    return bool(change.record(RESTART).get("stopped"))


def _is_untouched(change: Change) -> bool:
    """True if a change ended before its restart, and no process can have come to use its release or its code."""
    new, record = change.new, change.record(RESTART)
    if record.get("begun") or record.get("stopped") or not record.get("was_used") or new is None:
        return False
    return change.code_replaced is None and startup.is_in(new.venv) and not in_use(new) and in_use(change.previous)


def _stop(site: Site, log: RunLog, venv: Path | None, *, goes_on: bool, name: str = "stop") -> None:
    """Stop the service that runs on `venv`. With `goes_on`, a failure is only reported.

    Otherwise raises PreflightError, before anything goes live.
    """
    with log.step(name) as step:
        try:
            step.says(run_hook(site, log, "stop", venv))
        except ToolError as error:
            if not goes_on:
                message = f"{error.reason}: nothing goes live"
                raise PreflightError(Finding("stop-failed", message, error.advice, output=error.output)) from error
            step.warns(error.message)
            log.note_failure(ActivationError(error.reason, error.advice, output=error.output))


def _start(change: Change, venv: Path | None) -> str:
    """Start the service that this change has stopped; return a line on it. Raises ToolError."""
    command: Sequence[str] = change.record(RESTART).get("start", ())
    since = change.flip.moment(change.record(RESTART).get("since"))
    return _run_start(change.site, change.log, venv, tuple(command), since=since)


def restart_fully(site: Site, log: RunLog, venv: Path) -> str:
    """Stop and start the service, if `start` is set; return a line on it, else empty. Raises ToolError.

    It is started even if `stop` fails.
    """
    if RestartSettings.of(site).start is None:
        return ""
    since = uptime()
    try:
        run_hook(site, log, "stop", venv)
    finally:
        answer = _run_start(site, log, venv, (), since=since)
    return answer


def _run_start(site: Site, log: RunLog, venv: Path | None, command: tuple[str, ...], *, since: float) -> str:
    """Start the service that was stopped at `since` (0.0: unknown). Interrupts wait until it runs."""
    with signals.defer_interrupts():
        answer = run_hook(site, log, "start", venv, command=command)
        if not since:
            return answer
        seconds = round(uptime() - since, 3)
        before = OutageSection.of(log).outage_seconds or 0.0
        log.add(replace(OutageSection.of(log), outage_seconds=round(before + seconds, 3)))
        return f"{answer}; it was stopped for {elapsed(seconds)}"


def reload_site(site: Site, venv: Path, step: Step, *, began: str) -> None:
    """Restart the site with the method that is set, unless the service `began` and needs nothing else.

    Raises ToolError.
    """
    way = restart_of(site)
    if began and way.yields_to_start:
        step.says(began)
    else:
        way.restart(site, venv, step)


def restart_site(site: Site, log: RunLog, venv: Path, step: Step) -> None:
    """Restart the site, or stop and start its service. Raises ToolError."""
    reload_site(site, venv, step, began=restart_fully(site, log, venv))


def _report_if_not_restarted(site: Site, log: RunLog, step: Step) -> None:
    """Report that nothing was restarted, and what to set for the server that runs; a script needs no restart."""
    if restart_of(site).restarts_processes(site):
        return
    from releaser.serving.servers import find_unrestarted  # which most sites never need

    finding = find_unrestarted(site)
    if finding is None:
        return
    step.warns(finding.message)
    if not log.not_restarted:  # once, also if the release is rolled back
        log.note(finding)
    log.not_restarted = True
