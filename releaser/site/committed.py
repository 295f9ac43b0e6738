"""The committed lock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import refuse
from releaser.locks.lock import InvalidLockError, LockFile

if TYPE_CHECKING:
    from releaser.site.site import Site


def committed_lock(site: Site) -> LockFile:
    """Return the lock of the commit that is staged, or else checked out, whatever lies there.

    Without git, it is what lies there. Raises PreflightError and ToolError.
    """
    commit, path = site.tree.commit, os.path.relpath(site.project.lock, site.git.layout.top)
    try:
        if not site.project.has_git:
            return LockFile.read(site.project.lock)
        return LockFile.parse(site.git.data(commit, path) or b"")
    except InvalidLockError as error:
        refuse(
            "lock-unreadable",
            f"{path} of commit {commit[:12]} is not a lock: {error}",
            "Run `uv lock` where you develop, and commit that.",
        )
