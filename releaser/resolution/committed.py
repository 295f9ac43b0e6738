"""Decides whether an update starts from the committed lock, although another one may be live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.locks.differences import follows_the_commit
from releaser.releases.journal import read_notes
from releaser.system.files import read_if_there

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.site.site import Site


def starts_from_commit(site: Site, live: Release | None) -> bool:
    """True if an update starts from the committed lock, even if the checkout has another one.

    It does if others choose the versions, and if the checkout has the lock of the live release only because of holds on
    this host: without holds, the site follows the committed lock again.
    """
    if not site.supply.upgrades:
        return True
    lock = site.outside.project.lock
    differs = follows_the_commit(read_notes(site.state_dir).lock_differences)
    return differs and live is not None and read_if_there(lock) == read_if_there(live.lock)
