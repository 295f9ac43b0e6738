"""Puts versions on hold that commits of other hosts and of developers lower."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.locks.differences import find_reverted_versions
from releaser.locks.lock import EMPTY, InvalidLockError, LockFile
from releaser.releases.blocks import change_blocks

if TYPE_CHECKING:
    from releaser.core.target import Target
    from releaser.releases.blocks import Blocks
    from releaser.site.site import Site

_MOST = 50  # newest commits whose locks are compared
_ROLLBACK = "Roll back to release "  # the beginning of the message of a rollback's commit


def note_reverted_versions(site: Site, target: Target) -> None:
    """Record the versions that the new commits lower, or lock again. Raises OSError and ToolError."""
    change_blocks(site.state_dir, lambda blocks: correct_blocks(site, target, blocks))


def correct_blocks(site: Site, target: Target, blocks: Blocks) -> Blocks:
    """Return the blocks, corrected for the new commits. Raises ToolError.

    A commit that lowers a package, such as a revert or the rollback of another host, blocks its higher version: else
    this host would install it again in the same night. A commit that locks the version again lifts the block.
    """
    if not target.moves or not site.supply.upgrades:
        return blocks
    path, git = os.path.relpath(site.project.lock, site.git.layout.top), site.git
    for commit in git.following(target.head, target.commit, path)[-_MOST:]:
        before, after = (_lock_of(site, revision, path) for revision in (f"{commit}^", commit))
        blocks = _compare(site, blocks, before, after, commit)
    if target.forward:  # a merge may lower a version that none of its commits lowers
        before, after = (_lock_of(site, revision, path) for revision in (target.head, target.commit))
        blocks = _compare(site, blocks, before, after, target.commit)
    return blocks


def _compare(site: Site, blocks: Blocks, before: LockFile, after: LockFile, commit: str) -> Blocks:
    subject = site.git.subject(commit)
    versions = tuple(find_reverted_versions(before, after, all_changes=subject.startswith(_ROLLBACK)))
    reason = f"commit {commit[:12]} lowered it: {subject}"
    lifted = blocks.without_followed(after.versions)
    return lifted.with_commit_that_lowers(versions, commit=commit, reason=reason) if versions else lifted


def _lock_of(site: Site, commit: str, path: str) -> LockFile:
    try:
        return LockFile.parse(site.git.data(commit, path) or b"")
    except InvalidLockError:
        return EMPTY
