"""Moves a site to another Python with its installed versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.source import KeptVersions, StartingLock
from releaser.releases.journal import read_notes

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.locks.lock import LockFile


class AnotherPython(StartingLock):
    """Keeps the installed versions on another Python."""

    def applies(self, work: Workspace) -> bool:
        return needs_keeping(work)

    def make(self, work: Workspace, lock: LockFile) -> KeptVersions:
        from releaser.resolution.kept_versions import keep_installed  # most runs find nothing to keep

        return keep_installed(work, lock)


def needs_keeping(work: Workspace) -> bool:
    """True if an unchanged lock may install other versions than the live ones."""
    live = work.live
    if live is None or work.site.supply.made_elsewhere:
        return False
    is_another = live.manifest.python != work.facts.choice.version
    return is_another or any(difference.is_kept for difference in read_notes(work.site.state_dir).lock_differences)
