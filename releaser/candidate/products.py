"""Products: what a build writes beside its source. They are part of the release, and go live with it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from releaser.releases.release import BUILT

_LEFT_OUT = {".git", "__pycache__", "node_modules"}

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


def keep_products(tree: Path, before: Files, tracked: frozenset[str], release: Path) -> list[str]:
    """Copy what is new or changed in a tree, and not in git, to a release; return the paths. Raises OSError."""
    after = list_files(tree)
    products = [path for path in after if before.get(path) != after[path] and path.as_posix() not in tracked]
    for path in products:
        target = release / BUILT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(tree / path, target, follow_symlinks=False)
    return [path.as_posix() for path in products]
