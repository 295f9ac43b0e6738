"""Package versions that commits of other hosts and of developers take back: they are on hold here, too."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.locks.differences import find_taken_back
from releaser.locks.lock import EMPTY, InvalidLockError, LockFile
from releaser.releases.blocks import change_blocks

if TYPE_CHECKING:
    from releaser.core.target import Target
    from releaser.releases.blocks import Blocks
    from releaser.site.site import Site

_MOST = 50  # commits of which the locks are compared, the newest
_ROLLBACK = "Roll back to release "  # as the commit of a rollback begins


def note_taken_back(site: Site, target: Target) -> None:
    """Record what the new commits take back and bring again. Raises OSError and ToolError."""
    change_blocks(site.state_dir, lambda blocks: blocks_after(site, target, blocks))


def blocks_after(site: Site, target: Target, blocks: Blocks) -> Blocks:
    """Return blocks as the new commits leave them.

    A commit that lowers a package takes its version back, as a rollback on another host does, or a revert: else this
    host would bring that version again in the same night. A commit that locks the version again lifts this.
    Raises ToolError.
    """
    if not target.moves or not site.supply.upgrades:
        return blocks
    path, git = os.path.relpath(site.project.lock, site.git.layout.top), site.git
    for commit in git.following(target.head, target.commit, path)[-_MOST:]:
        before, after = (_lock_of(site, one, path) for one in (f"{commit}^", commit))
        blocks = _compare(site, blocks, before, after, commit)
    if target.forward:  # a merge may take back what none of its commits does; else commits give way
        before, after = (_lock_of(site, one, path) for one in (target.head, target.commit))
        blocks = _compare(site, blocks, before, after, target.commit)
    return blocks


def _compare(site: Site, blocks: Blocks, before: LockFile, after: LockFile, commit: str) -> Blocks:
    subject = site.git.subject(commit)
    versions = tuple(find_taken_back(before, after, all_changes=subject.startswith(_ROLLBACK)))
    reason = f"commit {commit[:12]} went back from it: {subject}"
    lifted = blocks.without_followed(after.versions)
    return lifted.with_commit_that_lowers(versions, commit=commit, reason=reason) if versions else lifted


def _lock_of(site: Site, commit: str, path: str) -> LockFile:
    try:
        return LockFile.parse(site.git.data(commit, path) or b"")
    except InvalidLockError:
        return EMPTY
