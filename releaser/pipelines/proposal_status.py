"""The proposals in the status and in mails."""

from collections.abc import Iterator, Mapping, Sequence

from releaser.core.status import Line, Look, Offer, Pending, Shows, StatusSection
from releaser.releases.proposal import ProposalFacts, ProposalSection, read_proposals
from releaser.report import RunReport
from releaser.reporting.changes import Item
from releaser.site.site import Site
from releaser.system.words import one_line, plural

#: The arguments of releaser that continue a proposal, by its state.
_COMMANDS: Mapping[str, tuple[str]] = {
    **dict.fromkeys(("declined", "failed", "waits"), ("propose --force",)),
    "due": ("propose",),
}


class ProposalStatus(StatusSection):
    """The proposals that wait for review."""

    #: The proposals that `releaser propose` pushed for review, or why it pushed none; empty without one.
    proposal: str = ""
    #: The same, one by one.
    proposals: tuple[ProposalFacts, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        found = read_proposals(at.site.state_dir)
        if not found.entries:
            return cls(proposal=found.blocked)
        from releaser.releases.release import read_versions  # slow to import

        versions = read_versions(at.live)
        entries = [one for one in found.entries if not one.is_merged_into(at.live, versions)]
        facts = tuple(filter(None, (one.facts for one in entries)))
        return cls(proposal=found.blocked or "; ".join(one.summary for one in facts), proposals=facts)

    def show(self) -> Shows:
        is_listed = self.proposal == "; ".join(one.summary for one in self.proposals)
        for text in [one.summary for one in self.proposals] if is_listed else filter(None, [self.proposal]):
            yield Line(f"proposal: {text}", 52)
        for one in self.proposals:
            named = ", ".join(f"{name} {version}" for name, version in one.versions.items())
            yield Offer("Proposals", one.name or named, one.summary, *_COMMANDS.get(one.state, ("", one.command)))
        if count := sum(one.state == "open" for one in self.proposals):
            yield Pending(f"{plural(count, 'proposal')} to review", 35)


def list_in_mail(_: Site, report: RunReport) -> Iterator[tuple[str, Sequence[Item]]]:
    """Yield the list of proposals for the mail about a run that pushed some."""
    found = ProposalSection.of(report).proposals
    if report.result == "proposed" and found:
        yield "Proposals", [Item(text=one_line(one.summary, limit=1000), note=one.command) for one in found]
