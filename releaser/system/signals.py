"""Signals that ask a run to end: raised at once, or, while a change is under way, after it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from releaser.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class _State:
    deferred = False
    arrived: int | None = None


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.deferred:
        _State.arrived = _State.arrived or number
    elif _State.arrived is None:
        _State.arrived = number  # a second signal must not end what the first one began to undo
        raise Interrupted(number)


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Raise Interrupted in the block when a signal asks the run to end."""
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    _State.deferred, _State.arrived = False, None
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Finish the block first; a signal that arrived meanwhile is raised at its end."""
    before = _State.deferred
    _State.deferred = True
    try:
        yield
    finally:
        _State.deferred = before
    check_signals()


def check_signals() -> None:
    """Raise Interrupted if a signal arrived while it was deferred."""
    if _State.arrived is not None:
        raise Interrupted(_State.arrived)
