"""The committed lock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import refuse

if TYPE_CHECKING:
    from releaser.locks.lock import LockFile
    from releaser.site.site import Site


def committed_lock(site: Site) -> LockFile:
    """Return the lock in the staged commit, or else in the checked-out commit, not in the work tree.

    Without git, return the lock in the directory. Raises PreflightError and ToolError.
    """
    from releaser.locks.lock import InvalidLockError, LockFile

    commit, lock = site.tree.commit, site.project.lock
    try:
        return LockFile.parse(site.git.file_at(commit, lock) or b"")
    except InvalidLockError as error:
        path = os.path.relpath(lock, site.git.layout.top)
        refuse(
            "lock-unreadable",
            f"{path} of commit {commit[:12]} is not a lock: {error}",
            "Run `uv lock` on your own machine, then commit and push the lock.",
        )
