"""The proposal in the status."""

from releaser.core.status import Line, Look, Shows, StatusSection
from releaser.releases.proposal import read_proposal


class ProposalStatus(StatusSection):
    """The proposal that waits for review."""

    #: The proposal that `releaser propose` pushed for review, or why it pushed none; empty without one.
    proposal: str = ""

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        found = read_proposal(at.site.state_dir)
        return cls(proposal="" if found.is_merged_into(at.live) else found.summary)

    @classmethod
    def explain_waiting(cls, at: Look) -> str:
        return read_proposal(at.site.state_dir).release

    def show(self) -> Shows:
        if self.proposal:
            yield Line(f"proposal: {self.proposal}", 52)
