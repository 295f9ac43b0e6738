"""The one reader of state files: a file that releaser cannot have written is set aside, and never ends a run."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from releaser.system.files import BrokenFileError, read_json, read_regular_file, set_aside
from releaser.system.run import Run

T = TypeVar("T")


def read_state(path: Path, kind: type[T], run: Run | None = None, consequence: str = "") -> T | None:
    """Return the content of a state file; None if it does not exist, or cannot be read.

    A broken file is renamed to `NAME.broken` if there is a `run` to name it, with the `consequence`. Raises OSError.
    """
    try:
        return read_json(path, kind)
    except BrokenFileError as error:
        if run is not None:
            run.note(f"{error}. It is now `{set_aside(path)}`{f': {consequence}' if consequence else ''}.")
        return None


def set_aside_if_broken(path: Path, run: Run, consequence: str, *, is_log: bool = False) -> None:
    """Rename what stands in the place of a file and is none, and report it. Raises OSError."""
    try:
        read_regular_file(path, is_log=is_log)
    except BrokenFileError as error:
        run.note(f"{error}. It is now `{set_aside(path)}`: {consequence}.")
