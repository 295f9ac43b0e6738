"""The commands that change a mark: `pin`, `unpin` and `unhold`."""

from __future__ import annotations

from collections.abc import Sequence

from releaser.errors import NoSuchReleaseError
from releaser.packages.holds import remove_holds
from releaser.releases.store import Store, write_state
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.text import join_few


def set_pinned(site: Site, name: str, *, pinned: bool) -> Outcome:
    """Keep a release from pruning, or let pruning delete it again."""
    release = Store(site.paths).find(name)
    write_state(release, pinned=pinned)
    words = "pinned" if pinned else "not pinned any more"
    return Outcome("updated", 0, f"Release {release.id} is {words}.", release.id)


def unhold(site: Site, names: Sequence[str]) -> Outcome:
    """Let updates take versions or commits again."""
    removed, unknown = remove_holds(site.paths, names)
    if unknown:
        raise NoSuchReleaseError(f"Not on hold: {join_few(unknown)}. Nothing was changed.", "Run `releaser status`.")
    words = join_few([f"{hold.name} {hold.version}" for hold in removed])
    return Outcome("updated", 0, f"Updates take these again: {words}.")
