"""Who is told of the steps of a run while they happen: that they start and end, how far they get, what they print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.report import Outcome


class Gauge(Frozen):
    """How far a step has got: `read` says how many of `total` are done, of what `noun` names, or bytes without one.

    It may be read at any time, from another thread; a `total` of 0 is not known.
    """

    total: int = 0
    noun: str = ""
    read: Callable[[], int]


class Listener(Protocol):
    """What is told of steps while they happen; `shows_progress` says whether it is to hear how far they get."""

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
