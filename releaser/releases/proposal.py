"""The upgrades that `releaser propose` has pushed for review, and their outcomes, in `proposals.json`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from releaser.locks.versions import is_older
from releaser.system.files import clear_name, load_state, write_state
from releaser.system.frozen import Frozen, field, replace
from releaser.system.sections import Section
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.key import ReleaseKey
    from releaser.releases.release import Release

BRANCH = "releaser/update"

#: `open`: it waits for its merge; `due`: it is not pushed yet; `waits`: for one of the `propose_limit` places.
State = Literal["open", "due", "waits", "failed", "declined", "taken over"]


class ProposalFacts(Frozen):
    """A proposal, for people."""

    #: The package or the group that it upgrades; empty if it has all upgrades.
    name: str
    #: The remote and the branch.
    place: str
    state: State
    #: The state, in a sentence.
    summary: str
    #: The release that passed the tests with it; empty without one.
    release: str = ""
    #: When it was proposed, as ISO 8601; empty if it was not.
    since: str = ""
    #: The upgraded packages with their new versions.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: The command that takes it, on your own machine or on this host; empty without one.
    command: str = ""


class ProposalSection(Section):
    """The proposals of a run."""

    #: The remote and the branch on which an upgraded lock was proposed; None if none was. Several have commas between
    #: them.
    proposed: str | None = None
    #: All proposals of the site, if the run pushed any.
    proposals: tuple[ProposalFacts, ...] = ()


class Proposal(Frozen):
    """A tested lock that waits on the remote until the branch of the site has it."""

    #: The package or the group that it upgrades; empty if it has all upgrades.
    name: str = ""
    remote: str = ""
    branch: str = BRANCH
    #: The branch of the site, into which it is merged.
    target: str = ""
    #: The commit with the lock; empty: none was ever proposed.
    commit: str = ""
    #: The commit of releaser that the remote had on that branch before; empty for none.
    before: str = ""
    #: The release that was built from it and tested; it goes live if nothing else changes before the merge.
    release: str = ""
    #: The digest of its packages, see `ReleaseKey`.
    lock_sha256: str = ""
    #: The new versions of the packages that it upgrades or adds.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: How many packages change, and when it was proposed, as ISO 8601.
    changes: int = 0
    at: str = ""
    #: True if the remote is known to have the commit.
    pushed: bool = False
    #: True if the branch was deleted since: releaser does not propose the same again.
    declined: bool = False
    #: A foreign commit on that branch, which releaser leaves alone and has reported.
    others: str = ""
    #: Why newer versions are not proposed, such as the failure of their tests; empty if they are.
    failed: str = ""
    #: Why it waits for a later run; empty if it does not.
    waits: str = ""

    def is_of(self, key: ReleaseKey, release: Release | None, versions: Mapping[str, str]) -> bool:
        """True if the next proposal would be the same; declined versions stay declined, whatever the code."""
        if self.declined and self.versions:
            return dict(self.versions) == dict(versions)
        has_same_lock = bool(self.commit) and self.lock_sha256 == key.lock_sha256
        return has_same_lock and (self.declined or (release is not None and release.key == key))

    @property
    def place(self) -> str:
        """The remote and the branch."""
        return f"{self.remote}/{self.branch}"

    @property
    def is_open(self) -> bool:
        """True if it takes one of the places of `propose_limit`."""
        return bool(self.commit) and not (self.declined or self.others)

    def is_merged_into(self, live: Release | None, versions: Mapping[str, str]) -> bool:
        """True if the live release, with these `versions`, has the packages that were proposed, or newer ones."""
        if not self.commit or live is None:
            return False
        has_all = bool(self.versions) and all(
            versions.get(name) == new or is_older(new, versions.get(name, "")) for name, new in self.versions.items()
        )
        return has_all or live.key.lock_sha256 == self.lock_sha256

    def after_merge(self) -> Proposal:
        """Return the record after the merge: only the commit of releaser on the branch."""
        before = self.commit or self.before
        return Proposal(name=self.name, remote=self.remote, branch=self.branch, target=self.target, before=before)

    @property
    def state(self) -> State | None:
        """The state in a word; None if it is no longer a proposal."""
        if self.others:
            return "taken over"
        if self.is_open:
            return "open" if self.pushed else "due"
        if self.failed or self.waits:
            return "failed" if self.failed else "waits"
        return "declined" if self.commit else None

    @property
    def summary(self) -> str:
        """The status of the proposal, in a sentence; empty without one."""
        place, named = self.place, f"{self.name}: " if self.name else ""
        newer = self.failed and f"newer versions are not proposed, as {self.failed}"
        newer = newer or (self.waits and f"newer versions are not tested yet, as {self.waits}")
        if self.others:
            return f"{place} has commit {self.others[:12]}, which this site did not make, so nothing is proposed there"
        changes = f"{self.changes} package change{'' if self.changes == 1 else 's'}, {self.release}"
        if self.is_open:
            is_pushed = "proposed" if self.pushed else "to be proposed"
            found = f"{is_pushed} on {place} since {self.at[:10]}: {changes}"
        elif self.commit and not newer:
            again = "`releaser propose --force` proposes it again"
            found = f"declined, as {place} was deleted: {changes}; {again}"
        else:
            found = ""
        return "; ".join(filter(None, [found and named + found, newer and (newer if found else named + newer)]))

    @property
    def command(self) -> str:
        """The command that takes it; empty without one."""
        match self.state:
            case "open":
                switch = [["git", "switch", self.target]] if self.target else []
                steps = [*switch, ["git", "pull"], ["git", "merge", self.place], ["git", "push"]]
                return " && ".join(map(shlex.join, steps))
            case "declined" | "waits" | "failed":
                return "releaser propose --force"
            case "due":
                return "releaser propose"
        return ""

    @property
    def facts(self) -> ProposalFacts | None:
        """The proposal for people; None if it is none any more."""
        state = self.state
        return state and ProposalFacts(
            name=self.name,
            place=self.place,
            state=state,
            summary=self.summary,
            release=self.release,
            since=self.at,
            versions=self.versions,
            command=self.command,
        )


class Proposals(Frozen):
    """All proposals of a site."""

    entries: tuple[Proposal, ...] = ()
    #: Why nothing can be proposed, as reported; empty if something can.
    stuck: str = ""
    #: The branch for all upgrades.
    branch: str = BRANCH

    def get(self, name: str) -> Proposal | None:
        """Return the proposal of a package or a group; empty for that of all upgrades. None without one."""
        return next((one for one in self.entries if one.name == name), None)

    def with_proposal(self, proposal: Proposal) -> Proposals:
        """Return the proposals with this one, in place of an earlier one with its name."""
        others = [one for one in self.entries if one.name != proposal.name]
        return replace(self, entries=tuple(sorted((*others, proposal), key=lambda one: one.name)))

    def without(self, name: str) -> Proposals:
        """Return the proposals except one."""
        return replace(self, entries=tuple(one for one in self.entries if one.name != name))

    @property
    def blocked(self) -> str:
        """The reason nothing is proposed, in a sentence; empty if something can be."""
        return f"nothing is proposed on {self.branch}: {self.stuck}" if self.stuck else ""

    @property
    def summary(self) -> str:
        """The status of all proposals; empty without any."""
        return self.blocked or "; ".join(one.summary for one in self.entries if one.summary)


class EarlierProposal(Proposal):
    """The one proposal in `proposal.json` of earlier versions."""

    #: True if it was merged.
    done: bool = False
    #: As in `Proposals`.
    stuck: str = ""

    def as_proposals(self) -> Proposals:
        """Return it as the proposals of a site."""
        fields = {name: value for name, value in vars(self).items() if name not in ("done", "stuck")}
        one = Proposal(**fields)
        one = one.after_merge() if self.done else one
        return Proposals(stuck=self.stuck, branch=self.branch, entries=(one,) if one != Proposal() else ())


PROPOSALS = StateFile(name="proposals.json", type=Proposals)
EARLIER_PROPOSAL = StateFile(name="proposal.json", type=EarlierProposal)


def read_proposals(state_dir: Path) -> Proposals:
    """Return the proposals; none if the file is missing or unreadable. Raises OSError."""
    if (state_dir / PROPOSALS).exists():
        return load_state(state_dir / PROPOSALS, Proposals())
    return load_state(state_dir / EARLIER_PROPOSAL, EarlierProposal()).as_proposals()


def note_proposals(state_dir: Path, proposals: Proposals) -> None:
    """Record the proposals. Raises OSError."""
    if proposals != read_proposals(state_dir):
        write_state(state_dir / PROPOSALS, proposals)
        clear_name(state_dir / EARLIER_PROPOSAL)


def note_proposal(state_dir: Path, proposal: Proposal) -> None:
    """Record a proposal, in place of an earlier one with its name. Raises OSError."""
    note_proposals(state_dir, read_proposals(state_dir).with_proposal(proposal))
