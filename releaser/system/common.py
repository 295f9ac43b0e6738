"""Answers that the runs of one owner share while `--all` or `--sites` lasts: each question is asked once.

A crew (fleet/crew.py) makes the directory of the answers, for its user alone. Any other run asks by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from releaser.system.digests import hex_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FRESH = 600.0  # seconds for which an answer counts, as PyPI's do
_WHOLE = b"="  # begins a file, and is written last: a killed run or a full disk leaves no part of an answer
_place = ""  # the directory of the answers; empty without a crew


def begin(place: str) -> None:
    """Keep answers in a directory from now on, also those of forked processes."""
    global _place
    _place = place


def is_shared() -> bool:
    """True if this run shares answers with others."""
    return bool(_place)


class Answer:
    """The answer to a question, as far as another run has kept one; only this process asks meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.known: bytes | None = None
        status = os.fstat(descriptor)
        found = os.pread(descriptor, status.st_size, 0)
        if found.startswith(_WHOLE) and abs(time.time() - status.st_mtime) < _FRESH:
            self.known = found[len(_WHOLE) :]

    def keep(self, content: bytes) -> None:
        """Keep an answer for the other runs, instead of the known one; on a full disk, they ask by themselves."""
        self.known = content
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            if os.pwrite(self._descriptor, content, len(_WHOLE)) == len(content):
                os.pwrite(self._descriptor, _WHOLE, 0)

    def forget(self) -> None:
        """Let the next run ask again."""
        os.ftruncate(self._descriptor, 0)


@contextlib.contextmanager
def asking(*question: object) -> Iterator[Answer | None]:
    """Yield the answer to a question, which no other run asks meanwhile; None if this run shares none."""
    descriptor = -1
    if _place:
        name = hex_digest(repr(question).encode())
        with contextlib.suppress(OSError):  # then this run asks by itself
            descriptor = os.open(os.path.join(_place, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    if descriptor < 0:
        yield None
        return
    try:
        yield Answer(descriptor)
    finally:
        os.close(descriptor)


def ask_once(ask: Callable[[], str], *question: object) -> str:
    """Return an answer that cannot change meanwhile, from the first run that asked."""
    with asking(*question) as answer:
        if answer is None:
            return ask()
        if answer.known is None:
            answer.keep(ask().encode())
        return (answer.known or b"").decode()
