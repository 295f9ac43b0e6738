"""What a module declares of each file that releaser keeps in the state directory."""

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
    #: The class of its content, and what reads it, which raises UnreadableStateError; None if nothing has to.
    type: type | None = None
    read: Callable[[Path, Any], object] = read_state
    #: What is written in the place of an unreadable one; None: nothing, until a run needs the file.
    substitute: object = None
    #: The effect of its loss, and the advice; empty if it is made again from the releases, or nobody notices.
    loss: str = ""
    advice: str = ""
    #: Deletes it, for `uninstall`, but nothing that a person has put there. Raises OSError.
    delete: Callable[[Path], object] = clear_name

    def __fspath__(self) -> str:
        return self.name

    __str__ = __fspath__

    def uninstall(self, state_dir: Path) -> None:
        """Delete it, and the copies of it that could not be read. Raises OSError."""
        for copy in state_dir.glob(f"{self.name}.unreadable-*"):
            clear_name(copy)
        self.delete(state_dir / self.name)


def require_file(path: Path, _: object) -> None:
    """Raise UnreadableStateError if a directory or a device is in the place of a file."""
    if path.exists() and not path.is_file():
        raise UnreadableStateError(path, "a directory" if path.is_dir() else "not a file")


def remove_if_empty(directory: Path) -> None:
    """Delete a directory; one in which a person keeps files stays."""
    with contextlib.suppress(OSError):
        directory.rmdir()
