"""Whose state directory this is: the root and the symlink of one project are written down in it.

Two projects with one state directory would take each other's releases for their own, and prune what is live.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, check_types, put_aside, read_json, write_json
from releaser.errors import PreflightError, Unfit

if TYPE_CHECKING:
    from releaser.project.project import Project

log = logging.getLogger(__name__)

OWNER = "project.json"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The project that a state directory belongs to, by the absolute paths of its checkout and of its symlink."""

    root: Path
    link: Path


def read_owner(state_dir: Path) -> Owner | None:
    """Return whose state directory this is; None if that is not written down. Raises UnreadableStateError.

    The paths in the file start at the directory itself, so that all may be moved or mounted elsewhere together.
    """
    path = state_dir / OWNER
    content = read_json(path)
    if content is None:
        return None
    try:
        check_types(content, {"root": str, "link": str})
    except (KeyError, TypeError) as error:
        raise UnreadableStateError(path, f"it names no project ({error!r})") from error
    base = os.path.realpath(state_dir)
    return Owner(
        root=Path(os.path.normpath(os.path.join(base, content["root"]))),
        link=Path(os.path.normpath(os.path.join(base, content["link"]))),
    )


def dispute(project: Project) -> Unfit | None:
    """Say that the state directory belongs to another project, if it does."""
    try:
        owner = read_owner(project.state_dir)
    except (UnreadableStateError, OSError):
        return None
    if owner is None or _is_of(owner, project) or _has_moved(owner, project):
        return None
    message = (
        f"state_dir {project.state_dir} belongs to the project {owner.root} (its link is {owner.link}),"
        f" and not to {project.checkout} (its link is {project.venv})"
    )
    advice = f"Set `state_dir` to a directory of its own; if the other project is gone, delete {_file(project)}."
    return Unfit(message, advice=advice)


def claim(project: Project) -> str:
    """Write down whose state directory this is; return what there is to say of it, mostly nothing.

    The caller holds the project lock. Raises PreflightError if it belongs to another project.
    """
    said = ""
    try:
        owner = read_owner(project.state_dir)
    except UnreadableStateError as error:
        owner, said = None, f"{error.path} could not be read; it is kept as {put_aside(error.path).name}."
    except OSError as error:
        log.warning("%s cannot be looked at: %s", _file(project), error)
        return ""
    if owner is not None and _is_of(owner, project):
        return ""
    if found := dispute(project):
        raise PreflightError((found,))
    base = os.path.realpath(project.state_dir)
    paths = {"root": os.path.relpath(project.checkout, base), "link": os.path.relpath(project.venv, base)}
    try:
        write_json(_file(project), paths)
    except OSError as error:  # a full disk must not keep anybody from going back; the next run writes it
        log.warning("%s cannot be written: %s", _file(project), error)
    if owner is not None:
        said = f"The project was moved from {owner.root} ({owner.link}) to {project.checkout} ({project.venv})."
    return said


def _file(project: Project) -> Path:
    return project.state_dir / OWNER


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
