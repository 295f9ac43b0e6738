"""Static files must have a place to go, before a release is built."""

from __future__ import annotations

import os
from pathlib import Path

from releaser.core.gate import Case, Gate, Refusal, Verdict
from releaser.errors import Findings, PreflightError, refuse_any
from releaser.serving.static_checks import asks_django, can_collect, check_static_files
from releaser.serving.static_files import Collected


class StaticFiles(Gate):
    """Refuses if static files could not be collected. Preflight asks the same of new code; a trial needs none."""

    stage = "resolved"

    def judge(self, case: Case) -> Verdict:
        """Ask the site's Django; if the files of the live release were collected, it is asked before the flip."""
        site, findings = case.site, Findings()
        if site.pulled is not None or not site.supply.goes_live or not asks_django(site):
            return None
        try:
            with case.log.step("static files") as step:
                known = Collected.of(Path(os.path.realpath(site.project.venv)))
                if known is not None and known.place and can_collect(Path(known.place)):
                    return None
                if unknown := check_static_files(site, findings):
                    step.warns(unknown)
                refuse_any(*findings)
        except PreflightError as error:
            return Refusal(error=error)
        return None
