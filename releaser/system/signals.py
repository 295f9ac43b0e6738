"""Signals that ask a run to end. The handler only notes one and wakes the wait: a check, or a wait, raises.

An exception in a handler would be dropped wherever Python runs it in a callback, such as those of a fork. So what waits
calls `wait`, and what takes long by itself calls `check_signals`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType

from releaser.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HURRY = 5.0  # seconds for hooks and servers, once a signal has come and only they are waited for


class _State:
    deferred = False
    arrived: int | None = None
    is_raised = False
    is_over = False
    is_hurried = False
    until = 0.0  # the end of all waits, once a signal has come and only others are waited for
    wakeup = -1  # readable once a signal has come


def _handle(number: int, frame: FrameType | None) -> None:
    _State.arrived = _State.arrived or number


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """Let checks and waits in the block raise Interrupted, once, when a signal has asked the run to end."""
    _State.deferred = _State.is_raised = _State.is_over = False
    _State.arrived, _State.until = None, 0.0
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    _State.wakeup = reader
    before = {number: signal.signal(number, _handle) for number in SIGNALS}
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.wakeup = -1
        os.close(reader)
        os.close(writer)


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


@contextlib.contextmanager
def hurry_on_signals() -> Iterator[None]:
    """Shorten the waits of the block once a signal has arrived, also a deferred one."""
    _State.is_hurried = True
    try:
        yield
    finally:
        _State.is_hurried, _State.until = False, 0.0


def ignore_signals() -> None:
    """Raise no more: the work is done, or undone. A signal still shortens the waits for hooks and servers."""
    _State.is_over = True


def find_signal() -> int | None:
    """Return the signal that has arrived, whether it was raised or came too late for that."""
    return _State.arrived


def check_signals(*, also_deferred: bool = False) -> None:
    """Raise Interrupted if a signal has arrived: once, since a second one must not end what the first began to undo."""
    is_closed = _State.is_raised or _State.is_over or (_State.deferred and not also_deferred)
    if _State.arrived is not None and not is_closed:
        _State.is_raised = True
        raise Interrupted(_State.arrived)


def limit(deadline: float) -> float:
    """Return a deadline of the monotonic clock, or an earlier one if a signal came and only others are waited for."""
    if _State.arrived is None or not (_State.is_over or _State.is_hurried):
        return deadline
    _State.until = _State.until or time.monotonic() + _HURRY
    return min(deadline, _State.until)


def wait(seconds: float, *descriptors: int) -> list[int]:
    """Wait until a descriptor is readable; return those that are, none after `seconds`. Raises Interrupted."""
    deadline = time.monotonic() + seconds
    while True:
        check_signals()
        wakeup = [_State.wakeup] if _State.wakeup >= 0 and _State.arrived is None else []
        left = max(0.0, limit(deadline) - time.monotonic())
        readable: list[int] = select.select([*descriptors, *wakeup], [], [], left)[0]
        if readable != wakeup or not wakeup:
            return [descriptor for descriptor in readable if descriptor not in wakeup]
