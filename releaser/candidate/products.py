"""Products: what a build writes beside its source. They are part of the release, and go live with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from releaser.candidate.shadow import LOG_DIRECTORIES
from releaser.checkout.products import copy_product, has_unknown_products, is_code
from releaser.releases.release import BUILT, Release, list_products
from releaser.site.site import Site
from releaser.system.files import remove_path

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


def find_changed(before: Files, after: Files) -> set[Path]:
    """Return the paths that are new, changed or gone."""
    return {path for path in before | after if before.get(path) != after.get(path)}


def is_data(tree: Path, name: Path, project: Path) -> bool:
    """Return True for a log or an SQLite database: a build that opens one has not made it.

    `name` and `project`, the directory whose logs they are, are paths in the tree.
    """
    place = name.relative_to(project) if name.is_relative_to(project) else name
    path, is_log = tree / name, ".log" in name.suffixes or place.parts[0] in LOG_DIRECTORIES
    if is_log or path.suffix in _DATABASES or path.name.endswith(_JOURNALS):
        return True
    return path.is_file() and not path.is_symlink() and path.open("rb").read(len(_SQLITE)) == _SQLITE


def is_site_file(site: Site, deployed: Release | None, path: Path, *, by_installer: bool) -> bool:
    """Return True if an untracked file of the live checkout is no product of the release whose code is there.

    Where those are not known, they are the code and metadata that uv writes: it did so before, and replaced them; and
    extension modules, which no person writes.
    """
    release = deployed.directory if deployed is not None else None
    is_old = (
        (by_installer or path.suffix == ".so") and is_code(path) and (release is None or has_unknown_products(release))
    )
    is_product = is_old or path in list_products(release)
    return os.path.lexists(site.paths.top / path) and not is_product


def keep_products(tree: Path, paths: Iterable[Path], release: Path) -> tuple[str, ...]:
    """Copy what a build has written in a tree to a release, and return the paths. Raises OSError."""
    products = [path for path in sorted(paths) if os.path.lexists(tree / path)]
    for path in products:
        copy_product(tree, release / BUILT, path)
    return tuple(path.as_posix() for path in products)


def put_back(site: Site, tree: Path, before: Files, paths: Iterable[Path]) -> None:
    """Put files of the site that a build has changed into a tree again, so that they are tested. Raises OSError."""
    for path in paths:
        remove_path(tree / path)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            copy_product(site.paths.top, tree, path) if path in before else None
