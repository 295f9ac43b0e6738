"""Whom a run trusts: who could have written what decides what runs, asked before any program of a project starts.

Trusted are root and this user; on a site that a group shares, the members of that group, too.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from releaser.errors import Problem
from releaser.site.paths import Paths

_OF_GIT = ("config", "config.worktree", "HEAD", "commondir", "hooks", "info", "objects", "refs", "packed-refs", "index")
_OF_RELEASE = ("manifest.json", "state.json", "uv.lock", "built")


class Trust(msgspec.Struct, frozen=True):
    """Whom a run of `user` trusts at a site. `group` is the group that shares it, None without; `owner` owns it."""

    user: int
    owner: int
    group: int | None = None

    def trusts_user(self, user: int) -> bool:
        """Return True for root, this user, and whoever is in the group of a site that is shared."""
        return user in (0, self.user) or (
            self.group is not None and (user == self.owner or is_member(user, self.group))
        )

    def trusts_group(self, group: int) -> bool:
        """Return True for the group of the site, and for one that this user has alone."""
        return group == self.group or is_private_group(group, self.user)


def find_trust(project: Path, unix_group: int | None = None) -> Trust:
    """Return whom this user trusts at a project. Root shares with nobody; nor does who is not in the group.

    `unix_group` is the group that is set for the site in place of that of the project's directory.
    """
    status, user = project.stat(), os.geteuid()
    shares = shares_with_group(project) and user != 0 and status.st_gid in (os.getegid(), *os.getgroups())
    group = unix_group if shares and unix_group is not None else status.st_gid
    return Trust(user, status.st_uid, group if shares else None)


def shares_with_group(project: Path) -> bool:
    """Return True if a group shares the project: it may write its directory, and this user is not alone in it."""
    status = project.stat()
    return bool(status.st_mode & stat.S_IWGRP) and not is_private_group(status.st_gid, os.geteuid())


@functools.cache
def is_private_group(gid: int, user: int) -> bool:
    """Return True for a group in which nobody is but a user, or root. One that is not known may have other members.

    Directory services do not list their users: such a user's own group is known by its name alone.
    """
    try:
        group, own = grp.getgrgid(gid), pwd.getpwuid(user)
    except KeyError:
        return False
    everybody = pwd.getpwall()
    members = {*group.gr_mem, *(each.pw_name for each in everybody if each.pw_gid == gid)}
    return members <= {own.pw_name, "root"} and (own in everybody or group.gr_name == own.pw_name)


@functools.cache
def is_member(user: int, gid: int) -> bool:
    """Return True if a user is in a group."""
    try:
        own = pwd.getpwuid(user)
    except KeyError:
        return False
    return gid in os.getgrouplist(own.pw_name, own.pw_gid)


def find_strangers(trust: Trust, paths: Iterable[Path], above: Iterable[Path] = ()) -> list[Problem]:
    """Return a problem for each path that somebody else could have written; it may be a link, which counts as well.

    Directories `above` may be open to everybody if they are sticky and of root, as `/tmp` is.
    """
    places, problems = [*paths], []
    for path in dict.fromkeys((*above, *places)):
        try:
            status = path.lstat()
            target = path.stat() if stat.S_ISLNK(status.st_mode) else status
        except OSError:  # missing, a link that leads nowhere, or closed: nothing is read or run from there
            continue
        is_link, mode = stat.S_ISLNK(target.st_mode), stat.S_IMODE(target.st_mode)
        is_sticky = mode & stat.S_ISVTX and target.st_uid == 0 and path not in places
        by_group = mode & stat.S_IWGRP and not trust.trusts_group(target.st_gid)
        if not trust.trusts_user(status.st_uid) or not trust.trusts_user(target.st_uid):
            stranger = target.st_uid if trust.trusts_user(status.st_uid) else status.st_uid
            problems.append(_explain_owner(trust, path, stranger))
        elif (mode & stat.S_IWOTH or by_group) and not is_sticky and not is_link:
            message = f"Other users of this host may write `{path}`, which decides what runs here."
            advice = f"Look at it, then run `chmod go-w {path}`."
            if mode & stat.S_ISVTX:
                advice = "Move the project into a directory of its own."
            problems.append(Problem("writable-by-others", message, advice))
    return problems


def find_intruders(trust: Trust, paths: Paths, *named: Path) -> list[Problem]:
    """Return a problem for each place of a site, or `named` by its settings, that somebody else could have written."""
    above = list_above(paths.project, paths.top, paths.state, paths.link, *named)
    return find_strangers(trust, [*list_project_places(paths), *list_state_places(paths), *named], above)


def _explain_owner(trust: Trust, path: Path, stranger: int) -> Problem:
    if stranger == trust.owner:
        advice = f"Run releaser as that user: `sudo -u '#{stranger}' releaser …`."
        return Problem("other-user", f"`{path}` belongs to user {stranger}.", advice)
    message = f"`{path}` belongs to user {stranger}, but decides what runs here."
    return Problem("of-another-user", message, f"Look at `ls -ld {path}`, then `chown` it, or move it away.")


def list_above(*places: Path) -> list[Path]:
    """Return every directory above places, and above what they lead to, each once."""
    return [*dict.fromkeys(each for place in places for each in (*place.parents, *place.resolve().parents))]


def list_project_places(paths: Paths) -> Iterator[Path]:
    """Yield what decides what runs, as far as it is known without a look into any file, but for `.git` itself."""
    yield from (paths.outer, paths.project, paths.top, paths.dotenv, paths.pyproject, paths.lockfile)
    for directory in find_git_directories(paths.top):
        yield directory
        yield from (directory / name for name in _OF_GIT)
        for name in ("hooks", "info"):
            yield from _list(directory / name)


def find_git_directories(top: Path) -> list[Path]:
    """Return `.git`, and, of a worktree or a submodule, the directories that its files name."""
    places = [top / ".git"]
    for name, prefix in ((places[0], "gitdir: "), ("commondir", "")):
        path = places[-1] / name
        if path.is_file() and path.stat().st_size < 4096:
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            places.append(path.parent / text.removeprefix(prefix))
    return places


def list_state_places(paths: Paths) -> Iterator[Path]:
    """Yield the state directory with what is in it, and the venv that the link leads to with its programs."""
    yield paths.state
    yield from _list(paths.state)
    for release in _list(paths.releases):
        yield release
        yield from (release / name for name in _OF_RELEASE)
    if paths.link.is_symlink() or paths.link.is_dir():
        venv = Path(os.path.realpath(paths.link))
        yield from (paths.link, venv.parent, venv, venv / "pyvenv.cfg", venv / "lib", venv / "bin")
        yield from _list(venv / "bin")
        yield from venv.glob("lib/python*/site-packages")


def _list(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
