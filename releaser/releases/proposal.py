"""The upgrade that `releaser propose` has pushed for review, and what became of it, in `proposal.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.key import ReleaseKey
    from releaser.releases.release import Release

BRANCH = "releaser/update"


class Proposal(Frozen):
    """A tested lock that waits on the remote until the branch of the site has it."""

    remote: str = ""
    branch: str = BRANCH
    #: The commit with the lock; empty: none was ever proposed.
    commit: str = ""
    #: The commit that the remote had on that branch before, which was ours too; empty for none.
    before: str = ""
    #: The release that was built from it, and tested; it goes live if nothing else has changed by then.
    release: str = ""
    #: The digest of its packages, see `ReleaseKey`.
    lock_sha256: str = ""
    #: How many packages change, and when it was proposed, as ISO 8601.
    changes: int = 0
    at: str = ""
    #: Whether the remote is known to have got it.
    pushed: bool = False
    #: Whether somebody has deleted the branch since: the same is not proposed again.
    declined: bool = False
    #: Whether it had come in, as earlier versions noted.
    done: bool = False
    #: The commit of somebody else on that branch, which is left alone, and has been told.
    others: str = ""
    #: Why nothing can be proposed, as has been told; empty if something can.
    stuck: str = ""

    def is_of(self, key: ReleaseKey, release: Release | None) -> bool:
        """Whether it is what the next one would be; one that was declined is declined with whatever code."""
        has_same_lock = bool(self.commit) and self.lock_sha256 == key.lock_sha256
        return has_same_lock and (self.declined or (release is not None and release.key == key))

    @property
    def place(self) -> str:
        """The remote and the branch."""
        return f"{self.remote}/{self.branch}"

    def has_come_in(self, live: Release | None) -> bool:
        """Whether the live release has the packages that were proposed."""
        return bool(self.commit) and live is not None and live.key.lock_sha256 == self.lock_sha256

    def over(self) -> Proposal:
        """Return what is left once it has come in: the commit on the branch is still ours."""
        return Proposal(remote=self.remote, branch=self.branch, before=self.commit)

    @property
    def said(self) -> str:
        """How it stands, in a sentence; empty without any."""
        place = self.place
        if self.stuck:
            return f"nothing is proposed on {self.branch}: {self.stuck}"
        if self.others:
            return f"{place} has commit {self.others[:12]}, which this site did not make: nothing is proposed there"
        if not self.commit:
            return ""
        what = f"{self.changes} package change{'' if self.changes == 1 else 's'}, {self.release}"
        if self.declined:
            return f"declined, as {place} was deleted: {what}; `releaser propose --force` proposes it again"
        return f"{'proposed' if self.pushed else 'to be proposed'} on {place} since {self.at[:10]}: {what}"


PROPOSAL = StateFile(name="proposal.json", type=Proposal)


def read_proposal(state_dir: Path) -> Proposal:
    """Return what was proposed last; what cannot be read tells of nothing. Raises OSError."""
    found = load_state(state_dir / PROPOSAL, Proposal())
    return found.over() if found.done else found


def note_proposal(state_dir: Path, proposal: Proposal) -> None:
    """Note what is proposed. Raises OSError."""
    if proposal != read_proposal(state_dir):
        write_state(state_dir / PROPOSAL, proposal)
