"""The live site must pass its health check before a build: otherwise a later failure would not prove anything."""

from __future__ import annotations

from releaser.core.gate import Case, Gate, Refusal, Verdict
from releaser.errors import PreflightError, ToolError
from releaser.releases.integrity import usable
from releaser.serving.health_settings import HealthSettings
from releaser.serving.live_health import ask_live_site, unhealthy_finding


class LiveHealth(Gate):
    """Refuses while the live site fails its health check. It is not asked while nothing can run on the live release."""

    stage = "begun"
    is_forcible = True

    def judge(self, case: Case) -> Verdict:
        """Ask the site."""
        site = case.site.outside
        check = HealthSettings.of(site).health_check
        if check is None or usable(case.work.live) is None:
            return None
        with case.log.step("live health check") as step:
            try:
                step.says(ask_live_site(site, check))
            except ToolError as error:
                step.warns(error.message)
                return Refusal(error=PreflightError(unhealthy_finding(error, check, case.log.command)))
        return None
