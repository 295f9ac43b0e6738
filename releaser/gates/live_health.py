"""The site must be well before a release is built: else nobody could say whether the release made it ill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ToolError
from releaser.gates.base import Case, Gate, Refusal
from releaser.releases.integrity import cannot_run
from releaser.releases.store import store_of
from releaser.site.health_settings import HealthSettings
from releaser.site.serving import ask_live_site, unhealthy_finding

if TYPE_CHECKING:
    from releaser.gates.base import Verdict


class LiveHealth(Gate):
    """Refuses while the live site fails its health check. It is not asked while nothing can run on the live release."""

    stage = "resolved"
    is_forcible = True

    def judge(self, case: Case) -> Verdict:
        """Ask the site."""
        site = case.site.outside
        live = store_of(site).live()
        check = HealthSettings.of(site).health_check
        if check is None or live is None or cannot_run(live):
            return None
        with case.log.step("live health check") as step:
            try:
                step.says(ask_live_site(site, check))
            except ToolError as error:
                step.warns(error.message)
                return Refusal(error=PreflightError(unhealthy_finding(error, case.log.command)))
        return None
