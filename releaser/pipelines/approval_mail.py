"""The mail that asks for the approval of a ready release."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.core.run import close_journal
from releaser.releases.approvals import ApprovalSection, note_asked, read_approvals
from releaser.system.frozen import replace
from releaser.system.words import show_time

if TYPE_CHECKING:
    from releaser.core.run import Run
    from releaser.report import RunReport


def ask_for_approval(run: Run, report: RunReport) -> RunReport:
    """Have the report of the first run whose release needs approval mailed, once for each release."""
    section, state_dir, now = ApprovalSection.of(report), run.site.state_dir, datetime.now(UTC)
    release = section.needs_approval
    snapshot = run.store.snapshot() if release else None
    waiting = snapshot.find_waiting() if snapshot is not None else None
    asked = read_approvals(state_dir).has_asked(release, now)
    if snapshot is None or waiting is None or waiting.id != release or asked:
        return report
    at = section.goes_live_at
    from releaser.reporting.changes import name_changes

    what = name_changes(report.changes) if report.changes else "new code"
    since = show_time(datetime.fromisoformat(snapshot.lifecycles[release].since))
    alone = f"goes live anyway on {show_time(at)}" if at else "does not go live without approval"
    asks = f"Approval needed for {what}: {release} has been ready since {since}, and {alone}."
    close_journal(run.site, run.log, f"had made {release} ready, which needs approval: `releaser approve {release}`")
    with contextlib.suppress(OSError):  # the next run asks again
        note_asked(state_dir, release, now)
    advice = f"Read the changes, then run `releaser approve {release}`. To reject a package, run `releaser hold NAME`."
    noted = " ".join(filter(None, (asks, report.noted)))
    return replace(report, noted=noted, advice=report.advice or advice)
