"""The state directory: making it, and which project it belongs to."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.system.files import UnreadableStateError, put_aside, read_state, sync_directory, write_state

if TYPE_CHECKING:
    from releaser.site.project import Project
    from releaser.tools.git_reader import Layout


_SHARED = 0o2770  # the group may write, and what is made inside belongs to it too
_PASSAGE = 0o005  # for everybody, where the project is open to everybody: the web server's user may be anybody


def prepare(project: Project) -> None:
    """Make the directories of the state that are missing, whatever the umask is. Raises OSError.

    Logs and mails are for the group alone. A group that this user may not hand files to is left as it is.
    """
    like = project.root.stat()
    others = _PASSAGE if like.st_mode & stat.S_IXOTH else 0
    for place in _missing_parents(project.state_dir):
        _make(place, 0o755 if others else 0o750, None)
    for place in (project.state_dir, project.releases):
        _make(place, _SHARED | others, like.st_gid)
    for place in (project.logs, project.outbox):
        _make(place, _SHARED, like.st_gid)


def _missing_parents(directory: Path) -> list[Path]:
    missing = [parent for parent in directory.parents if not parent.exists()]
    return missing[::-1]


def _make(directory: Path, mode: int, group: int | None) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        return
    if group is not None:
        with contextlib.suppress(PermissionError):
            os.chown(directory, -1, group)
    directory.chmod(mode)
    sync_directory(directory.parent)


OWNER = "project.json"  # in the state directory
OWNER_OF_WORK_TREE = "releaser.json"  # in git's directory of the work tree


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The project that something belongs to, by the absolute paths of its checkout and of its symlink."""

    root: Path
    link: Path


@dataclass(frozen=True, kw_only=True)
class _Written:
    """The same, relative to the directory of the file, so that all may be moved or mounted elsewhere together."""

    root: str
    link: str


def read_owner(path: Path) -> Owner | None:
    """Return the owner that a file names; None if that is not written down. Raises UnreadableStateError."""
    found = read_state(path, _Written)
    if found is None:
        return None
    base = os.path.realpath(path.parent)
    return Owner(
        root=Path(os.path.normpath(os.path.join(base, found.root))),
        link=Path(os.path.normpath(os.path.join(base, found.link))),
    )


def dispute(project: Project) -> Finding | None:
    """Say that the state directory belongs to another project, if it does."""
    file = project.state_dir / OWNER
    owner = _other(project, file)
    if owner is None:
        return None
    message = f"state_dir {project.state_dir} belongs to the project {_named(owner)}, and not to {_of(project)}"
    advice = f"Set `state_dir` to a directory of its own; if the other project is gone, delete {file}."
    return Finding(message, advice=advice)


def work_tree_dispute(project: Project, layout: Layout) -> Finding | None:
    """Say that the work tree belongs to another project, if it does: going live with one moves the code of both."""
    file = layout.git_directory / OWNER_OF_WORK_TREE
    owner = _other(project, file)
    if owner is None or not owner.link.is_symlink():  # that one is not adopted any more
        return None
    message = f"the work tree {layout.top} belongs to the project {_named(owner)}, and not to {_of(project)}"
    advice = (
        "Give each project a checkout of its own: its commits are tested with this project's tests alone, and"
        f" going live moves the whole work tree. If the other project is gone, delete {file}."
    )
    return Finding(message, advice=advice)


def claim(project: Project) -> str:
    """Write down whose state directory this is; return what there is to say of it, mostly nothing.

    The caller holds the project lock. Raises PreflightError if it belongs to another project.
    """
    return _claim(project, project.state_dir / OWNER, dispute(project))


def claim_work_tree(project: Project, layout: Layout) -> str:
    """Write down whose work tree this is, as `claim` does. Raises PreflightError if it belongs to another project."""
    return _claim(project, layout.git_directory / OWNER_OF_WORK_TREE, work_tree_dispute(project, layout))


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
    base = os.path.realpath(file.parent)
    paths = _Written(root=os.path.relpath(project.checkout, base), link=os.path.relpath(project.venv, base))
    try:
        write_state(file, paths)
    except OSError as error:  # a full disk must not keep anybody from going back; the next run writes it
        _warn("%s cannot be written: %s", file, error)
    if owner is not None and file.name == OWNER:
        said = f"The project was moved from {_named(owner)} to {_of(project)}."
    return said


def _other(project: Project, file: Path) -> Owner | None:
    """Return the owner that a file names, if that is another project."""
    try:
        owner = read_owner(file)
    except (UnreadableStateError, OSError):
        return None
    return None if owner is None or _is_of(owner, project) or _has_moved(owner, project) else owner


def _named(owner: Owner) -> str:
    return f"{owner.root} (its link is {owner.link})"


def _of(project: Project) -> str:
    return f"{project.checkout} (its link is {project.venv})"


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
    """Whether what is written down is not there any more, and this project is the one that it has become."""
    if _is_same(owner.root, project.checkout):
        return _is_gone(owner.link)
    return _is_gone(owner.root) and _leads_into(project.venv, project.releases)


def _is_gone(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _leads_into(link: Path, releases: Path) -> bool:
    return link.is_symlink() and Path(os.path.realpath(link)).is_relative_to(os.path.realpath(releases))


def _warn(message: str, *facts: object) -> None:
    import logging  # which takes long to import, for `releaser list`

    logging.getLogger(__name__).warning(message, *facts)
