"""The health check as an action: the site answers well on the release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.actions.restart import RESTART
from releaser.core.action import Action
from releaser.errors import ToolError
from releaser.report import HealthCheckResult
from releaser.serving.health import RestartCheck, ask_until_well
from releaser.serving.health_settings import HealthSettings
from releaser.serving.live_health import question
from releaser.serving.restarts import restart_of
from releaser.site.restart_settings import RestartSettings

if TYPE_CHECKING:
    from releaser.core.change import Change
    from releaser.report import Step


_KEPT = 4000  # characters of what a command printed


class HealthCheck(Action):
    """Asks the site until it is well, or until the patience that is set has run out.

    If processes can be watched, it asks until those that began after the flip have taken over. If they have not, that
    is no failure of the release, but a problem that is reported; or a remark, if there may be none that can be seen.
    """

    name = "health check"

    def do(self, change: Change, step: Step) -> None:
        """Ask it."""
        site, log, release = change.site, change.log, change.release
        health = HealthSettings.of(site)
        if health.health_check is None:
            step.skip("none is set")
            return
        check = _check_of(change)
        ask = question(site, health.health_check, release.venv)
        has_started = bool(RestartSettings.of(site).start or change.record(RESTART).get("start"))
        restarts = has_started or restart_of(site).restarts_processes(site)
        watches = restarts and check.can_be_seen
        try:
            answer = ask_until_well(ask, health, check, watches=watches)
        except ToolError as error:
            output = error.output if len(error.output) <= _KEPT else f"...{error.output[-_KEPT:]}"
            log.answers.append(HealthCheckResult(release=release.id, good=False, text=error.message, body=output))
            if watches and (seen := check.look()).has_left:  # then they may be the ones who answered
                log.note(*filter(None, [check.problem(seen)]))
            raise
        log.answers.append(HealthCheckResult(release=release.id, good=True, text=answer))
        step.says(answer)
        if restarts and check.shows_processes:
            seen = check.look()
            problem = check.problem(seen) if watches else None
            step.says(f"{answer}; {seen.summary}")
            if problem is not None:
                step.warns(f"{answer}, but {problem.message}")
                log.note(problem)


def _check_of(change: Change) -> RestartCheck:
    # Without a restart there are no new processes to wait for.
    was_used = RESTART in change.entry.done and bool(change.record(RESTART).get("was_used"))
    return RestartCheck(
        target=change.release,
        origin=change.replaced,
        flipped_at=change.flipped_at,
        was_used=was_used,
        goes_back=change.is_back,
    )
