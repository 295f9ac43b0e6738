"""With `approve_after`, a release waits until a person has approved it, or until that time has passed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.core.gate import Case, Gate, Verdict, Wait, find_opening
from releaser.releases.approvals import ApprovalSection, read_approvals
from releaser.releases.store import store_of
from releaser.site.approval_settings import approval_deadline, asks_for_approval
from releaser.system.words import show_time

if TYPE_CHECKING:
    from releaser.site.site import Site


class Approval(Gate):
    """Waits, even with `--force`. A security fix waits, too; only what the site cannot run without does not,
    nor what puts a damaged release back.

    The setting of the checkout counts, so that a new commit cannot approve itself.
    """

    is_foreseeable = True

    def judge(self, case: Case) -> Verdict:
        """Read whether the release is approved."""
        site = case.work.site.outside
        is_same = not any((case.changes, case.work.site.pulled))  # as the damaged release: no package, no commit is new
        is_needed = any((all((case.is_repair, is_same)), case.is_down, case.work.live is None))
        if is_needed or not (case.may_wait and asks_for_approval(site)):
            return None
        release, approvals = _name(case), read_approvals(site.state_dir)
        if not release:
            return Wait(reason="it needs approval", keeps=True, always=True)
        now = datetime.now(UTC)
        asked = approvals.asked_at(release, now)  # the time for the tests does not count
        deadline = approval_deadline(site, asked)
        if release in approvals.given or (deadline is not None and deadline <= now):
            return None
        wait = wait_for_approval(site, release, asked)
        case.log.add(ApprovalSection(needs_approval=release, goes_live_at=wait.until))
        return wait


def _name(case: Case) -> str:
    """Return the id of the release; in a dry run, of the one that waits, or an empty text."""
    if case.venv is not None:
        return case.venv.parent.name
    waiting = store_of(case.work.site.outside).snapshot().find_waiting()
    return waiting.id if waiting is not None else ""


def wait_for_approval(site: Site, release: str, asked: datetime) -> Wait:
    """Return the wait of a release for the approval that was asked for at some time."""
    deadline = approval_deadline(site, asked)
    until = None if deadline is None else find_opening(site, deadline)
    alone = f"it goes live anyway on {show_time(until)}" if until else "it does not go live without approval"
    return Wait(
        reason=f"it needs approval (`releaser approve {release}`); {alone}", until=until, keeps=True, always=True
    )
