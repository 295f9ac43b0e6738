"""Visitors who ask a site without a pause, and look at every answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stage import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

VISITORS = 4
SECONDS = 60.0  # how long something may take that should happen soon
TIMEOUT = 30.0
LATE = "markdown"  # what the site imports only when it is asked for it
NICE = 10  # visitors and server leave the processors to releaser, as they take all that there is


class Address(NamedTuple):
    """Where a site listens: a port of the loopback, or a unix socket."""

    port: int = 0
    path: str = ""

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is opened when something is asked, and again when the server has closed it."""
        return _UnixConnection(self.path) if self.path else http.client.HTTPConnection("127.0.0.1", self.port, TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one process of the site has loaded: versions by package, and the prefix of its Python."""

    process: int
    prefix: str
    packages: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, page: bytes) -> Answer:
        """Read a page of the site; ValueError or LookupError if it is another one."""
        found = json.loads(page)
        return cls(process=found["process"], prefix=found["prefix"], packages=frozenset(found["packages"].items()))

    def is_of(self, versions: Mapping[str, str]) -> bool:
        """Whether all of it comes from one set of versions."""
        return self.packages <= versions.items()


@dataclass(kw_only=True)
class Tally:
    """What visitors have seen: how many requests, what failed, and which answers came how often.

    `slowest` and `slowest_after` are how many seconds the slowest request took before the flip, and from then on.
    """

    requests: int = 0
    slowest: float = 0.0
    slowest_after: float = 0.0
    failures: list[str] = field(default_factory=list)
    answers: Counter[Answer] = field(default_factory=Counter)

    @property
    def processes(self) -> frozenset[int]:
        """The processes that have answered."""
        return frozenset(answer.process for answer in self.answers)

    def imported_late(self, processes: Collection[int]) -> int:
        """Count the answers of these processes that show the package that is imported late."""
        return sum(
            count
            for answer, count in self.answers.items()
            if answer.process in processes and LATE in dict(answer.packages)
        )

    def mixed(self, *releases: Mapping[str, str]) -> int:
        """Count the answers that are of none of these releases."""
        return sum(
            count for answer, count in self.answers.items() if not any(answer.is_of(versions) for versions in releases)
        )


class Crowd:
    """Visitors of a site, each with a connection of its own that is kept alive while the server keeps it.

    They ask for a package that is imported late from the moment on when `link` leads elsewhere: a page that nobody has
    opened before. With a `pause`, in seconds, there is one visitor, who has the priority of others and asks for nothing
    late.
    """

    def __init__(self, address: Address, link: Path, *, pages: Sequence[str], pause: float = 0.0) -> None:
        self._pause = pause
        self.tally = Tally()
        self._pages = pages
        self._address = address
        self._link = link
        self._target = os.readlink(link)
        self._flipped = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._latest: list[Answer] = []

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Let them ask during the block."""
        threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(1 if self._pause else VISITORS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._closed.set()
            for thread in threads:
                thread.join(SECONDS)

    def begin(self) -> Tally:
        """Count from now on; return the tally, which is complete when nobody asks any more."""
        with self._lock:
            self.tally = Tally()
            return self.tally

    def wait_until_all_answers(
        self, are_so: Callable[[Answer], bool], *, what: str, number: int = 60, processes: int = 2
    ) -> None:
        """Wait until the next `number` answers are all so, and come from so many processes or more. DemoError if never.

        Passenger lets one process answer a visitor who is alone.
        """
        ends_at = time.monotonic() + SECONDS
        with self._lock:
            self._latest.clear()
        while True:
            with self._lock:
                latest = self._latest[-number:]
            if len(latest) == number and all(map(are_so, latest)) and len({one.process for one in latest}) >= processes:
                return
            if time.monotonic() > ends_at:
                message = f"{what} did not happen within {SECONDS:g} s: {set(latest)}, {self.tally.failures[:3]}"
                raise DemoError(message)
            time.sleep(0.02)

    def _visit(self) -> None:
        if not self._pause:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        connection = self._address.connection()
        rounds = 0
        while not self._closed.is_set():
            rounds += 1
            path = self._page(rounds)
            answer = None
            began = time.monotonic()
            try:
                # As nginx does, which opens a connection for each request.
                connection.request("GET", path, headers={"Connection": "close"} if self._address.path else {})
                response = connection.getresponse()
                body = response.read()
                failure = "" if response.status == 200 else f"{path}: {response.status} {body[:300]!r}"
                if not failure and path not in self._pages:
                    answer = Answer.of(body)
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                connection.close()
                failure = f"{path}: {error!r}"
            self._note(failure, answer, seconds=time.monotonic() - began)
            time.sleep(self._pause)
        connection.close()

    def _page(self, rounds: int) -> str:
        if rounds % 20 == 0:
            return self._pages[rounds // 20 % len(self._pages)]
        if not self._flipped.is_set() and os.readlink(self._link) != self._target:
            self._flipped.set()
        return "/versions/?late" if self._flipped.is_set() and not self._pause else "/versions/"

    def _note(self, failure: str, answer: Answer | None, *, seconds: float) -> None:
        with self._lock:
            self.tally.requests += 1
            if self._flipped.is_set():
                self.tally.slowest_after = max(self.tally.slowest_after, seconds)
            else:
                self.tally.slowest = max(self.tally.slowest, seconds)
            if failure:
                self.tally.failures.append(failure)
            if answer is not None:
                self.tally.answers[answer] += 1
                self._latest.append(answer)
