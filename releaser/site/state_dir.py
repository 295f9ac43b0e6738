"""The state directory: making it, and whose it is; and whose work tree the project lies in."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.site.ownership import name_of
from releaser.system.files import (
    LARGEST_STATE,
    UnreadableStateError,
    put_aside,
    read_file,
    read_state,
    remove_tree,
    sync_directory,
    write_state,
)
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile, remove_if_empty

if TYPE_CHECKING:
    from releaser.site.project import Project
    from releaser.tools.git_state import Layout

OWNER = "project.json"  # in the state directory
RELEASES = "releases"  # in the state directory
OUTBOX = "outbox"  # in the state directory: a Maildir
MAILDIR = frozenset({"tmp", "new", "cur"})
OWNER_OF_WORK_TREE = "releaser.json"  # in git's directory of the work tree
#: Which `uninstall` deletes in the end, if nothing else is left.
OWNER_FILE = StateFile(name=OWNER, delete=lambda _: None)


def _delete_outbox(maildir: Path) -> None:
    """Delete the outbox, unless it holds a mail that nobody has read."""
    if not any(file for place in ("new", "cur") for file in maildir.glob(f"{place}/*")):
        remove_tree(maildir)


#: `uninstall` deletes the releases themselves before.
RELEASES_FILE = StateFile(name=RELEASES, delete=remove_if_empty)
OUTBOX_FILE = StateFile(name=OUTBOX, delete=_delete_outbox)
_OWN = 0o2750  # the group may read, and what is made inside belongs to it too
_PASSAGE = 0o001  # for everybody, where the project is open to everybody: the web server's user may be anybody


def prepare(project: Project, *, group_writable: bool = False) -> None:
    """Make the directories of the state that are missing, whatever the umask is. Raises OSError.

    They are open to the group if they are to be `group_writable`, also those that are there; what an earlier version
    has opened is closed where the group may not write the project either. A group that this user may not hand files to
    is left as it is.
    """
    like = project.root.stat()
    if not group_writable and not like.st_mode & stat.S_IWGRP:
        _close_to_group(project.state_dir)
    own = _OWN | (stat.S_IWGRP if group_writable else 0)
    others = _PASSAGE if like.st_mode & stat.S_IXOTH else 0
    for place in [parent for parent in project.state_dir.parents if not parent.exists()][::-1]:
        _make(place, 0o755 if others else 0o750, None)
    _make(project.state_dir, own | others, like.st_gid)
    if _is_unused(project.state_dir):  # first of all, as one with anything else in it is not taken for its own
        _write_owner(project, project.state_dir / OWNER)
    _make(project.releases, own | others, like.st_gid)
    for mark in project.releases.glob("[0-9]*/.releaser") if group_writable else ():  # which marks releaser's own
        with contextlib.suppress(OSError):  # deleted meanwhile, or another user's
            if not mark.parent.is_symlink():
                mark.parent.chmod(stat.S_IMODE(mark.parent.stat().st_mode) | stat.S_IWGRP)
    there = [one for one in (project.state_dir / "run", *project.outbox.glob("[a-z]*")) if one.is_dir()]
    for place in (project.logs, project.outbox, *there):
        _make(place, own, like.st_gid)


def _close_to_group(directory: Path) -> None:
    """Keep the group from writing this user's files in the state directory, as it could until now."""
    is_open = directory.is_dir() and stat.S_IWGRP & directory.stat().st_mode
    for place, directories, files in os.walk(directory, topdown=False) if is_open else ():
        for path in (*(os.path.join(place, name) for name in directories + files), place):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                is_lock = path == os.path.join(directory, "run", "lock")  # which is the same for all that may run
                is_own = status.st_uid == os.geteuid() and not stat.S_ISLNK(status.st_mode)
                if status.st_mode & stat.S_IWGRP and is_own and not is_lock:
                    os.chmod(path, stat.S_IMODE(status.st_mode) & ~stat.S_IWGRP)


def _make(directory: Path, mode: int, group: int | None) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        status = directory.stat()
        if mode & ~status.st_mode & stat.S_IWGRP and group is not None and status.st_uid == os.geteuid():
            directory.chmod(stat.S_IMODE(status.st_mode) | stat.S_IWGRP)
        return
    if group is not None:
        with contextlib.suppress(PermissionError):
            os.chown(directory, -1, group)
    directory.chmod(mode)
    sync_directory(directory.parent)


class Owner(Frozen):
    """The project that something belongs to, by the absolute paths of its checkout and of its symlink."""

    root: Path
    link: Path
    #: Whose the checkout was when it was written down; empty if an earlier version wrote it.
    user: str = field(default="", compare=False)


class _Written(Frozen):
    """The same, relative to the directory of the file, so that all may be moved or mounted elsewhere together."""

    root: str
    link: str
    owner: str = ""


def read_owner(path: Path) -> Owner | None:
    """Return the owner that a file names; None if that is not written down. Raises UnreadableStateError."""
    found = read_state(path, _Written)
    if found is None:
        return None
    base = os.path.realpath(path.parent)
    return Owner(
        root=Path(os.path.normpath(os.path.join(base, found.root))),
        link=Path(os.path.normpath(os.path.join(base, found.link))),
        user=found.owner,
    )


def dispute(project: Project) -> Finding | None:
    """Say that the state directory belongs to another project, if it does."""
    file = project.state_dir / OWNER
    owner = _other(project, file)
    if owner is None:
        return None
    message = f"state_dir {project.state_dir} belongs to the project {_name(owner)}, and not to {_name(project)}"
    advice = f"Set `state_dir` to a directory of its own; if the other project is gone, delete {file}."
    return Finding("state-dir-other-project", message, advice)


def work_tree_dispute(project: Project, layout: Layout) -> Finding | None:
    """Say that the work tree belongs to another project, if it does: going live with one moves the code of both."""
    file = layout.git_directory / OWNER_OF_WORK_TREE
    owner = _other(project, file)
    if owner is None or not owner.link.is_symlink():  # that one is no longer adopted
        return None
    message = f"the work tree {layout.top} belongs to the project {_name(owner)}, and not to {_name(project)}"
    advice = (
        "Give each project a checkout of its own: its commits are tested with this project's tests alone, and"
        f" going live moves the whole work tree. If the other project is gone, delete {file}."
    )
    return Finding("work-tree-other-project", message, advice)


def claim(project: Project) -> str:
    """Write down whose state directory this is; return what there is to say of it, mostly nothing.

    The caller holds the project lock. Raises PreflightError if it belongs to another project, or is not releaser's.
    """
    return _claim(project, project.state_dir / OWNER, dispute(project) or foreign(project))


def claim_work_tree(project: Project, layout: Layout) -> str:
    """Write down whose work tree this is, as `claim` does. Raises PreflightError if it belongs to another project."""
    return _claim(project, layout.git_directory / OWNER_OF_WORK_TREE, work_tree_dispute(project, layout))


def release_work_tree(project: Project, layout: Layout) -> None:
    """Delete what says that the work tree is this project's, if it does. Raises OSError."""
    file = layout.git_directory / OWNER_OF_WORK_TREE
    with contextlib.suppress(UnreadableStateError):
        owner = read_owner(file)
        if owner is not None and _is_of(owner, project):
            file.unlink()


def _claim(project: Project, file: Path, disputed: Finding | None) -> str:
    said = ""
    try:
        owner = read_owner(file)
    except UnreadableStateError as error:
        owner = None
        with contextlib.suppress(OSError):  # which must not keep anybody from going back
            said = f"{error.path} could not be read; it is kept as {put_aside(error.path).name}."
    except OSError as error:
        _warn("%s cannot be looked at: %s", file, error)
        return ""
    if owner is not None and _is_of(owner, project):
        return ""
    if disputed is not None:
        raise PreflightError(disputed)
    try:
        _write_owner(project, file)
    except OSError as error:  # a full disk must not keep anybody from going back; the next run writes it
        _warn("%s cannot be written: %s", file, error)
    if owner is not None and file.name == OWNER:
        said = f"The project was moved from {_name(owner)} to {_name(project)}."
    return said


def _write_owner(project: Project, file: Path) -> None:
    base = os.path.realpath(file.parent)
    root, link = (os.path.relpath(path, base) for path in (project.checkout, project.venv))
    user = project.checkout.stat().st_uid
    owner = name_of(user) or f"uid {user}"
    write_state(file, _Written(root=root, link=link, owner=owner))


def foreign(project: Project) -> Finding | None:
    """Say that releaser has not made the state directory, if it is not empty: what lies there is somebody else's.

    Its own one names a project in a file of releaser's, or holds a release, or the symlink leads into it: other tools
    have a `project.json`, too.
    """
    place = project.state_dir
    try:
        os.listdir(place)
    except OSError:  # there is none yet; or it cannot be read, which is said anyway
        return None
    if project.checkout.is_relative_to(place):  # which is said as well
        return None
    with contextlib.suppress(UnreadableStateError, OSError):
        if _is_unused(place) or read_owner(place / OWNER) is not None:
            return None
    if _leads_into(project.venv, project.releases) or any(map(_is_release, project.releases.glob("*/manifest.json"))):
        return None
    advice = "Set `state_dir` to a directory that is empty or not there yet, as old releases in it are deleted."
    message = f"state_dir {place} is not empty, and releaser has not made it: it has no {OWNER} of releaser's"
    return Finding("state-dir-not-empty", message, advice)


def _is_unused(directory: Path) -> bool:
    """Whether a directory holds nothing but what releaser may write before it uses the directory. Raises OSError.

    That is the rest of a first run that was cut off at once, and the mails of runs that were refused because of
    another `state_dir`.
    """
    names = {*os.listdir(directory)} - {f".{OWNER}.new"}
    outbox = directory / OUTBOX
    return names <= {OUTBOX} and not (names and (outbox.is_symlink() or not {*os.listdir(outbox)} <= MAILDIR))


def _is_release(manifest: Path) -> bool:
    try:
        content = json.loads(read_file(manifest, LARGEST_STATE))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("id") == manifest.parent.name


def _leads_into(link: Path, directory: Path) -> bool:
    return link.is_symlink() and Path(os.path.realpath(link)).is_relative_to(os.path.realpath(directory))


def _other(project: Project, file: Path) -> Owner | None:
    """Return the owner that a file names, if that is another project."""
    try:
        owner = read_owner(file)
    except (UnreadableStateError, OSError):
        return None
    return None if owner is None or _is_of(owner, project) or _has_moved(owner, project) else owner


def _name(one: Owner | Project) -> str:
    if not isinstance(one, Owner):
        return f"{one.checkout} (its link is {one.venv})"
    return f"{one.root} (its link is {one.link}{one.user and f', its owner {one.user}'})"


def _is_of(owner: Owner, project: Project) -> bool:
    return _is_same(owner.root, project.checkout) and (
        owner.link.name == project.venv.name and _is_same(owner.link.parent, project.venv.parent)
    )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _has_moved(owner: Owner, project: Project) -> bool:
    """Whether the project that is written down is gone or was never adopted, and this is what it has become."""
    if _is_same(owner.root, project.checkout):
        return not _is_adopted(owner.link)
    return _leads_into(project.venv, project.releases) and _is_gone(owner.root)


def _is_adopted(link: Path) -> bool:
    """Whether a path is a symlink to a release. `venv` may have named any other path by mistake."""
    return link.is_symlink() and Path(os.path.realpath(link)).parent.parent.name == RELEASES


def _is_gone(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _warn(message: str, *facts: object) -> None:
    import logging  # which takes long to import, for `releaser list`

    logging.getLogger(__name__).warning(message, *facts)
