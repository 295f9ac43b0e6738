"""The state directory: made once, open to the project's group, and on the way to the venv for the web server."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from releaser.durable import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.project.project import Project

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
