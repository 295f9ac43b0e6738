"""The lock that git has: it goes live as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.site.follow import committed_supply
from releaser.sources.locked import Locked

if TYPE_CHECKING:
    from releaser.core.run import Workspace


class Committed(Locked):
    """Takes the committed lock, of a site that upgrades nothing by itself."""

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """True if the settings say so."""
        return committed_supply(work.site) is not None
