"""Whose a project is, and who may work on it: its owner, root as the owner, and the group that the owner lets in."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.site.location import find_project
from releaser.system.frozen import Frozen
from releaser.system.trusted_files import way_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_UNMAPPED = 65534  # what the kernel tells of a user or group that a user namespace does not know
_NULL = os.makedev(1, 3)  # /dev/null, which is empty (null(4))
_OF_STATE = ("releases", "logs", "outbox", "run")  # directories in the state directory
_ALL = 4294967295  # ids, of a namespace that knows all


class Ownership(Frozen):
    """Who may work on the project in the directory `root`, and whose files are believed there."""

    root: str
    owner: int
    #: The group that the owner lets write the project; None if there is none.
    group: int | None

    @classmethod
    def of(cls, root: str | Path) -> Ownership:
        """Look at a project. Raises OSError."""
        status = os.stat(root)
        is_open = status.st_mode & stat.S_IWGRP and not is_unknown(status.st_gid, "gid")
        return cls(root=str(root), owner=status.st_uid, group=status.st_gid if is_open else None)

    @classmethod
    def of_missing(cls, root: Path) -> Ownership:
        """Look at what may be no project: what is not there would be this user's."""
        try:
            return cls.of(root)
        except OSError:
            return cls(root=str(root), owner=os.geteuid(), group=None)

    @property
    def is_mine(self) -> bool:
        """Whether this user is the owner."""
        return os.geteuid() == self.owner and not is_unknown(self.owner, "uid")

    def stranger(self, command: str = "...") -> Finding | None:
        """Say that this user is neither the owner nor in the group that the owner lets in."""
        if is_unknown(self.owner, "uid"):
            message = f"{self.root} belongs to a user whom this container (user namespace) does not know"
            return Finding(
                "owner-unknown",
                message,
                "Run releaser where its owner is known, such as outside of the container.",
            )
        if self.is_mine or (os.geteuid() and self.group in {os.getegid(), *os.getgroups()}):
            return None
        name = name_of(self.owner) or f"'#{self.owner}'"
        advice = f"Run it as that user: `sudo -u {name} releaser {command} --project {self.root}`."
        return Finding("project-foreign", self.whose(), advice)

    def whose(self) -> str:
        """Say whose the project is, and who this is."""
        return f"{self.root} belongs to another user ({_id(self.owner)}; this is {_id(os.geteuid())})"

    def foreign(self, path: str | Path) -> Finding | None:
        """Say that a file was made by somebody else, or is a symlink by somebody else or to such a file.

        One that is not there, or cannot be looked at, is none: whoever reads it says so.
        """
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) and self._trusts(status):
                status = os.stat(path)
        except OSError:
            return None
        if self._trusts(status):
            return None
        message = f"{path} belongs to {_id(status.st_uid)}, and {self.root} to {_id(self.owner)}"
        advice = f"Look at what it says: then delete it, or take it over: `chown -h {self.owner} {path}`."
        return Finding("file-foreign", message, advice)

    def unsafe(self, path: str | Path) -> Finding | None:
        """Say that somebody else has made a file of variables, or could change it."""
        return self.foreign(path) or _open_to_others(path, self.owner, self.group)

    def doubt(self, command: str = "...") -> Finding | None:
        """Say why this user may not read the project: whose it is, or who could have written what is read first."""
        found = self.stranger(command)
        with contextlib.suppress(OSError):
            mode = os.stat(self.root).st_mode
            if not found and mode & stat.S_IWOTH:
                message = f"{self.root} can be written by everybody (mode {stat.S_IMODE(mode):04o})"
                advice = f"Name another one by --project; or look at what it holds, and run `chmod o-w {self.root}`."
                found = Finding("project-open", message, advice)
        read = (os.path.join(self.root, name) for name in ("pyproject.toml", "uv.lock", "uv.toml", ".git"))
        return found or next(filter(None, map(self.foreign, read)), None) or self.unsafe(environment_of(self.root))

    def _trusts(self, status: os.stat_result) -> bool:
        if status.st_uid == self.owner or not status.st_uid:
            return True
        if self.group is None:
            return False
        # In a directory that none but the group may write, nobody else can have made a file of that group.
        is_closed = stat.S_ISLNK(status.st_mode) or not status.st_mode & stat.S_IWOTH
        return (status.st_gid == self.group and is_closed) or _is_member(status.st_uid, self.group)


def admit(path: Path, command: str, environ: Mapping[str, str]) -> None:
    """See that this user may work on the project that `path` is in, before anything of it is read.

    root goes on as the owner, in a process of its own, and exits with its status. Raises PreflightError, and OSError.
    """
    try:
        start = os.path.realpath(path.expanduser())
    except RuntimeError:  # of ~nobody, which is said where the project is opened
        return
    except FileNotFoundError:
        message = "the current directory, in which the project is looked for, has been deleted"
        advice = "Change to another directory, or give the whole path of the project to --project."
        raise PreflightError(Finding("project-deleted", message, advice)) from None
    if not os.path.isdir(start):
        return
    root = find_project(start) or start
    project = Ownership.of(root)
    found = project.stranger(command)
    if found and not os.geteuid() and project.owner and not is_unknown(project.owner, "uid"):
        from releaser.system.users import run_again_as  # which hardly anybody needs

        try:
            sys.exit(run_again_as(project.owner, os.stat(root).st_gid or project.owner, sys.argv[1:], environ))
        except OSError as error:
            message = f"{found.message}, and root cannot go on as that user: {error.strerror} ({error.filename})"
            found = Finding(
                "owner-not-taken", message, f"Install releaser where everybody may read it, or: {found.advice}"
            )
    if not os.geteuid() and not project.owner:
        found = find_foreign_parent(str(path.expanduser().absolute()), root)
    refuse(found or project.doubt(command))


def find_foreign_parent(path: str, root: str) -> Finding | None:
    """Say that another user owns part of the way to a project of root's, and could lead root elsewhere."""
    for place in way_to(path):
        owner = os.lstat(place).st_uid
        if owner and not is_unknown(owner, "uid"):
            message = f"{root} belongs to root, and {place}, which leads there, to {_id(owner)}, who can exchange it"
            advice = (
                "Name the project by a path that is root's throughout, or give the project to that user: `chown -R`."
            )
            return Finding("project-link-foreign", message, advice)
    return None


def environment_of(root: str | Path) -> str:
    """Return the path of the `.env` of a project."""
    return os.path.join(os.path.dirname(root), ".env")


def _open_to_others(path: str | Path, owner: int, group: int | None) -> Finding | None:
    """Say that others than the owner and the group of a project may write a file, or put another in its place.

    None if it is not there.
    """
    with contextlib.suppress(OSError):
        real = os.path.realpath(path, strict=True)
        for place in dict.fromkeys((real, os.path.dirname(real), os.path.dirname(os.path.abspath(path)))):
            status = os.stat(place)
            mode, gid = status.st_mode, status.st_gid
            if stat.S_ISCHR(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
                continue
            if mode & stat.S_IWOTH:
                who, letter = "everybody", "o"
            elif mode & stat.S_IWGRP and gid not in (0, group) and (name := _shared_group(gid, owner)):
                who, letter = f"the group {name}", "g"
            else:
                continue
            where = f"{path} can be written" if place == real else f"{path} can be replaced, as {place} can be written"
            message = f"{where} by {who} (mode {stat.S_IMODE(mode):04o})"
            return Finding("file-open", message, f"Look at what {path} says; then: `chmod {letter}-w {place}`.")
    return None


def find_open(directory: str, owner: int, *, group_writable: bool) -> Iterator[tuple[str, str]]:
    """Yield what others than an owner and root may write in a directory, each with who; a group may if that is set.

    What others own counts as well. Symlinks are not followed, but for the directory itself.
    """
    for place, directories, files in os.walk(directory):
        links = (name for name in directories if os.path.islink(os.path.join(place, name)))  # others come as places
        for path in (place, *(os.path.join(place, name) for name in (*files, *links))):
            seen = os.path.realpath(path) if path == directory else path
            if who := who_else(seen, owner, group_writable=group_writable):
                yield path, who


def who_else(path: str, owner: int, *, group_writable: bool = False) -> str:
    """Name the user or group, other than `owner` and root, that owns or may write a path; empty if there is none.

    For a symlink only its owner counts. With `group_writable`, groups may write.
    """
    try:
        status = os.lstat(path)
    except OSError:  # it has just gone
        return ""
    mode, group = status.st_mode, status.st_gid
    if status.st_uid not in (0, owner) and not is_unknown(status.st_uid, "uid"):
        return name_of(status.st_uid) or str(status.st_uid)
    if stat.S_ISLNK(mode):
        return ""
    if mode & stat.S_IWOTH:
        return "everybody"
    if not mode & stat.S_IWGRP or group_writable:
        return ""
    if group and (name := _shared_group(group, owner)):
        return f"the group {name}"
    return "others by an access control list" if _has_access_list(path) else ""


def close_to_others(path: str, owner: int) -> None:
    """Take from all but the owner the right to write a file or directory of theirs; nothing else is changed.

    Whoever could write there may exchange it for a symlink at any moment, so it is looked at as it is open.
    """
    with contextlib.suppress(OSError):  # it has gone, or is none of those
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if status.st_uid == owner and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
        finally:
            os.close(descriptor)


def _has_access_list(path: str) -> bool:
    """Whether an access control list (acl(5)) names others; the mode shows its mask in place of the group then."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def _shared_group(group: int, owner: int) -> str:
    """Return the name of a group that others may be in; empty if it is the owner's own, as useradd makes one."""
    import grp

    try:
        found, name = grp.getgrgid(group), name_of(owner)
    except KeyError:  # nobody whom the host knows is in it
        return ""
    if is_unknown(group, "gid"):
        return ""
    return "" if found.gr_name == name and set(found.gr_mem) <= {name} else found.gr_name


def readable_by_all(path: str | Path) -> Finding | None:
    """Say that every user of this host may read a file, in which there is a secret."""
    with contextlib.suppress(OSError):
        real = os.path.realpath(path, strict=True)
        mode, parents = os.stat(real).st_mode, list(Path(real).parents)
        if mode & stat.S_IROTH and all(parent.stat().st_mode & stat.S_IXOTH for parent in parents):
            message = f"{path} holds a secret, and every user of this host can read it (mode {stat.S_IMODE(mode):04o})"
            return Finding("secret-open", message, f"Run `chmod o-r {path}`; the web server's user may need its group.")
    return None


def waits(paths: Iterable[Path]) -> Finding | None:
    """Say that there is a named pipe or a device in the place of a file, for which its reader would wait."""
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if stat.S_ISFIFO(status.st_mode) or (stat.S_ISCHR(status.st_mode) and status.st_rdev != _NULL):
                message = f"{path} is a named pipe or a device, for which its reader would wait"
                return Finding("file-not-plain", message, "Delete it, or put a file in its place.")
    return None


def refuse(found: Finding | None) -> None:
    """Raise PreflightError for a finding, if there is one."""
    if found:
        raise PreflightError(found)


def foreign_state(root: str | Path, state_dir: str | Path, *, group_writable: bool = False) -> Finding | None:
    """Say that somebody else has made the state directory, or something of weight in it, or could.

    Members of a group work with the state that the owner has opened to them, or is to by `group_writable`.
    """
    for name in _OF_STATE:
        if os.path.islink(f"{state_dir}/{name}"):
            message = f"{state_dir}/{name} is a symlink, behind which releaser neither writes nor deletes"
            return Finding(
                "state-symlink",
                message,
                "Put a directory in its place; to keep it elsewhere, set `state_dir` instead.",
            )
    project = Ownership.of(root)
    try:
        status = os.stat(state_dir)
    except OSError:
        above = os.path.dirname(state_dir)
        is_beside = not os.path.realpath(root).startswith(os.path.join(os.path.realpath(above), ""))
        is_open, found = group_writable, project.foreign(above) if is_beside else None
    else:
        is_open = status.st_gid == project.group and bool(status.st_mode & stat.S_IWGRP)
        found = project.foreign(state_dir)
        if status.st_mode & stat.S_IWOTH:
            found = Finding(
                "state-dir-open", f"{state_dir} can be written by everybody", f"Run `chmod o-w {state_dir}`."
            )
    if found is None and not is_open and not project.is_mine:
        message = f"{project.whose()}, and {state_dir} is not open to the group"
        found = Finding("state-dir-closed", message, "Let the owner set `group_writable`, and run releaser once.")
    if found:
        return found
    trusting = project if is_open else replace(project, group=None)
    return next(filter(None, map(trusting.foreign, _state_files(str(state_dir)))), None)


def _state_files(state_dir: str) -> Iterator[str]:
    """Yield what a run believes: all that lies in the state directory itself, manifests, and mails that wait."""
    yield from _paths_in(state_dir)
    for release in _paths_in(f"{state_dir}/releases"):
        yield from (release, f"{release}/manifest.json")
    for name in ("new", "cur"):
        yield from _paths_in(f"{state_dir}/outbox/{name}")


def _paths_in(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in os.listdir(directory)]
    except OSError:
        return []


def name_of(user: int) -> str:
    """Return the name of a user; empty for one without."""
    import pwd  # here, as `releaser list` needs it on no usual day

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""


def _id(user: int) -> str:
    name = name_of(user)
    return f"{name}, uid {user}" if name else f"uid {user}"


def _is_member(user: int, group: int) -> bool:
    import grp
    import pwd

    try:
        found = pwd.getpwuid(user)
        return found.pw_gid == group or found.pw_name in grp.getgrgid(group).gr_mem
    except KeyError:
        return False


def is_unknown(number: int, kind: str) -> bool:
    """Whether an id may stand for any that this user namespace does not know."""
    if number != _UNMAPPED:
        return False
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            return sum(int(line.split()[2]) for line in file) < _ALL
    except (OSError, ValueError, IndexError):
        return False
