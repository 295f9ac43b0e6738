"""A work tree at a commit, with its own repository: programs that run in it change nothing in the site's."""

from __future__ import annotations

import os
import shutil
import stat
from fnmatch import fnmatch
from pathlib import Path

from releaser.checkout.repository import Repository
from releaser.errors import refuse
from releaser.site.site import Site
from releaser.system.files import replace_file

#: What is large, and never written again: of git, git-lfs and git-annex.
_LINKED = ("objects", "lfs/objects", "annex/objects")
_LEFT_OUT = {*_LINKED, "hooks", "worktrees", "modules", "config.worktree", "index", "FETCH_HEAD", "ORIG_HEAD"}
_WRITTEN = ("config", "logs", "packed-refs", "refs")
#: The directories of a bare repository, git-lfs, git-annex and git-crypt; others in it may be worktrees.
_OWN = {"refs", "info", "logs", "reftable", "lfs", "annex", "git-crypt"}


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
    _copy_readable_files(place, copy, is_around=site.paths.top.resolve().is_relative_to(place.resolve()))
    if linked := [name for name in _WRITTEN if (copy / name).is_symlink()]:  # as git-new-workdir makes them
        message = f"`{place / linked[0]}` is a link, through which a copy of the repository would change it."
        raise refuse("linked-repository", message, "Replace the checkout by a clone, or by one of `git worktree add`.")
    for name in _LINKED:
        if not os.path.lexists(copy / name):  # by a link above it
            _link_files(place / name, copy / name)
    _copy_alternates(place / "objects", copy / "objects")
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


def _copy_readable_files(source: Path, target: Path, *, is_around: bool) -> None:
    """Copy a directory of git without objects, pipes, sockets and files that are not for this user, so not for its git.

    With `is_around`, there are worktrees in it, and the state: then its own directories alone. Raises OSError.
    """
    for place, names, files in os.walk(source):
        directory = target / Path(place).relative_to(source)
        directory.mkdir(parents=True, exist_ok=True)
        for name in (*names, *files):
            path = os.path.join(place, name)
            if os.path.relpath(path, source) in _LEFT_OUT or fnmatch(name, "*.lock"):
                continue
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and os.access(path, os.R_OK)):
                shutil.copy2(path, directory / name, follow_symlinks=False)
        names[:] = [name for name in names if os.path.relpath(os.path.join(place, name), source) not in _LEFT_OUT]
        if is_around and place == str(source):
            names[:] = [name for name in names if name in _OWN]


def _copy_alternates(source: Path, target: Path) -> None:
    """Put the file that names further directories of objects into a copy; relative paths begin at the first one."""
    path = target / "info" / "alternates"
    if path.is_file():
        lines = path.read_bytes().splitlines()
        place = os.fsencode(os.path.realpath(source))
        replace_file(path, b"".join(_complete(line, place) + b"\n" for line in lines), mode=0o644)


def _complete(line: bytes, place: bytes) -> bytes:
    is_quoted = line.startswith(b'"')
    path = line[is_quoted:]
    return line if path[:1] in b"/#" else line[:is_quoted] + place + b"/" + path


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
