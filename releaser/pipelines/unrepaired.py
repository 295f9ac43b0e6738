"""The damage of the live release in the report of a run that did not repair it. Imports little: each run ends here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.releases.integrity import advise, find_damage

if TYPE_CHECKING:
    from releaser.core.run import Run
    from releaser.report import RunReport


def add_unrepaired(run: Run, report: RunReport) -> RunReport:
    """Add the changes of others in the live release to the report of a run that was refused, so it repaired nothing."""
    live = run.store.live() if report.result == "refused" else None
    found = find_damage(live) if live is not None else None
    if (
        live is None
        or found is None
        or not found.drift
        or any(one.code == "release-damaged" for one in report.problems)
    ):
        return report
    message = f"the live release {live.id} is damaged too: {found}"
    advice = f"The next update that can run rebuilds it. {advise(live, found)}".strip()
    return report.with_problems(Finding("release-damaged", message, advice))
