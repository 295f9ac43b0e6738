"""Where a git repository keeps things, and the lock files that a dead git has left there."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.system.orphans import may_be_running

if TYPE_CHECKING:
    import os

_CLOCK_TICK = 0.1  # seconds; file times are those of the last tick of the kernel
_OF_ONE_WORK_TREE = frozenset({"index.lock", "HEAD.lock", "ORIG_HEAD.lock"})
# Written by git while an operation waits for somebody; see gitrepository-layout(5) and git's own status code.
_IN_PROGRESS = {
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisection",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things lie: the top of the work tree and the repository's own directory."""

    top: Path
    git_directory: Path
    common_directory: Path

    @property
    def places(self) -> frozenset[Path]:
        """The directories of the repository, and of each of its work trees (gitrepository-layout(5), `worktrees`)."""
        found = {self.top, self.git_directory, self.common_directory}
        if self.common_directory.name == ".git":
            found.add(self.common_directory.parent)
        for file in self.common_directory.glob("worktrees/*/gitdir"):
            with contextlib.suppress(OSError):
                link = file.parent / file.read_text(encoding="utf-8").strip()
                found.add(link.parent.resolve())
        return frozenset(found)

    def forget_work_tree(self, place: Path) -> None:
        """Delete what the repository knows of a work tree that was at `place`, and of no other. Raises OSError.

        `git worktree prune` would also forget those of people whose disk is not mounted at the moment.
        """
        if self._doomed.exists():
            shutil.rmtree(self._doomed)
        for file in self.common_directory.glob("worktrees/*/gitdir"):
            with contextlib.suppress(FileNotFoundError):
                text = file.read_text(encoding="utf-8", errors="surrogateescape").strip("\n")
                # A power cut can leave the file empty. git names the directory as the tree, with `-` for a first dot.
                named = file.parent.name.lstrip("-").startswith(place.name.lstrip("."))
                if Path(text) == place / ".git" or (not text and named):
                    # Renamed first: of a half-deleted one, git fsck would say that its HEAD points at nothing.
                    file.parent.rename(self._doomed)
                    shutil.rmtree(self._doomed)

    @property
    def _doomed(self) -> Path:
        """What is left of the record of a work tree, on its way out."""
        return self.common_directory / "releaser-work-tree-to-delete"

    def in_progress(self) -> str | None:
        """Name the operation that waits for somebody to finish it, if there is one."""
        for name, words in _IN_PROGRESS.items():
            if (self.git_directory / name).exists():
                return words
        return None

    def remove_locks(self, began: float, ended: float, *, index: bool) -> None:
        """Take away the lock files that were made between these times; that of the index only with `index`."""
        for lock, made in self._locks(began, ended).items():
            if index or lock.name != "index.lock":
                _remove_if_same(lock, made)

    def remove_dead_locks(self, since: float) -> bool:
        """Take away the lock files that a git has left which died with all around it: in a power cut, for one.

        They were made after `since` (seconds since 1970), when the run began that was cut off, and no git is at work
        here any more that may have made them. False if one stays: a git may be, or this user may not delete it.
        """
        found = self._locks(since, time.time())
        places = self.places if found else frozenset()
        owners = {made.st_uid for made in found.values()}
        alive = {owner for owner in owners if may_be_running("git", places, owner=owner)}
        gone = [made.st_uid not in alive and _remove_if_same(lock, made) for lock, made in found.items()]
        return all(gone)

    def _locks(self, began: float, ended: float) -> dict[Path, os.stat_result]:
        """Look at the lock files that were made between these times, but for those of another work tree alone."""
        found = set(self.git_directory.glob("*.lock"))
        for directory in {self.git_directory, self.common_directory}:  # refs of one work tree, and those of all
            found |= {*(directory / "refs").rglob("*.lock")}
        found |= {lock for lock in self.common_directory.glob("*.lock") if lock.name not in _OF_ONE_WORK_TREE}
        return {lock: made for lock in found if (made := _made(lock, began, ended)) is not None}


def _made(lock: Path, began: float, ended: float) -> os.stat_result | None:
    """Look at a lock file; None unless it was made between these times, in seconds since 1970."""
    with contextlib.suppress(OSError):
        made = lock.stat()
        if began - _CLOCK_TICK <= made.st_mtime <= ended:
            return made
    return None


def _remove_if_same(lock: Path, made: os.stat_result) -> bool:
    """Delete a lock file, unless that one has gone and there is another of its name; whether that one is gone."""
    try:
        now = lock.stat()
        if (now.st_ino, now.st_mtime_ns) == (made.st_ino, made.st_mtime_ns):
            lock.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
