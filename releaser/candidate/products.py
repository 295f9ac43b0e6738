"""Products: what a build writes beside its source. They are part of the release, and go live with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from releaser.releases.release import BUILT

_LEFT_OUT = {".git", "__pycache__", "node_modules"}
_DATABASES, _JOURNALS = (".db", ".sqlite", ".sqlite3"), ("-wal", "-shm", "-journal")
_SQLITE = b"SQLite format 3"

Files = dict[Path, tuple[int, ...]]


def list_files(tree: Path) -> Files:
    """Return mode, size and times of each file of a tree, by its relative path; without byte code."""
    files: Files = {}
    for place, directories, names in os.walk(tree):
        directories[:] = [name for name in directories if name not in _LEFT_OUT]
        links = [name for name in directories if os.path.islink(os.path.join(place, name))]
        for name in (*names, *links):
            path = Path(place, name)
            status = path.lstat()
            files[path.relative_to(tree)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return files


def _is_data(path: Path) -> bool:
    """Return True for a log or an SQLite database: a build that opens one has not made it."""
    if ".log" in path.suffixes or path.suffix in _DATABASES or path.name.endswith(_JOURNALS):
        return True
    return path.is_file() and not path.is_symlink() and path.open("rb").read(len(_SQLITE)) == _SQLITE


def keep_products(tree: Path, before: Files, tracked: frozenset[str], release: Path) -> list[str]:
    """Copy what is new or changed in a tree, and neither in git nor data; return the paths. Raises OSError."""
    after = list_files(tree)
    changed = [path for path in after if before.get(path) != after[path] and path.as_posix() not in tracked]
    products = [path for path in changed if not _is_data(tree / path)]
    for path in products:
        target = release / BUILT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / path, target, follow_symlinks=False)
    return [path.as_posix() for path in products]
