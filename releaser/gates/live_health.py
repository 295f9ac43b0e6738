"""The site must be well before a release is built: else nobody could say whether the release made it ill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ToolError
from releaser.gates.base import Case, Gate, Refusal
from releaser.releases.integrity import cannot_run
from releaser.releases.store import store_of
from releaser.site.serving import ask_live_site, unhealthy_finding

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.gates.base import Verdict
    from releaser.report import RunLog
    from releaser.site.site import Site


class LiveHealth(Gate):
    """Refuses while the live site fails its health check. It is not asked while nothing can run on the live release."""

    stage = "resolved"
    is_forcible = True

    def judge(self, case: Case) -> Verdict:
        """Ask the site."""
        site = case.site.outside
        live = store_of(site).live()
        return judge_site(site, case.log) if live is not None and not cannot_run(live) else None


def judge_site(site: Site, log: RunLog, *, venv: Path | None = None) -> Verdict:
    """Ask the live site, or the one that runs on a `venv` which is no release yet."""
    if site.settings.health_check is None:
        return None
    with log.step("live health check") as step:
        try:
            step.says(ask_live_site(site, site.settings.health_check, venv=venv))
        except ToolError as error:
            step.warns(error.message)
            return Refusal(error=PreflightError(unhealthy_finding(error, log.command)))
    return None
