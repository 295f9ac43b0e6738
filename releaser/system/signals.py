"""SIGINT, SIGTERM and SIGHUP: they end a run through every `finally`, and wait where a step must not be cut in two."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from releaser.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is inside as Ctrl-C does: by an exception, Interrupted."""

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handled((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let interrupts wait until the end of the block, where the first of them arrives.

    Blocking the signals would not do: the kernel then gives them to another thread, such as that of a spinner, and
    Python still runs the handler in the main thread.
    """
    came: list[int] = []
    try:
        with _handled(INTERRUPTS, lambda number, _: came.append(number)):
            yield
    finally:
        if came:
            signal.raise_signal(came[0])


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle signals in another way for a while; what is ignored stays so, as under nohup(1)."""
    try:
        heard = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        earlier = {number: signal.signal(number, handler) for number in heard}
    except ValueError:  # not in the main thread, where signals do not arrive anyway
        yield
        return
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
