"""Visitors who ask a site without a pause, while the workers that answer them are killed."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from visitors import NICE, Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VISITORS = 3
PAUSE = 0.02  # between two requests of a visitor: updates need the processors, too
KILLS_EVERY = (1.0, 4.0)  # seconds
STARTS_WITHIN = 8.0  # seconds from a worker's start to its first answer, while an update needs the processors
SIGKILL_EVERY = 5  # kills; all others let a worker finish the request that it has
RANDOM = random.SystemRandom()


@dataclass(kw_only=True)
class Tally:
    """What was asked and killed: `cut` are requests whose worker got a SIGKILL while it answered, one for each."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    cut: int = 0
    signals: Counter[str] = field(default_factory=Counter)


class Unrest:
    """Visitors and a killer, at work until the block ends."""

    def __init__(self, address: Address, pages: Sequence[str], pidfile: Path) -> None:
        self._tally = Tally()
        self._address = address
        self._pages = pages
        self._pidfile = pidfile
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._sigkills: list[float] = []
        self._seen: dict[int, float] = {}  # workers, and when they were first seen

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Let them ask and kill during the block."""
        threads = [threading.Thread(target=self._visit, args=(number,), daemon=True) for number in range(VISITORS)]
        threads.append(threading.Thread(target=self._kill, daemon=True))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def take_tally(self) -> Tally:
        """Return what was counted since the last call."""
        with self._lock:
            tally, self._tally = self._tally, Tally()
        return tally

    def _visit(self, number: int) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        rounds = number
        while not self._ended.wait(PAUSE):
            rounds += 1
            self._ask(self._pages[rounds % len(self._pages)])

    def _ask(self, page: str) -> None:
        began = time.monotonic()
        failure, is_cut = "", False
        with contextlib.closing(self._address.connection()) as connection:
            try:
                connection.request("GET", page)
                response = connection.getresponse()
                body = response.read()
                if response.status != 200:
                    failure = f"{page}: {response.status} {body[:300]!r}"
            except (OSError, http.client.HTTPException) as error:
                failure = f"{page}: {error!r} after {time.monotonic() - began:.1f} s"
                is_cut = isinstance(error, ConnectionResetError | BrokenPipeError | http.client.IncompleteRead)
        with self._lock:
            self._tally.requests += 1
            if is_cut and self._excuse(began):
                self._tally.cut += 1
            elif failure:
                self._tally.failures.append(f"{time.strftime('%H:%M:%S')} {failure}")

    def _excuse(self, began: float) -> bool:
        """Whether a SIGKILL that has cut no other request was sent since then."""
        found = next((sent for sent in self._sigkills if sent >= began), None)
        if found is not None:
            self._sigkills.remove(found)
        return found is not None

    def _kill(self) -> None:
        for count in range(1, 1_000_000):
            if self._ended.wait(RANDOM.uniform(*KILLS_EVERY)):
                return
            which = signal.SIGTERM if count % SIGKILL_EVERY else signal.SIGKILL
            with contextlib.suppress(OSError, ValueError, IndexError):  # there may be none to kill
                victim = RANDOM.choice(self._dispensable())
                with self._lock:
                    if which == signal.SIGKILL:
                        self._sigkills.append(time.monotonic())
                    self._tally.signals[which.name] += 1
                os.kill(victim, which)

    def _dispensable(self) -> list[int]:
        """List the workers without which two that have started are left: killing all of them proves nothing."""
        now = time.monotonic()
        self._seen = {worker: self._seen.get(worker, now) for worker in workers(self._pidfile)}
        started = {worker for worker, seen in self._seen.items() if now - seen > STARTS_WITHIN}
        return [worker for worker in self._seen if len(started - {worker}) > 1]


def workers(pidfile: Path) -> list[int]:
    """Return the workers of the gunicorn that has written this file; OSError or ValueError if it is not running."""
    master = int(pidfile.read_text())
    return [int(word) for word in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
