"""Where a project keeps its state, found without reading more than is needed.

`releaser list` answers from here alone, so this module imports nothing that is slow to import. Everything else takes
the same two answers from the whole `Settings`; a test holds the two together.
"""

from __future__ import annotations

import os

STATE_VARIABLE = "RELEASER_STATE_DIR"
VENV_VARIABLE = "RELEASER_VENV"
DEFAULT_VENV = ".venv"
PYPROJECT = "pyproject.toml"
LOCK = "uv.lock"


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


def quick_location(project: str, environ: dict[str, str] | os._Environ[str]) -> tuple[str, str] | None:
    """Return the state directory and the path of the symlink, both tidy; None when only the whole settings can tell.

    That is so when a configuration file mentions one of the two settings in any form, or a variable is not plain.
    """
    outer = os.path.dirname(project)
    state, venv = environ.get(STATE_VARIABLE, ""), environ.get(VENV_VARIABLE, "")
    if not (_is_plain(state) and _is_plain(venv)):
        return None
    if _mentions(os.path.join(outer, ".env"), (STATE_VARIABLE, VENV_VARIABLE)):
        return None
    if _mentions(os.path.join(project, PYPROJECT), ("releaser",)) and _mentions(
        os.path.join(project, PYPROJECT), ("state_dir", "state-dir", "venv")
    ):
        return None
    link = os.path.normpath(os.path.join(project, venv or DEFAULT_VENV))
    return (
        os.path.normpath(os.path.join(project, state) if state else default_state_dir(project)),
        os.path.join(os.path.realpath(os.path.dirname(link)), os.path.basename(link)),
    )


def _is_plain(value: str) -> bool:
    """Tell whether a value means what it says: no home directory to look up, nothing to trim or to refuse."""
    return value == value.strip() and not value.startswith("~") and not any(mark in value for mark in "\r\n")


def _mentions(path: str, words: tuple[str, ...]) -> bool:
    """Tell whether a file has any of the words; a file that cannot be read counts as having them."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True
    return any(word in text for word in words) or any(escape in text for escape in ("\\u", "\\U", "\\x"))
