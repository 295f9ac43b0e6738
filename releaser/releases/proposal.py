"""What a run has proposed on a branch of its own, with `publish = "branch"`, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.quarantine import CandidateKey

PROPOSAL = "proposal.json"
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
    #: What it installs, with which code, Python and group, as `CandidateKey` has it.
    lock_sha256: str = ""
    code_key: str = ""
    python: str = ""
    group: str | None = None
    #: How many packages change, and when it was proposed, as ISO 8601.
    changes: int = 0
    at: str = ""
    #: Whether the remote is known to have got it.
    pushed: bool = False
    #: Whether somebody has deleted the branch since: the same is not proposed again.
    declined: bool = False
    #: Whether it has come in, or is no longer wanted.
    done: bool = False
    #: The commit of somebody else on that branch, which is left alone, and has been told.
    others: str = ""
    #: Why nothing can be proposed, as has been told; empty if something can.
    stuck: str = ""

    def is_of(self, key: CandidateKey) -> bool:
        """Whether it is what a candidate would be; one that was declined is declined with whatever code."""
        if self.done or not self.commit or self.lock_sha256 != key.lock_sha256:
            return False
        return self.declined or (self.code_key, self.python, self.group) == (key.code_key, key.python, key.group)

    @property
    def said(self) -> str:
        """How it stands, in a sentence; empty without any."""
        place = f"{self.remote}/{self.branch}"
        if self.stuck:
            return f"nothing is proposed on {self.branch}: {self.stuck}"
        if self.others:
            return f"{place} has commit {self.others[:12]}, which this site did not make: nothing is proposed there"
        if self.done or not self.commit:
            return ""
        what = f"{self.changes} package change{'' if self.changes == 1 else 's'}, {self.release}"
        if self.declined:
            return f"declined, as {place} was deleted: {what}; `releaser update --force` proposes it again"
        return f"{'proposed' if self.pushed else 'to be proposed'} on {place} since {self.at[:10]}: {what}"


def read_proposal(state_dir: Path) -> Proposal:
    """Return what was proposed last; what cannot be read tells of nothing. Raises OSError."""
    return load_state(state_dir / PROPOSAL, Proposal())


def note_proposal(state_dir: Path, proposal: Proposal) -> None:
    """Note what is proposed. Raises OSError."""
    if proposal != read_proposal(state_dir):
        write_state(state_dir / PROPOSAL, proposal)
