"""Listeners to the steps of a run: their start and end, progress, and output of programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.report import Outcome


class Gauge(Frozen):
    """The progress of a step: `read` returns how many of `total` are done, in units of `noun`, or bytes without one.

    It may be read at any time, from another thread; 0 stands for an unknown `total`.
    """

    total: int = 0
    noun: str = ""
    read: Callable[[], int]


class Listener(Protocol):
    """Receives steps while they run; with `shows_progress`, also their progress."""

    @property
    def shows_progress(self) -> bool: ...

    def started(self, step: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...

    def measured(self, gauge: Gauge) -> None: ...

    def printed(self, chunk: bytes) -> None: ...


class Silence:
    """Ignores steps: cron, and `--quiet`."""

    shows_progress = False

    def started(self, step: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...

    def measured(self, gauge: Gauge) -> None: ...

    def printed(self, chunk: bytes) -> None: ...
