"""Outside the maintenance window of the site: the packages whose own window is open, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.gate import find_opening
from releaser.locks.blocks import PackageWaits
from releaser.locks.rules import find_wait
from releaser.site.package_windows import OpenPackages as Asked
from releaser.sources.upgrade import Upgrade
from releaser.system.words import first_few, show_time

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, Wanted


class OpenPackages(Upgrade):
    """Takes the newest versions of these packages; the rules keep all others, and new commits stay where they are."""

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """True if the run is for them."""
        return Asked.of(work.log).only_open_packages

    def reason_to_stay(self, wanted: Wanted, resolution: Resolution, *, is_new: bool) -> str:
        """Return why nothing is built: nothing newer, or a change that waits for the maintenance window."""
        work, known = wanted.work, PackageWaits.of(wanted.work.log).package_waits
        opens = show_time(find_opening(work.site.outside, work.log.started_at))
        if not resolution.diff:
            known_reason = super().reason_to_stay(wanted, resolution, is_new=False)
            return known_reason if work.only else "no package whose maintenance window is open has a newer version"
        waits = f"the newer packages wait for the maintenance window, which opens {opens}, as "
        if work.site.pulled is not None:
            return f"{waits}they would go live with new commits on the branch"
        if others := [change.name for change in resolution.diff if change.moves and find_wait(known, change.name)]:
            return f"{waits}{first_few(others)} would change too"
        return super().reason_to_stay(wanted, resolution, is_new=is_new)
