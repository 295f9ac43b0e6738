"""How far a look at many files is, for those who wait for it."""

from __future__ import annotations

import contextlib
from typing import Protocol


class Progress(Protocol):
    """What shows it: `begins` names a release and the number of files to read, `advances` counts one."""

    def begins(self, release: str, total: int) -> None: ...

    def advances(self) -> None: ...


class Hidden(contextlib.AbstractContextManager["Hidden"]):
    """Shows nothing."""

    def __exit__(self, *_: object) -> None: ...

    def begins(self, release: str, total: int) -> None:
        """Show nothing."""

    def advances(self) -> None:
        """Show nothing."""
