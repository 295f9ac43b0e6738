"""The places of a project and its state, by names alone. Imports little, for quick answers."""

from __future__ import annotations

import contextlib
import os

PYPROJECT = "pyproject.toml"
LOCK = "uv.lock"
DEFAULT_VENV = ".venv"
LOOKED = "run/looked"  # in the state directory: when a start last looked for updates, and when the next start will


def default_state_dir(project: str) -> str:
    """Return `../.releaser/<project directory name>`."""
    return os.path.join(os.path.dirname(project), ".releaser", os.path.basename(project))


def find_project(start: str) -> str | None:
    """Return the project that contains the directory `start`, itself or the nearest above; None without any.

    A project has pyproject.toml and uv.lock, or releaser keeps state for it. So a member of a workspace without a lock
    is no project. If no directory qualifies, the nearest with one of the two files does: preflight names the other. A
    directory that this user may not read counts as a project: preflight reports that.
    """
    here, second_best = start, None
    while True:
        try:
            found = _is_there(here, PYPROJECT) + _is_there(here, LOCK)
        except PermissionError:
            return here
        if found == 2 or os.path.isdir(os.path.join(default_state_dir(here), "releases")):
            return here
        second_best = second_best or (here if found else None)
        if os.path.dirname(here) == here:
            return second_best
        here = os.path.dirname(here)


def is_project(directory: str) -> bool:
    """True for a checkout with pyproject.toml and uv.lock, and for a project with releases."""
    with contextlib.suppress(PermissionError):
        if _is_there(directory, PYPROJECT) and _is_there(directory, LOCK) and _is_there(directory, ".git"):
            return True
    return os.path.isdir(os.path.join(default_state_dir(directory), "releases"))


def _is_there(directory: str, name: str) -> bool:
    try:
        os.lstat(os.path.join(directory, name))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
