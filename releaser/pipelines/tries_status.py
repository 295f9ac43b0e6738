"""Releases that try packages of `update --override` on a test host: in the status, and as remarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.status import Look, Remark, Shows, StatusSection
from releaser.site.supply import SupplyFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from releaser.releases.release import Release


class TriesStatus(StatusSection):
    """The packages that the live release tries."""

    #: The packages of `update --override` in the live release, which came as a bundle for test hosts.
    tries: tuple[str, ...] = ()

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        return cls(tries=SupplyFacts.of(at.live.manifest).overrides if at.live is not None else ())

    def show(self) -> Shows:
        if self.tries:
            yield Remark(f"tries: {', '.join(self.tries)}, for tests only; `releaser rollback` goes back", 30)


def list_tries(_: Path, releases: Iterable[Release]) -> Mapping[str, str]:
    """Return the remark about each release that came as a bundle for test hosts."""
    facts = {release.id: SupplyFacts.of(release.manifest) for release in releases}
    return {
        name: f"tries {', '.join(one.overrides)}, for tests only"
        for name, one in facts.items()
        if one.overrides and one.bundle is not None
    }
