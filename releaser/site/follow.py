"""What the committed lock provides to a site that upgrades nothing by itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.site.committed import committed_lock
from releaser.site.supply import Supply

if TYPE_CHECKING:
    from releaser.site.site import Site


def committed_supply(site: Site) -> Supply | None:
    """Leave the lock to those who commit it; None for a site that upgrades its packages."""
    if site.settings.upgrade != "none":
        return None
    return Supply(
        takes='what git has locked (`upgrade = "none"`)', read_lock=partial(committed_lock, site), publishes=False
    )
