"""The supply of a site that upgrades no packages: the committed lock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.site.supply import Supply

if TYPE_CHECKING:
    from releaser.site.site import Site


def committed_supply(site: Site) -> Supply | None:
    """Return a supply with the committed lock; None for a site that upgrades its packages."""
    if site.settings.upgrade != "none":
        return None
    from releaser.site.committed import committed_lock

    return Supply(
        takes='the committed lock (`upgrade = "none"`)', read_lock=partial(committed_lock, site), publishes=False
    )
