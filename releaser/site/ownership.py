"""The owner of a project, and who may work on it: the owner, root as the owner, and the group with write access."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError, refuse_any
from releaser.site.location import find_project
from releaser.system.frozen import Frozen, replace
from releaser.system.trusted_files import way_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_UNMAPPED = 65534  # the id that the kernel shows for a user or group that is unknown in a user namespace
_NULL = os.makedev(1, 3)  # /dev/null, which is empty (null(4))
_OF_STATE = ("releases", "logs", "outbox", "run")  # directories in the state directory
_ALL = 4294967295  # ids, in a namespace that knows all


class Ownership(Frozen):
    """The users who may work on the project in the directory `root`, and whose files there are trusted."""

    root: str
    owner: int
    #: The group that may write the project; None without one.
    group: int | None

    @classmethod
    def of(cls, root: str | Path) -> Ownership:
        """Return the ownership of a project. Raises OSError."""
        status = os.stat(root)
        is_open = status.st_mode & stat.S_IWGRP and not is_unknown(status.st_gid, "gid")
        return cls(root=str(root), owner=status.st_uid, group=status.st_gid if is_open else None)

    @classmethod
    def of_missing(cls, root: Path) -> Ownership:
        """Return the ownership of a directory that may be missing: this user would own it."""
        try:
            return cls.of(root)
        except OSError:
            return cls(root=str(root), owner=os.geteuid(), group=None)

    @property
    def is_mine(self) -> bool:
        """True if this user is the owner."""
        return os.geteuid() == self.owner and not is_unknown(self.owner, "uid")

    def stranger(self, command: str = "...") -> Finding | None:
        """Return a finding if this user is neither the owner nor in the group of the project."""
        if is_unknown(self.owner, "uid"):
            message = f"{self.root} belongs to a user who is unknown in this container (user namespace)"
            return Finding(
                "owner-unknown",
                message,
                "Run releaser where that user is known, for example outside the container.",
            )
        if self.is_mine or (os.geteuid() and self.group in {os.getegid(), *os.getgroups()}):
            return None
        name = name_of(self.owner) or f"'#{self.owner}'"
        advice = f"Run it as that user: `sudo -u {name} releaser {command} --project {self.root}`."
        if not self.owner:  # who may have cloned it
            mine = f"`chown -R {name_of(os.geteuid()) or os.geteuid()} {self.root}`"
            advice = f"If it is a site of this user, run {mine} as root. Otherwise, run releaser as root."
        return Finding("project-foreign", self.whose(), advice)

    def whose(self) -> str:
        """Name the owner of the project and this user."""
        return f"{self.root} belongs to another user ({_id(self.owner)}; this is {_id(os.geteuid())})"

    def foreign(self, path: str | Path) -> Finding | None:
        """Return a finding if a file belongs to an untrusted user, or is a symlink of one or to a file of one.

        None for a missing or inaccessible file: the code that reads it reports that.
        """
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) and self._trusts(status):
                status = os.stat(path)
        except OSError:
            return None
        if self._trusts(status):
            return None
        message = f"{path} belongs to {_id(status.st_uid)}, but {self.root} to {_id(self.owner)}"
        advice = f"Check its contents, then delete it or run `chown -h {self.owner} {path}`."
        return Finding("file-foreign", message, advice)

    def unsafe(self, path: str | Path) -> Finding | None:
        """Return a finding if an untrusted user owns a file of variables, or could change it."""
        return self.foreign(path) or _open_to_others(path, self.owner, self.group)

    def doubt(self, command: str = "...") -> Finding | None:
        """Return a finding if this user must not read the project: another owner, or files that others could change."""
        found = self.stranger(command)
        with contextlib.suppress(OSError):
            mode = os.stat(self.root).st_mode
            if not found and mode & stat.S_IWOTH:
                message = f"all users can write to {self.root} (mode {stat.S_IMODE(mode):04o})"
                advice = f"Check its files, then run `chmod o-w {self.root}`; or name another project with --project."
                found = Finding("project-open", message, advice)
        read = (os.path.join(self.root, name) for name in ("pyproject.toml", "uv.lock", "uv.toml", ".git"))
        return found or next(filter(None, map(self.foreign, read)), None) or self.unsafe(environment_of(self.root))

    def _trusts(self, status: os.stat_result) -> bool:
        if status.st_uid == self.owner or not status.st_uid:
            return True
        if self.group is None:
            return False
        # In a directory that only the group may write, only its members can have created a file of that group.
        is_closed = stat.S_ISLNK(status.st_mode) or not status.st_mode & stat.S_IWOTH
        return (status.st_gid == self.group and is_closed) or _is_member(status.st_uid, self.group)


def admit(path: Path, command: str, environ: Mapping[str, str], *, creates: bool = False) -> None:
    """Check that this user may work on the project that contains `path`, before reading any of its files.

    Outside any project it checks nothing, unless the command `creates` one: the command reports that. root continues
    as the owner, in a new process, and exits with its status. Raises PreflightError and OSError.
    """
    try:
        start = os.path.realpath(path.expanduser())
    except RuntimeError:  # `~name` of an unknown user, which is reported when the project is opened
        return
    except FileNotFoundError:
        message = "the current directory was deleted, so releaser cannot find the project"
        advice = "Change to the project with `cd`, or give its absolute path to --project."
        raise PreflightError(Finding("project-deleted", message, advice)) from None
    if not os.path.isdir(start):
        return
    root = find_project(start) or (start if creates else None)
    if root is None:
        return
    project = Ownership.of(root)
    found = project.stranger(command)
    if found and not os.geteuid() and project.owner and not is_unknown(project.owner, "uid"):
        from releaser.system.users import run_again_as  # rarely needed

        try:
            sys.exit(run_again_as(project.owner, os.stat(root).st_gid or project.owner, sys.argv[1:], environ))
        except OSError as error:
            message = f"{found.message}, and root cannot continue as that user: {error.strerror} ({error.filename})"
            advice = f"{found.advice} Or install releaser in a directory that all users can read."
            found = Finding("owner-not-taken", message, advice)
    if not os.geteuid() and not project.owner:
        found = find_foreign_parent(str(path.expanduser().absolute()), root)
    refuse_any(found or project.doubt(command))


def find_foreign_parent(path: str, root: str) -> Finding | None:
    """Return a finding if another user owns a directory above a project of root, and could redirect the path."""
    for place in way_to(path):
        owner = os.lstat(place).st_uid
        if owner and not is_unknown(owner, "uid"):
            message = f"{root} belongs to root, but {place} on the way to it to {_id(owner)}, who can replace it"
            advice = (
                f"Use a path that belongs to root throughout, or change the project's owner: `chown -R {owner} {root}`."
            )
            return Finding("project-link-foreign", message, advice)
    return None


def environment_of(root: str | Path) -> str:
    """Return the path of the `.env` of a project."""
    return os.path.join(os.path.dirname(root), ".env")


def _open_to_others(path: str | Path, owner: int, group: int | None) -> Finding | None:
    """Return a finding if others than the owner and the group of a project may write or replace a file.

    None if the file does not exist.
    """
    with contextlib.suppress(OSError):
        real = os.path.realpath(path, strict=True)
        for place in dict.fromkeys((real, os.path.dirname(real), os.path.dirname(os.path.abspath(path)))):
            status = os.stat(place)
            mode, gid = status.st_mode, status.st_gid
            if stat.S_ISCHR(mode) or (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
                continue
            if mode & stat.S_IWOTH:
                users, letter = "all users", "o"
            elif mode & stat.S_IWGRP and gid not in (0, group) and (name := _shared_group(gid, owner)):
                users, letter = f"the group {name}", "g"
            else:
                continue
            where = str(path) if place == real else f"{place}, and so replace {path}"
            message = f"{users} can write to {where} (mode {stat.S_IMODE(mode):04o})"
            return Finding("file-open", message, f"Check the contents of {path}, then run `chmod {letter}-w {place}`.")
    return None


def find_open(directory: str, owner: int, *, group_writable: bool) -> Iterator[tuple[str, str]]:
    """Yield the paths in a directory that others than `owner` and root own or may write, each with who may.

    With `group_writable`, groups may write. Symlinks are not followed, except for the directory itself.
    """
    for place, directories, files in os.walk(directory):
        links = (name for name in directories if os.path.islink(os.path.join(place, name)))  # os.walk enters the others
        for path in (place, *(os.path.join(place, name) for name in (*files, *links))):
            seen = os.path.realpath(path) if path == directory else path
            if who := describe_other_writers(seen, owner, group_writable=group_writable):
                yield path, who


def describe_other_writers(path: str, owner: int, *, group_writable: bool = False) -> str:
    """Name the user or group, other than `owner` and root, that owns or may write a path; empty without any.

    For a symlink only its owner counts. With `group_writable`, groups may write.
    """
    try:
        status = os.lstat(path)
    except OSError:  # it was just deleted
        return ""
    mode, group = status.st_mode, status.st_gid
    if status.st_uid not in (0, owner) and not is_unknown(status.st_uid, "uid"):
        return name_of(status.st_uid) or str(status.st_uid)
    if stat.S_ISLNK(mode):
        return ""
    if mode & stat.S_IWOTH:
        return "all users"
    if not mode & stat.S_IWGRP or group_writable:
        return ""
    if group and (name := _shared_group(group, owner)):
        return f"the group {name}"
    return "other users (access control list)" if _has_access_list(path) else ""


def close_to_others(path: str, owner: int) -> None:
    """Make a file or directory of the owner writable only for the owner; ignore anything else.

    Another user may replace the path by a symlink at any moment, so the checks use the open descriptor.
    """
    with contextlib.suppress(OSError):  # it was deleted, or is neither file nor directory
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if status.st_uid == owner and (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~(stat.S_IWGRP | stat.S_IWOTH))
        finally:
            os.close(descriptor)


def _has_access_list(path: str) -> bool:
    """True if a path has an access control list (acl(5)); then the group bits of its mode show the mask of the list."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access", follow_symlinks=False))
    except OSError:
        return False


def _shared_group(group: int, owner: int) -> str:
    """Return the name of a group that may have other members; empty for the owner's own group, as useradd creates."""
    import grp

    try:
        found, name = grp.getgrgid(group), name_of(owner)
    except KeyError:  # no user known to the host is a member
        return ""
    if is_unknown(group, "gid"):
        return ""
    return "" if found.gr_name == name and set(found.gr_mem) <= {name} else found.gr_name


def readable_by_all(path: str | Path) -> Finding | None:
    """Return a finding if every user of this host may read a file, which holds a secret."""
    with contextlib.suppress(OSError):
        real = os.path.realpath(path, strict=True)
        mode, parents = os.stat(real).st_mode, list(Path(real).parents)
        if mode & stat.S_IROTH and all(parent.stat().st_mode & stat.S_IXOTH for parent in parents):
            message = (
                f"{path} contains a secret, but all users of this host can read it (mode {stat.S_IMODE(mode):04o})"
            )
            advice = f"Run `chmod o-r {path}`. If the web server reads it, put the server's user into its group."
            return Finding("secret-open", message, advice)
    return None


def waits(paths: Iterable[Path]) -> Finding | None:
    """Return a finding if a named pipe or a device is in the place of a file: its reader would wait."""
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            if stat.S_ISFIFO(status.st_mode) or (stat.S_ISCHR(status.st_mode) and status.st_rdev != _NULL):
                message = f"{path} is a named pipe or a device, so reading it might never end"
                return Finding("file-not-plain", message, "Delete it, or replace it with a regular file.")
    return None


def foreign_state(root: str | Path, state_dir: str | Path, *, group_writable: bool = False) -> Finding | None:
    """Return a finding if an untrusted user made the state directory or an important file in it, or could have.

    Members of the group are trusted if the owner has opened the state to them, or `group_writable` is set.
    """
    for name in _OF_STATE:
        if os.path.islink(f"{state_dir}/{name}"):
            message = f"{state_dir}/{name} is a symlink, which releaser does not follow"
            return Finding(
                "state-symlink",
                message,
                "Replace it with a directory. To keep state elsewhere, set `state_dir`.",
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
            found = Finding("state-dir-open", f"all users can write to {state_dir}", f"Run `chmod o-w {state_dir}`.")
    if found is None and not is_open and not project.is_mine:
        message = f"{project.whose()}, and {state_dir} is not open to the group"
        advice = "Ask the owner to set `group_writable = true` and to run `releaser update` once."
        found = Finding("state-dir-closed", message, advice)
    if found:
        return found
    trusting = project if is_open else replace(project, group=None)
    return next(filter(None, map(trusting.foreign, _state_files(str(state_dir)))), None)


def _state_files(state_dir: str) -> Iterator[str]:
    """Yield the paths that a run trusts: the files in the state directory, releases, manifests, and waiting mails."""
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
    """Return the name of a user; empty without one."""
    import pwd  # here, as `releaser list` rarely needs it

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
    """True if an id may stand for any id that is unknown in this user namespace."""
    if number != _UNMAPPED:
        return False
    try:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            return sum(int(line.split()[2]) for line in file) < _ALL
    except (OSError, ValueError, IndexError):
        return False
