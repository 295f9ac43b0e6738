"""The shadow: a tree at the candidate's commit with a copy of what surrounds it, in which it is built and tested.

It stands for the outer directory, or for the top of the repository if that is higher. Nothing that runs in it changes
the site's files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from releaser.checkout.repository import open_repository
from releaser.checkout.tree import make_tree
from releaser.site.site import Site
from releaser.system.files import remove_path

MOST_FILES, MOST_BYTES = 2000, 100 << 20  # of an entry that is copied


class Shadow(msgspec.Struct, frozen=True):
    """The directories of a shadow: `root` stands for `original`, `project` for the site's project."""

    root: Path
    original: Path
    project: Path

    def map_path(self, path: Path) -> Path:
        """Return the path in the shadow of a path of the site."""
        return self.root / path.relative_to(self.original)


@contextlib.contextmanager
def make_shadow(site: Site, directory: Path, commit: str, *, mark: str) -> Iterator[Shadow]:
    """Yield a shadow with a tree at a commit, in `directory`, which is deleted at the end.

    It is complete enough to resolve a lock: the entries of the outer directory are links. `fill_shadow` copies them.
    Raises ToolError and OSError.
    """
    remove_path(directory)
    directory.mkdir(mode=0o700, parents=True)
    try:
        top, original = site.paths.top, _find_original(site)
        shadow = Shadow(directory, original, directory / site.paths.project.relative_to(original))
        tree = shadow.map_path(top)
        tree.mkdir(parents=True, exist_ok=True)
        make_tree(site, tree, commit, mark=mark)
        for entry in _list_surroundings(site):
            if not os.path.lexists(shadow.map_path(entry)):
                os.symlink(entry, shadow.map_path(entry))
        yield shadow
    finally:
        remove_path(directory)


def _find_original(site: Site) -> Path:
    """Return the outer directory or the top of the repository, whichever is higher; never `/`."""
    outer, top = site.paths.outer, site.paths.top
    original = top if outer.is_relative_to(top) else outer
    return site.paths.project if original == Path("/") else original


def _list_surroundings(site: Site) -> list[Path]:
    """Return the entries of the outer directory that are not in git: all, or those around a project of a repository."""
    original = _find_original(site)
    if original == site.paths.project:
        return []
    entries = sorted(site.paths.outer.iterdir()) if original == site.paths.outer else []
    own = {site.paths.top, site.paths.project}
    own.update(path for path in entries if site.paths.state.is_relative_to(path) or path.name == ".git")
    return [path for path in entries if path not in own]


def fill_shadow(site: Site, shadow: Shadow, venv: Path) -> list[Path]:
    """Copy what surrounds the tree, and the untracked files in it, and let its `.venv` point to a venv.

    Returns the entries that are too large to copy; tests do not see them. Raises OSError.
    """
    left_out = []
    tree = shadow.map_path(site.paths.top)
    for entry in _list_surroundings(site):
        target = shadow.map_path(entry)
        if target.is_symlink() and os.readlink(target) == os.fspath(entry):
            target.unlink()
        if not os.path.lexists(target) and not _copy_entry(entry, target):
            left_out.append(entry)
    repository = open_repository(site)
    for name in repository.untracked_entries():
        entry, target = site.paths.top / name, tree / name
        if entry == site.paths.link or site.paths.state.is_relative_to(entry) or os.path.lexists(target):
            continue
        if target.parent.is_dir() and not _copy_entry(entry, target):
            left_out.append(entry)
    link = shadow.map_path(site.paths.link) if site.paths.link.is_relative_to(shadow.original) else None
    if link is not None and link.parent.is_dir() and not os.path.lexists(link):
        os.symlink(venv, link)
    return left_out


def _copy_entry(source: Path, target: Path) -> bool:
    """Copy a file, link or directory; False, without a copy, if it is too large or no plain file.

    Files that a live site deletes meanwhile, or that this user may not read, are left out.
    """
    if source.is_dir() and not source.is_symlink():
        if not _is_small(source):
            return False
        with contextlib.suppress(shutil.Error):
            shutil.copytree(source, target, symlinks=True, ignore=_ignore_special, copy_function=_copy_file)
        return True
    if not source.is_symlink() and not (source.is_file() and source.stat().st_size <= MOST_BYTES):
        return False
    _copy_file(source, target)
    return True


def _copy_file(source: str | Path, target: str | Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):
        shutil.copy2(source, target, follow_symlinks=False)


def _ignore_special(place: str, names: list[str]) -> list[str]:
    def is_plain(path: str) -> bool:
        is_readable = os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK)
        return os.path.islink(path) or os.path.isfile(path) or is_readable

    return [name for name in names if not is_plain(os.path.join(place, name))]


def _is_small(directory: Path) -> bool:
    files = size = 0
    for place, _, names in os.walk(directory):
        for name in names:
            files += 1
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(place, name)).st_size
        if files > MOST_FILES or size > MOST_BYTES:
            return False
    return True
