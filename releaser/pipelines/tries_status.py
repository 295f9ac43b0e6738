"""The packages of `update --override` that the live release tries on a test host, in the status."""

from __future__ import annotations

from releaser.core.status import Look, Remark, Shows, StatusSection
from releaser.site.supply import SupplyFacts


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
