"""`approve`: lets a ready release go live, or takes that back."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.core.gate import find_opening
from releaser.errors import UsageError
from releaser.gates.approval import wait_for_approval
from releaser.pipelines.maintenance import Change
from releaser.releases.approvals import APPROVED_BY, Approval, note_approval, read_approvals
from releaser.releases.store import store_of
from releaser.site.approval_settings import asks_for_approval
from releaser.system.words import one_line, show_time

if TYPE_CHECKING:
    from releaser.site.site import Site

_LONGEST_NAME = 60  # characters of a user


def decide_approve(site: Site, release: str, *, on: bool) -> Change:
    """Approve the release that waits to go live, or take that back. Raises NoSuchReleaseError and UsageError."""
    store = store_of(site)
    found, snapshot = store.find(release), store.snapshot()
    if found.live:
        message = f"{found.id} is already live"
        raise UsageError(message, "To go back, run `releaser rollback`.")
    if found.lifecycle is not None and found.lifecycle.request:
        message = f"{found.id} was built for tests only: updates never make it live"
        raise UsageError(message, f"Run `{found.lifecycle.request}`, which makes it live.")
    if not asks_for_approval(site):
        message = f"`approve_after` is not set, so {found.id} needs no approval"
        raise UsageError(message, 'Set `approve_after`, such as to "2d". `releaser status` shows why a release waits.')
    waiting = snapshot.find_waiting()
    if waiting is None or waiting.id != found.id:
        message = f"{found.id} does not wait to go live: its state in `releaser list` is {found.state}"
        instead = f"`releaser approve {waiting.id}` approves the release that waits." if waiting else ""
        raise UsageError(message, instead or "No release waits. `releaser update` builds the next one.")
    approvals, now = read_approvals(site.state_dir), datetime.now(UTC)
    wait = wait_for_approval(site, found.id, approvals.asked_at(found.id, now))
    approval = Approval(by=_user(), at=now.replace(microsecond=0)) if on else None

    def apply() -> None:
        note_approval(site.state_dir, found.id, approval)
        opening = find_opening(site, now)
        when = f"on {show_time(opening)}" if opening > now else "with the next update"
        reason, until = (f"{approval}; it goes live {when}", opening) if approval else (wait.reason, wait.until)
        store.record_waiting(found, reason, keeps=True, until=until)

    given = approvals.given.get(found.id)
    # An `approve` that was cut off may have recorded the approval, and not yet why the release waits.
    shown = snapshot.lifecycles[found.id].waits.startswith(str(given) if given else APPROVED_BY)
    is_done = on == bool(given) == shown
    state = "is approved" if on else "is not approved"
    return Change(name=found.id, state=state, apply=None if is_done else apply, release=found)


def _user() -> str:
    """Return the name of the person who runs releaser, also through sudo."""
    user = os.geteuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return one_line(os.environ.get("SUDO_USER") or name, limit=_LONGEST_NAME)
