"""Creates the state directory, and records which project owns it and the work tree."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, how_to_set, refuse_any
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
from releaser.system.frozen import Frozen, field
from releaser.system.state_files import StateFile, remove_if_empty

if TYPE_CHECKING:
    from releaser.site.project import Project
    from releaser.tools.git_state import Layout

OWNER = "project.json"  # in the state directory
RELEASES = "releases"  # in the state directory
OUTBOX = "outbox"  # in the state directory: a Maildir
MAILDIR = frozenset({"tmp", "new", "cur"})
OWNER_OF_WORK_TREE = "releaser.json"  # in git's directory of the work tree
#: `uninstall` deletes this file last, if no other file is left.
OWNER_FILE = StateFile(name=OWNER, delete=lambda _: None)


def _delete_outbox(maildir: Path) -> None:
    """Delete the outbox, unless it has mails."""
    if not any(file for place in ("new", "cur") for file in maildir.glob(f"{place}/*")):
        remove_tree(maildir)


#: `uninstall` has deleted the releases themselves before.
RELEASES_FILE = StateFile(name=RELEASES, delete=remove_if_empty)
OUTBOX_FILE = StateFile(name=OUTBOX, delete=_delete_outbox)
_OWN = 0o2750  # the group may read, and new files inside belong to the group
_PASSAGE = 0o001  # for all users, if the project is open to all: the web server may run as any user


def prepare(project: Project, *, group_writable: bool = False) -> None:
    """Create the missing directories of the state, whatever the umask. Raises OSError.

    With `group_writable`, the group may write all of them, old and new. Otherwise, if the group may not write the
    project either, files that an earlier version opened to the group are closed. A directory whose group this user may
    not set keeps its group.
    """
    like = project.root.stat()
    if not group_writable and not like.st_mode & stat.S_IWGRP:
        _close_to_group(project.state_dir)
    own = _OWN | (stat.S_IWGRP if group_writable else 0)
    others = _PASSAGE if like.st_mode & stat.S_IXOTH else 0
    for place in [parent for parent in project.state_dir.parents if not parent.exists()][::-1]:
        _make(place, 0o755 if others else 0o750, None)
    _make(project.state_dir, own | others, like.st_gid)
    if _is_unused(project.state_dir):  # first, as releaser does not accept a directory with other files
        _write_owner(project, project.state_dir / OWNER)
    _make(project.releases, own | others, like.st_gid)
    for mark in project.releases.glob("[0-9]*/.releaser") if group_writable else ():  # the mark of releaser's own
        with contextlib.suppress(OSError):  # deleted meanwhile, or of another user
            if not mark.parent.is_symlink():
                mark.parent.chmod(stat.S_IMODE(mark.parent.stat().st_mode) | stat.S_IWGRP)
    directories = [
        directory for directory in (project.state_dir / "run", *project.outbox.glob("[a-z]*")) if directory.is_dir()
    ]
    for place in (project.logs, project.outbox, *directories):
        _make(place, own, like.st_gid)


def _close_to_group(directory: Path) -> None:
    """Remove the write access of the group to this user's files in the state directory."""
    is_open = directory.is_dir() and stat.S_IWGRP & directory.stat().st_mode
    for place, directories, files in os.walk(directory, topdown=False) if is_open else ():
        for path in (*(os.path.join(place, name) for name in directories + files), place):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                is_lock = path == os.path.join(directory, "run", "lock")  # shared by all users who may run releaser
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
    """The project that owns a directory, by the absolute paths of its checkout and of its symlink."""

    root: Path
    link: Path
    #: The user who owned the checkout when this was recorded; empty if an earlier version wrote it.
    user: str = field(default="", compare=False)


class _Written(Frozen):
    """The same, relative to the directory of the file, so that all can be moved or mounted elsewhere together."""

    root: str
    link: str
    owner: str = ""


def read_owner(path: Path) -> Owner | None:
    """Return the owner that a file names; None without the file. Raises UnreadableStateError."""
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
    """Return a finding if the state directory belongs to another project."""
    file = project.state_dir / OWNER
    owner = _other(project, file)
    if owner is None:
        return None
    message = f"state_dir {project.state_dir} belongs to the project {_name(owner)}, not to {_name(project)}"
    other = how_to_set("state_dir", "PATH")
    advice = f"For another directory, {other}. If the other project no longer exists, run `rm {file}`."
    return Finding("state-dir-other-project", message, advice)


def work_tree_dispute(project: Project, layout: Layout) -> Finding | None:
    """Return a finding if the work tree belongs to another project: a flip of one would move the code of both."""
    file = layout.git_directory / OWNER_OF_WORK_TREE
    owner = _other(project, file)
    if owner is None or not owner.link.is_symlink():  # the other project is no longer adopted
        return None
    message = f"the work tree {layout.top} belongs to the project {_name(owner)}, not to {_name(project)}"
    advice = (
        "Use a separate checkout for each project: going live moves the whole work tree, which only one project has"
        f" tested. If the other project no longer exists, run `rm {file}`."
    )
    return Finding("work-tree-other-project", message, advice)


def claim(project: Project) -> str:
    """Record this project as owner of the state directory; return a message about a move or damage, mostly empty.

    The caller holds the project lock. Raises PreflightError if another project owns it, or if it is not releaser's.
    """
    return _claim(project, project.state_dir / OWNER, dispute(project) or foreign(project))


def claim_work_tree(project: Project, layout: Layout) -> str:
    """Record this project as owner of the work tree, as `claim` does. Raises PreflightError if it has another."""
    if layout.git_directory == project.shadow:
        return ""  # it is in the claimed state directory
    return _claim(project, layout.git_directory / OWNER_OF_WORK_TREE, work_tree_dispute(project, layout))


def release_work_tree(project: Project, layout: Layout) -> None:
    """Delete the record that this project owns the work tree, if it does. Raises OSError."""
    file = layout.git_directory / OWNER_OF_WORK_TREE
    with contextlib.suppress(UnreadableStateError):
        owner = read_owner(file)
        if owner is not None and _is_of(owner, project):
            file.unlink()


def _claim(project: Project, file: Path, disputed: Finding | None) -> str:
    sentence = ""
    try:
        owner = read_owner(file)
    except UnreadableStateError as error:
        owner = None
        with contextlib.suppress(OSError):  # this must not prevent a rollback
            sentence = f"{error.path} could not be read; it is kept as {put_aside(error.path).name}."
    except OSError as error:
        _warn("%s cannot be read: %s", file, error)
        return ""
    if owner is not None and _is_of(owner, project):
        return ""
    refuse_any(disputed)
    try:
        _write_owner(project, file)
    except OSError as error:  # a full disk must not prevent a rollback; the next run writes the file
        _warn("%s cannot be written: %s", file, error)
    if owner is not None and file.name == OWNER:
        sentence = f"The project was moved from {_name(owner)} to {_name(project)}. Correct crontab lines and timers."
    return sentence


def _write_owner(project: Project, file: Path) -> None:
    base = os.path.realpath(file.parent)
    root, link = (os.path.relpath(path, base) for path in (project.checkout, project.venv))
    user = project.checkout.stat().st_uid
    owner = name_of(user) or f"uid {user}"
    write_state(file, _Written(root=root, link=link, owner=owner))


def foreign(project: Project) -> Finding | None:
    """Return a finding if the state directory is not empty, and releaser did not create it.

    It is releaser's if its `project.json` names a project in the format of releaser, if it holds a release, or if the
    symlink leads into it: other tools have a `project.json` too.
    """
    place = project.state_dir
    try:
        os.listdir(place)
    except OSError:  # it does not exist yet, or cannot be read, which is reported elsewhere
        return None
    if project.checkout.is_relative_to(place):  # reported elsewhere
        return None
    with contextlib.suppress(UnreadableStateError, OSError):
        if _is_unused(place) or read_owner(place / OWNER) is not None:
            return None
    if _leads_into(project.venv, project.releases) or any(map(_is_release, project.releases.glob("*/manifest.json"))):
        return None
    advice = "Set `state_dir` to a new or empty directory: releaser deletes old releases in it."
    message = f"state_dir {place} is not empty, and releaser did not create it: it has no {OWNER} of releaser"
    return Finding("state-dir-not-empty", message, advice)


def _is_unused(directory: Path) -> bool:
    """True if a directory has only files that releaser may write before it uses the directory. Raises OSError.

    These are the leftovers of a first run that was killed at once, and the outbox of runs that were refused because of
    another `state_dir`.
    """
    names = {*os.listdir(directory)} - {f".{OWNER}.new"}
    outbox = directory / OUTBOX
    return names <= {OUTBOX} and not (names and (outbox.is_symlink() or not {*os.listdir(outbox)} <= MAILDIR))


def _is_release(manifest: Path) -> bool:
    try:
        import json  # slow to import

        content = json.loads(read_file(manifest, LARGEST_STATE))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("id") == manifest.parent.name


def _leads_into(link: Path, directory: Path) -> bool:
    return link.is_symlink() and Path(os.path.realpath(link)).is_relative_to(os.path.realpath(directory))


def _other(project: Project, file: Path) -> Owner | None:
    """Return the owner that a file names, if it is another project; else None."""
    try:
        owner = read_owner(file)
    except (UnreadableStateError, OSError):
        return None
    return None if owner is None or _is_of(owner, project) or _has_moved(owner, project) else owner


def _name(owner: Owner | Project) -> str:
    if not isinstance(owner, Owner):
        return f"{owner.checkout} (its link is {owner.venv})"
    return f"{owner.root} (its link is {owner.link}{owner.user and f', its owner {owner.user}'})"


def _is_of(owner: Owner, project: Project) -> bool:
    return _is_same(owner.root, project.checkout) and (
        owner.link.name == project.venv.name and _is_same(owner.link.parent, project.venv.parent)
    )


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path == other or path.samefile(other)
    except OSError:
        return False


def _has_moved(owner: Owner, project: Project) -> bool:
    """True if the recorded project is gone or was never adopted, and is now this project."""
    if _is_same(owner.root, project.checkout):
        return not _is_adopted(owner.link)
    return _leads_into(project.venv, project.releases) and _is_gone(owner.root)


def _is_adopted(link: Path) -> bool:
    """True if a path is a symlink to a release; `venv` may have named another path by mistake."""
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
    import logging  # slow to import, for `releaser list`

    logging.getLogger(__name__).warning(message, *facts)
