"""The upgrade that `releaser propose` has pushed for review, and its outcome, in `proposal.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.sections import Section
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.key import ReleaseKey
    from releaser.releases.release import Release

BRANCH = "releaser/update"


class ProposalSection(Section):
    """The proposal of a run."""

    #: The remote and the branch on which an upgraded lock was proposed; None if none was.
    proposed: str | None = None


class Proposal(Frozen):
    """A tested lock that waits on the remote until the branch of the site has it."""

    remote: str = ""
    branch: str = BRANCH
    #: The commit with the lock; empty: none was ever proposed.
    commit: str = ""
    #: The commit of releaser that the remote had on that branch before; empty for none.
    before: str = ""
    #: The release that was built from it and tested; it goes live if nothing else changes before the merge.
    release: str = ""
    #: The digest of its packages, see `ReleaseKey`.
    lock_sha256: str = ""
    #: How many packages change, and when it was proposed, as ISO 8601.
    changes: int = 0
    at: str = ""
    #: True if the remote is known to have the commit.
    pushed: bool = False
    #: True if the branch was deleted since: releaser does not propose the same again.
    declined: bool = False
    #: True if it was merged, as earlier versions recorded.
    done: bool = False
    #: A foreign commit on that branch, which releaser leaves alone and has reported.
    others: str = ""
    #: Why nothing can be proposed, as reported; empty if something can.
    stuck: str = ""

    def is_of(self, key: ReleaseKey, release: Release | None) -> bool:
        """True if the next proposal would be the same; a declined lock stays declined, whatever the code."""
        has_same_lock = bool(self.commit) and self.lock_sha256 == key.lock_sha256
        return has_same_lock and (self.declined or (release is not None and release.key == key))

    @property
    def place(self) -> str:
        """The remote and the branch."""
        return f"{self.remote}/{self.branch}"

    def is_merged_into(self, live: Release | None) -> bool:
        """True if the live release has the packages that were proposed."""
        return bool(self.commit) and live is not None and live.key.lock_sha256 == self.lock_sha256

    def after_merge(self) -> Proposal:
        """Return the record after the merge: only the commit of releaser on the branch."""
        return Proposal(remote=self.remote, branch=self.branch, before=self.commit)

    @property
    def summary(self) -> str:
        """The status of the proposal, in a sentence; empty without one."""
        place = self.place
        if self.stuck:
            return f"nothing is proposed on {self.branch}: {self.stuck}"
        if self.others:
            return f"{place} has commit {self.others[:12]}, which this site did not make: nothing is proposed there"
        if not self.commit:
            return ""
        summary = f"{self.changes} package change{'' if self.changes == 1 else 's'}, {self.release}"
        if self.declined:
            return f"declined, as {place} was deleted: {summary}; `releaser propose --force` proposes it again"
        return f"{'proposed' if self.pushed else 'to be proposed'} on {place} since {self.at[:10]}: {summary}"


PROPOSAL = StateFile(name="proposal.json", type=Proposal)


def read_proposal(state_dir: Path) -> Proposal:
    """Return the last proposal; an empty one if the file is missing or unreadable. Raises OSError."""
    found = load_state(state_dir / PROPOSAL, Proposal())
    return found.after_merge() if found.done else found


def note_proposal(state_dir: Path, proposal: Proposal) -> None:
    """Record a proposal. Raises OSError."""
    if proposal != read_proposal(state_dir):
        write_state(state_dir / PROPOSAL, proposal)
