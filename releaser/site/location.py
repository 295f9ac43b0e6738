"""Where a project and its state lie, by names alone: what the quick answers need, which import little else."""

from __future__ import annotations

import os

PYPROJECT = "pyproject.toml"
LOCK = "uv.lock"
DEFAULT_VENV = ".venv"
LOOKED = "run/looked"  # in the state directory: when a start looked for updates last, and when the next one is to


def default_state_dir(project: str) -> str:
    """Return `../.releaser/<project directory name>`."""
    return os.path.join(os.path.dirname(project), ".releaser", os.path.basename(project))


def find_project(start: str) -> str | None:
    """Return the project that the directory `start` is in, itself or the nearest above; None outside of any.

    A project has pyproject.toml and uv.lock, or releaser keeps state for it. So a member of a workspace, which has no
    lock of its own, is none. Where nothing above is one either, a directory with one of the two files is taken, for
    preflight to name the other. What this user may not look into counts as a project, for the same reason.
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


def _is_there(directory: str, name: str) -> bool:
    try:
        os.lstat(os.path.join(directory, name))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
