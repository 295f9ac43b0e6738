"""Updates outside the maintenance window of the site, for packages whose own window is open."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.core.due import Due
from releaser.resolution.rules import only_fixes
from releaser.site.package_windows import OpenPackages, find_open
from releaser.site.windows import next_opening
from releaser.system.words import show_time

if TYPE_CHECKING:
    from releaser.site.site import Site


def find_delay(site: Site, limits: frozenset[str]) -> Due | None:
    """Return the wait for the maintenance window, if some packages need not wait for it."""
    now = datetime.now(UTC)
    opens = next_opening(site, now)
    if limits or opens <= now or only_fixes(site) or not site.supply.upgrades or not find_open(site, now):
        return None
    reason = f"an update waits for the maintenance window, which opens {show_time(opens)}"
    return Due(at=opens, reason=reason, anyway=(OpenPackages(only_open_packages=True),), for_named=True)
