"""A work tree at a commit, with its own repository: programs that run in it change nothing in the site's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from releaser.checkout.repository import Repository
from releaser.site.site import Site

_LEFT_OUT = ("objects", "hooks", "worktrees", "config.worktree", "index", "*.lock", "FETCH_HEAD", "ORIG_HEAD")


def make_tree(site: Site, source: Repository, directory: Path, commit: str, *, mark: str) -> Repository:
    """Make a work tree at a commit of the repository `source`, on the site's branch. Raises ToolError and OSError.

    Not `git worktree add`: that registers the tree in the person's repository, and its `.git` is a file that names the
    live one. Objects are hard links where the file system allows it: git never writes into one.
    """
    repository = copy_repository(site, source, directory, mark=mark)
    repository.run("checkout", "--quiet", "--force", "-B", site.settings.site.branch, commit, "--")
    return repository


def copy_repository(site: Site, source: Repository, directory: Path, *, mark: str) -> Repository:
    """Copy a repository to `directory/.git`, without a work tree, and return it. Raises ToolError and OSError."""
    place, copy = source.directories[1], directory / ".git"
    shutil.copytree(place, copy, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    _link_files(place / "objects", copy / "objects")
    if (config := source.directories[0] / "config.worktree").is_file():
        shutil.copyfile(config, copy / "config.worktree")
    repository = Repository(site, directory, mark=mark)
    if "core.worktree" in source.config:
        repository.ask("config", "--worktree", "--replace-all", "core.worktree", "..")  # the strongest of all files
    if source.config.get("core.bare", ("false",))[-1] != "false":  # as in a worktree of a bare repository
        repository.ask("config", "core.bare", "false")
    for key, values in source.config.items():
        if key.startswith("remote.") and key.endswith("url") and values[-1].startswith("."):  # relative to the checkout
            repository.ask("config", key, os.path.normpath(source.top / values[-1]))
    return repository


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
