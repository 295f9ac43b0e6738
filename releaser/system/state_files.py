"""`StateFile`: a module's declaration of a file in the state directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from releaser.system.files import UnreadableStateError, clear_name, read_state
from releaser.system.frozen import Frozen


class StateFile(Frozen):
    """A file or directory of releaser in the state directory. `capabilities.py` lists all of them."""

    name: str
    #: The class of its content, and the function that reads it and raises UnreadableStateError; None if it needs no
    #: check.
    type: type | None = None
    read: Callable[[Path, Any], object] = read_state
    #: The content that replaces an unreadable file; None: the file is made when a run needs it.
    substitute: object = None
    #: The effect of its loss, and the advice; empty if the file is rebuilt from the releases, or its loss does no harm.
    loss: str = ""
    advice: str = ""
    #: Deletes the file for `uninstall`, but no file of a person. Raises OSError.
    delete: Callable[[Path], object] = clear_name

    def __fspath__(self) -> str:
        return self.name

    __str__ = __fspath__

    def uninstall(self, state_dir: Path) -> None:
        """Delete the file, and its copies that were put aside as unreadable. Raises OSError."""
        for copy in state_dir.glob(f"{self.name}.unreadable-*"):
            clear_name(copy)
        self.delete(state_dir / self.name)


def require_file(path: Path, _: object) -> None:
    """Raise UnreadableStateError if a directory or a device has the name of a file."""
    if path.exists() and not path.is_file():
        raise UnreadableStateError(path, "a directory" if path.is_dir() else "not a file")


def remove_if_empty(directory: Path) -> None:
    """Delete a directory if it is empty; a person may keep files in it."""
    with contextlib.suppress(OSError):
        directory.rmdir()
