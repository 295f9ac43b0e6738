"""Whose state directory and work tree these are: the root and the symlink of one project are written down in each.

Two projects with one state directory would take each other's releases for their own, and prune what is live. Two with
one work tree would let each other's commits go live untested.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, check_types, put_aside, read_json, write_json
from releaser.errors import PreflightError, Unfit

if TYPE_CHECKING:
    from releaser.project.project import Project
    from releaser.tools.git_layout import Layout

log = logging.getLogger(__name__)

OWNER = "project.json"  # in the state directory
OWNER_OF_WORK_TREE = "releaser.json"  # in git's directory of the work tree


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The project that something belongs to, by the absolute paths of its checkout and of its symlink."""

    root: Path
    link: Path


def read_owner(path: Path) -> Owner | None:
    """Return the owner that a file names; None if that is not written down. Raises UnreadableStateError.

    The paths in the file start at its directory, so that all may be moved or mounted elsewhere together.
    """
    content = read_json(path)
    if content is None:
        return None
    try:
        check_types(content, {"root": str, "link": str})
    except (KeyError, TypeError) as error:
        raise UnreadableStateError(path, f"it names no project ({error!r})") from error
    base = os.path.realpath(path.parent)
    return Owner(
        root=Path(os.path.normpath(os.path.join(base, content["root"]))),
        link=Path(os.path.normpath(os.path.join(base, content["link"]))),
    )


def dispute(project: Project) -> Unfit | None:
    """Say that the state directory belongs to another project, if it does."""
    file = project.state_dir / OWNER
    owner = _other(project, file)
    if owner is None:
        return None
    message = f"state_dir {project.state_dir} belongs to the project {_named(owner)}, and not to {_of(project)}"
    advice = f"Set `state_dir` to a directory of its own; if the other project is gone, delete {file}."
    return Unfit(message, advice=advice)


def work_tree_dispute(project: Project, layout: Layout) -> Unfit | None:
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
    return Unfit(message, advice=advice)


def claim(project: Project) -> str:
    """Write down whose state directory this is; return what there is to say of it, mostly nothing.

    The caller holds the project lock. Raises PreflightError if it belongs to another project.
    """
    return _claim(project, project.state_dir / OWNER, dispute(project))


def claim_work_tree(project: Project, layout: Layout) -> str:
    """Write down whose work tree this is, as `claim` does. Raises PreflightError if it belongs to another project."""
    return _claim(project, layout.git_directory / OWNER_OF_WORK_TREE, work_tree_dispute(project, layout))


def _claim(project: Project, file: Path, disputed: Unfit | None) -> str:
    said = ""
    try:
        owner = read_owner(file)
    except UnreadableStateError as error:
        owner = None
        with contextlib.suppress(OSError):  # which must not keep anybody from going back
            said = f"{error.path} could not be read; it is kept as {put_aside(error.path).name}."
    except OSError as error:
        log.warning("%s cannot be looked at: %s", file, error)
        return ""
    if owner is not None and _is_of(owner, project):
        return ""
    if disputed is not None:
        raise PreflightError((disputed,))
    base = os.path.realpath(file.parent)
    paths = {"root": os.path.relpath(project.checkout, base), "link": os.path.relpath(project.venv, base)}
    try:
        write_json(file, paths)
    except OSError as error:  # a full disk must not keep anybody from going back; the next run writes it
        log.warning("%s cannot be written: %s", file, error)
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
