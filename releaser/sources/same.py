"""The lock of the live release, if that has to be rebuilt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.releases.blocks import read_blocks
from releaser.resolution.resolve import candidate_key
from releaser.site.conventions import default_groups
from releaser.sources.locked import Locked

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.core.source import Wanted
    from releaser.locks.lock import LockFile


class Same(Locked):
    """Rebuilds the live release from its lock; newer packages wait for the next run, as they could fail.

    Another source is chosen if the lock failed before, has versions that were rolled back, does not belong
    to the code of the checkout, or has no build for the Python.
    """

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """True if the live release has to be rebuilt, and can be from its lock."""
        if not rebuilds:
            return False
        from releaser.locks.installed import find_unbuildable

        site, live, lock = work.site, work.live, work.facts.lock
        blocks, key = read_blocks(site.state_dir), candidate_key(site, work.facts, lock)
        return (
            live is not None
            and site.pulled is None
            and live.manifest.dependencies_key == site.pyproject.dependencies_key()
            and bool(lock.data)
            and not any(entry.is_in(lock.versions) for entry in blocks.by("rollback"))
            and blocks.candidate(key) is None
            and not find_unbuildable(lock, group=key.group, default_groups=default_groups(site), python=key.python)
        )

    def refuse_unfit(self, wanted: Wanted, lock: LockFile) -> None:
        """Refuse nothing: it is live."""
