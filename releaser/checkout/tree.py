"""A work tree at a commit, with its own repository: programs that run in it change nothing in the site's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from releaser.checkout.repository import Repository, open_repository
from releaser.site.site import Site

_LEFT_OUT = ("objects", "hooks", "worktrees", "index", "*.lock", "FETCH_HEAD", "ORIG_HEAD")


def make_tree(site: Site, directory: Path, commit: str, *, mark: str) -> Repository:
    """Make a work tree at a commit in `directory`, on the site's branch. Raises ToolError and OSError.

    Not `git worktree add`: that registers the tree in the person's repository, and its `.git` is a file that names the
    live one. Objects are hard links where the file system allows it: git never writes into one.
    """
    copy_repository(site, directory)
    repository = Repository(site, directory, mark=mark)
    repository.ask("config", "--unset", "core.worktree")
    repository.ask("config", "core.bare", "false")  # as in a worktree of a bare repository
    repository.run("checkout", "--quiet", "--force", "-B", site.settings.site.branch, commit, "--")
    return repository


def copy_repository(site: Site, directory: Path) -> None:
    """Copy the repository of the site to `directory/.git`. Raises ToolError and OSError."""
    source = site.paths.top / open_repository(site).read("rev-parse", "--git-common-dir")
    target = directory / ".git"
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    _link_files(source / "objects", target / "objects")


def _link_files(source: Path, target: Path) -> None:
    for place, _, files in os.walk(source):
        directory = target / Path(place).relative_to(source)
        directory.mkdir(parents=True, exist_ok=True)
        for name in files:
            if name.startswith("tmp_"):
                continue
            try:
                os.link(os.path.join(place, name), directory / name)
            except OSError:
                shutil.copy2(os.path.join(place, name), directory / name)
