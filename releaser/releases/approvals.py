"""The approvals of releases: which need one, and who has given it when, in `approvals.json`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.system.files import UnreadableStateError, read_own_state, write_state
from releaser.system.frozen import Frozen, field, replace
from releaser.system.sections import Section
from releaser.system.state_files import StateFile
from releaser.system.words import show_time

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.releases.release import Release

APPROVED_BY = "approved by "
_NEVER = datetime.max.replace(tzinfo=UTC)


class ApprovalSection(Section):
    """The approval that a run needs."""

    #: The release that needs `releaser approve` to go live; empty without one.
    needs_approval: str = ""
    #: When it may go live without approval; None for never.
    goes_live_at: datetime | None = None


class Approval(Frozen):
    """The approval of a release."""

    #: The user, and when.
    by: str
    at: datetime

    def __str__(self) -> str:
        return f"{APPROVED_BY}{self.by} on {show_time(self.at)}"


class Approvals(Frozen):
    """The approvals of a site, by release."""

    #: When people were asked, at first.
    asked: Mapping[str, datetime] = field(default_factory=dict)
    given: Mapping[str, Approval] = field(default_factory=dict)

    def asked_at(self, release: str, now: datetime) -> datetime:
        """Return when people were asked; `now` if they have to be."""
        return min(self.asked.get(release, now), now)

    def has_asked(self, release: str, now: datetime) -> bool:
        """True if people were asked, and not by a clock that has been set back since then."""
        return self.asked.get(release, _NEVER) <= now


APPROVALS = StateFile(
    name="approvals.json",
    type=Approvals,
    read=read_own_state,
    loss="no release is approved any more",
    advice="Approve the release that waits again: `releaser approve RELEASE`.",
)


def read_approvals(state_dir: Path) -> Approvals:
    """Return the approvals; none if the file is missing or unreadable."""
    try:
        return read_own_state(state_dir / APPROVALS, Approvals) or Approvals()
    except UnreadableStateError:
        return Approvals()


def note_asked(state_dir: Path, release: str, at: datetime) -> None:
    """Record, durably, that people were asked to approve a release. Raises OSError."""
    before = read_approvals(state_dir)
    _write(state_dir, replace(before, asked={**before.asked, release: at}))


def note_approval(state_dir: Path, release: str, approval: Approval | None) -> None:
    """Record, durably, that a release is approved; None takes the approval back. Raises OSError."""
    before = read_approvals(state_dir)
    given = {name: one for name, one in before.given.items() if name != release}
    _write(state_dir, replace(before, given={**given, release: approval} if approval else given))


def _write(state_dir: Path, approvals: Approvals) -> None:
    """Write the approvals of the releases that still exist."""

    def is_kept(release: str) -> bool:
        return (state_dir / "releases" / release).is_dir()

    asked = {release: at for release, at in approvals.asked.items() if is_kept(release)}
    given = {release: one for release, one in approvals.given.items() if is_kept(release)}
    write_state(state_dir / APPROVALS, Approvals(asked=asked, given=given))


def list_approved(state_dir: Path, _: Iterable[Release] = ()) -> Mapping[str, str]:
    """Return the remark about each release that was approved."""
    return {name: f"was {approval}" for name, approval in read_approvals(state_dir).given.items()}
