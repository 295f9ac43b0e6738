"""Whom a run trusts: who could have written what decides what runs, asked before any program of a project starts.

Trusted are root and this user; on a site that a group shares, the members of that group, too.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import re
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec

from releaser.errors import Problem
from releaser.site.paths import Paths
from releaser.site.project import get_table
from releaser.system.files import read_regular_file, walk
from releaser.system.text import word

_OF_GIT = (
    *("HEAD", "commondir", "config", "config.worktree", "index", "packed-refs", "shallow"),
    *("hooks", "info", "objects", "refs"),
)
_OF_RELEASE = ("manifest.json", "state.json", "uv.lock", "built")
#: What uv and pytest look for in every directory above a project, too.
_READ_ABOVE = (
    *("uv.toml", "pyproject.toml", ".python-version", ".python-versions"),
    *("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "conftest.py"),
)
_OF_CONFIG = ("git/config", "uv/uv.toml")
_OF_ENVIRONMENT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "UV_CONFIG_FILE", "UV_PYTHON_INSTALL_DIR")
#: Files that the build of a source directory reads or runs, and the endings of packages in a flat index.
_OF_SOURCE, _PACKAGES = ("pyproject.toml", "setup.py", "setup.cfg", "src"), (".whl", ".tar.gz", ".zip")
_OF_UV, _INDEXES = ("UV_CONFIG_FILE", "UV_PYTHON_INSTALL_DIR"), ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL")
_NAME = re.compile(r"^[\w.-]+=")  # of an index, before its URL
_OBJECTS = re.compile(r"/objects/([0-9a-f]{2}|pack)$")
_ACCESS_LIST = "system.posix_acl_access"
_NAMED_USER, _GROUP, _NAMED_GROUP, _MAY_WRITE = 2, 4, 8, 2  # of acl(5)
_ANYBODY = -1  # no user has this number
_MOST_LINKS = 40  # on the way to a path, as on Linux
_LOCKED_SOURCE = re.compile(r"^source = \{ (?:registry|directory|editable|virtual|path) = \"([^\"]+)\"", re.MULTILINE)
_INCLUDED = re.compile(r"(?:^|\])[ \t]*path[ \t]*=[ \t]*\"?([^\"\n#;]+)", re.IGNORECASE | re.MULTILINE)


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
        """Return True for the group of the site, and for one that a trusted user has alone."""
        if group == self.group or is_private_group(group, self.user):
            return True
        return any(self.trusts_user(user) and is_private_group(group, user) for user in _list_users(group))

    def trusts(self, path: Path) -> bool:
        """Return True if nobody else could have written a file, a link or what is in a directory. Raises OSError."""
        status = path.lstat()
        return self.trusts_user(status.st_uid) and not self.may_be_written(path, status)

    def may_be_written(self, path: Path | str, status: os.stat_result) -> bool:
        """Return True if its mode or its access list lets somebody else write; that of a link is no matter."""
        if stat.S_ISLNK(status.st_mode) or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False  # the bits of the group bound an access list, too
        if status.st_mode & stat.S_IWOTH:
            return True
        entries = [(_GROUP, status.st_gid)]
        with contextlib.suppress(OSError):  # most have none
            listed = struct.iter_unpack("<HHI", os.getxattr(path, _ACCESS_LIST)[4:])
            entries = [(tag, number) for tag, may, number in listed if may & _MAY_WRITE]
            entries = [(tag, status.st_gid if tag == _GROUP else number) for tag, number in entries]
        by_user = any(tag == _NAMED_USER and not self.trusts_user(number) for tag, number in entries)
        groups = {number for tag, number in entries if tag in (_GROUP, _NAMED_GROUP)}
        return by_user or not all(map(self.trusts_group, groups))


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
def _list_users(gid: int) -> list[int]:
    """Return the users whose first group this is."""
    return [each.pw_uid for each in pwd.getpwall() if each.pw_gid == gid]


@functools.cache
def is_member(user: int, gid: int) -> bool:
    """Return True if a user is in a group."""
    try:
        own = pwd.getpwuid(user)
    except KeyError:
        return False
    return gid in os.getgrouplist(own.pw_name, own.pw_gid)


def find_closed(user: int, path: Path) -> str:
    """Return what keeps a user from starting a program: itself, or a directory above it or above what it links to.

    Empty if nothing does, as far as modes say it; what does not exist, or has a list of its own, keeps nobody away.
    """
    real = Path(os.path.realpath(path))
    for place in dict.fromkeys([*reversed(path.parents), *reversed(real.parents), real]):
        with contextlib.suppress(OSError):
            status, names = place.stat(), os.listxattr(place)
            group = stat.S_IXGRP if is_member(user, status.st_gid) else stat.S_IXOTH
            if not status.st_mode & (stat.S_IXUSR if status.st_uid == user else group) and _ACCESS_LIST not in names:
                return str(place)
    return ""


def find_strangers(trust: Trust, paths: Iterable[Path | str]) -> list[Problem]:
    """Return a problem for each absolute path that somebody else could have written, and for whatever leads there.

    These are the directories above, links, and the directories above what those lead to. Directories above may be open
    to everybody if they are sticky and of root, as `/tmp` is.
    """
    met: dict[str, tuple[os.stat_result | None, str]] = {}
    known: dict[str, str] = {}
    places, problems = {_follow(os.fspath(path), met, known) for path in paths}, []
    named: set[tuple[str, int]] = set()
    for path, (status, _) in met.items():  # what lies above comes first
        if status is None:  # missing or closed: nothing is read or run from there
            continue
        is_sticky = status.st_mode & stat.S_ISVTX and status.st_uid == 0 and path not in places
        is_strange = not trust.trusts_user(status.st_uid)
        if not is_strange and (not trust.may_be_written(path, status) or is_sticky):
            continue
        key = status.st_uid if is_strange else _ANYBODY
        if not any((str(above), key) in named for above in Path(path).parents):
            problems.append(_explain_owner(trust, path, key) if is_strange else _explain_mode(path, status.st_mode))
        if is_strange or "/.git" in path:  # the advice is for all that lies below, too
            named.add((path, key))
    return problems


def _follow(path: str, met: dict[str, tuple[os.stat_result | None, str]], known: dict[str, str]) -> str:
    """Return where a path leads; `met` gets the status of all that is on the way, and the target of each link."""
    if path in known:
        return known[path]
    parent, _, last = path.rpartition("/")
    place, names, links = _follow(parent, met, known) if parent else "/", [last], 0
    while names:
        if (name := names.pop()) == "..":
            place = os.path.dirname(place)
            continue
        beside, place = place, os.path.join(place, name) if name not in ("", ".") else place
        if place not in met:
            met[place] = _look_at(place)
        if (target := met[place][1]) and links < _MOST_LINKS:
            links += 1
            place = "/" if target.startswith("/") else beside
            names += target.split("/")[::-1]
    known[path] = place
    return place


def _look_at(path: str) -> tuple[os.stat_result | None, str]:
    try:
        status = os.lstat(path)
        return status, os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
    except (OSError, ValueError):  # a path that another file names may have any character
        return None, ""


def find_intruders(trust: Trust, paths: Paths, *named: Path) -> list[Problem]:
    """Return a problem for each place of a site, or `named` by its settings, that somebody else could have written."""
    return find_strangers(trust, [*list_project_places(paths), *list_state_places(paths), *named])


def _explain_owner(trust: Trust, path: str, stranger: int) -> Problem:
    if stranger == trust.owner:
        advice = f"Run releaser as that user: `sudo -u '#{stranger}' releaser …`."
        return Problem("other-user", f"`{path}` belongs to user {stranger}.", advice)
    message = f"`{path}` belongs to user {stranger}, but decides what runs here."
    return Problem("of-another-user", message, f"Look at `ls -ld {word(path)}`, then `chown -R` it, or move it away.")


def _explain_mode(path: str, mode: int) -> Problem:
    message = f"Other users of this host may write `{path}`, which decides what runs here."
    options = "-R go-w" if "/.git" in path else "go-w"
    advice = f"Look at it, then run `chmod {options} {word(path)}`."
    if mode & stat.S_ISVTX:
        advice = "Move the project into a directory of its own."
    return Problem("writable-by-others", message, advice)


def list_project_places(paths: Paths) -> Iterator[Path | str]:
    """Yield what decides what runs: files of the project, of git and of uv, and what those of git name."""
    yield from (paths.outer, paths.project, paths.top, paths.dotenv, paths.lockfile)
    for directory in {*paths.lockfile.parents, *paths.lockfile.resolve().parents}:
        yield from (directory / name for name in _READ_ABOVE)
    configs: list[Path] = []
    for directory in find_git_directories(paths.top):
        configs += (directory / "config", directory / "config.worktree")
        yield from _list_repository(directory)
    yield from _list_included(configs)


def list_user_places(environ: Mapping[str, str]) -> list[Path]:
    """Return the files outside of the project in which git and uv find what to run; they need not exist."""
    home = environ.get("HOME") or os.path.expanduser("~")
    configs = [f"{home}/.config", environ.get("XDG_CONFIG_HOME", ""), *environ.get("XDG_CONFIG_DIRS", "").split(":")]
    shares = [f"{home}/.local/share", environ.get("XDG_DATA_HOME", "")]
    places = [Path(home, ".gitconfig")] if home.startswith("/") else []
    places += [Path(share, "uv/python") for share in shares if share.startswith("/")]
    places += [Path(config, name) for config in configs if config.startswith("/") for name in _OF_CONFIG]
    places += [Path(environ[name]) for name in _OF_ENVIRONMENT if environ.get(name, "").startswith("/")]
    return [*_list_included(places)]


def _list_included(configs: Iterable[Path]) -> Iterator[Path]:
    """Yield files of git's configuration, and those that they include."""
    found = [*configs]
    for config in found:
        yield config
        for name in _INCLUDED.findall(read_small_file(config)):
            included = config.parent / _expand(name.strip())
            found += [included] if included not in found else []


def list_sources(paths: Paths, content: Mapping[str, Any], variables: Mapping[str, str] = {}) -> Iterator[Path]:
    """Yield the places outside of the repository that pyproject.toml, uv.lock and uv's variables name.

    They are sources of packages, the directory of uv's Pythons, and the file of its settings. A build gets no untracked
    file of the repository that others could have written.
    """
    sources, links = get_table(content, "tool", "uv", "sources"), get_table(content, "tool", "uv", "find-links")
    tables = [get_table(content, "tool", "uv", "index"), *(sources.values() if isinstance(sources, dict) else [])]
    items = [item for table in tables for item in (table if isinstance(table, list) else [table])]
    names = [item.get(key) for item in items if isinstance(item, dict) for key in ("url", "path")]
    names += links if isinstance(links, list) else []
    names += variables.get("UV_FIND_LINKS", "").split(",")
    names += [_NAME.sub("", index) for name in _INDEXES for index in variables.get(name, "").split()]
    places = [paths.project / _to_path(name) for name in names if isinstance(name, str)]
    locked = _LOCKED_SOURCE.findall(read_small_file(paths.lockfile))
    places += [paths.lockfile.parent / _to_path(name) for name in locked]
    yield from (paths.project / variables[name] for name in _OF_UV if variables.get(name))
    for place in dict.fromkeys(Path(os.path.normpath(place)) for place in places):
        if not place.is_relative_to(paths.top):
            yield from (place, *(place / name for name in _OF_SOURCE))
            yield from (path for path in _list(place) if path.name.endswith(_PACKAGES))


def _to_path(name: str) -> str:
    """Return the path that a source names; empty for a URL of the network."""
    path = unquote(name.removeprefix("file://")) if name.startswith("file://") else name
    return "" if "://" in path else path


def _expand(name: str) -> str:
    with contextlib.suppress(ValueError):
        return os.path.expanduser(name)
    return name


def list_pythons(paths: Paths, *names: str) -> Iterator[Path]:
    """Yield the Pythons, or directories of one, that settings and `.python-version` name by a path."""
    for directory in (paths.project, *paths.project.parents):  # where uv looks, too
        for file in (".python-version", ".python-versions"):
            names += tuple(read_small_file(directory / file).split())
    for path in (paths.project / _expand(name) for name in names if "/" in name):
        yield from (path, path / "bin/python")


def _list_repository(directory: Path) -> Iterator[Path | str]:
    """Yield the directories and files of a repository, but for its objects: those decide by where they lie."""
    stores = [directory / "objects"]
    for store in stores:
        for line in read_small_file(store / "info/alternates").splitlines():
            stores += [other] if (other := store / line) not in stores else []
    yield directory
    for top in (*(directory / name for name in _OF_GIT), *stores[1:]):
        yield top
        for place, _, files in walk(top):
            yield place
            if not _OBJECTS.search(place):
                yield from (os.path.join(place, name) for name in files)


def find_git_directories(top: Path) -> list[Path]:
    """Return `.git`, and, of a worktree or a submodule, the directories that its files name."""
    places = [top / ".git"]
    for name, prefix in ((places[0], "gitdir: "), ("commondir", "")):
        path = places[-1] / name
        if text := read_small_file(path).strip():
            places.append(path.parent / text.removeprefix(prefix))
    return places


def list_state_places(paths: Paths) -> Iterator[Path]:
    """Yield the state directory with what is in it, and the venv that the link leads to with its programs."""
    yield paths.state
    yield from _list(paths.state)
    for release in _list(paths.releases):
        yield release
        yield from (release / name for name in _OF_RELEASE)
    if os.path.lexists(paths.link):
        venv = Path(os.path.realpath(paths.link))
        yield from (paths.link, venv.parent, venv, venv / "pyvenv.cfg", venv / "bin", *_list(venv / "bin"))
        for directory in venv.glob("lib*/python*/site-packages"):
            yield from (directory, *_list(directory))


def _list(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except (OSError, ValueError):
        return []


def read_small_file(path: Path) -> str:
    """Return the text of a small file; empty if it is none, or cannot be read."""
    with contextlib.suppress(OSError, ValueError):  # a path that another file names may have any character
        return (read_regular_file(Path(os.path.realpath(path))) or b"").decode(errors="surrogateescape")
    return ""
