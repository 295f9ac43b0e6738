"""Passenger's processes of an application, and their exchange: a new one starts before each old one ends.

Passenger starts a process if an application has fewer than `PassengerMinInstances`, or if a request finds all of them
busy. A process that is detached gets no more requests, finishes those that it has, and ends (Core/ApplicationPool of
Passenger 6.0.17). Passenger's socket obeys root and the user of the application, whom it knows by the connection.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, fromstring

from releaser.errors import ToolError
from releaser.system.frozen import Frozen
from releaser.tools.web import connect_unix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from xml.etree.ElementTree import Element

SOCKET = "agents.s/core_api"
_TIMEOUT = 10.0  # seconds for an answer of the socket
_POLL = 0.03  # seconds between two looks
_MORE = (1, 2, 4, 8)  # requests at once in addition to one for each process, until Passenger starts another process
_MOST_FAILURES = 2


class PoolError(Exception):
    """Passenger's socket does not answer, or not as expected."""


class Worker(Frozen):
    """A process that gets requests. Passenger never uses its `id` for another."""

    id: str
    pid: int


class Application(Frozen):
    """The processes of an application; `starting` ones do not answer yet."""

    name: str
    root: str
    startup_file: str
    workers: tuple[Worker, ...]
    starting: int
    has_room: bool

    def those(self, ids: frozenset[str], *, known: bool) -> tuple[Worker, ...]:
        """Return the workers with these ids, or those without."""
        return tuple(worker for worker in self.workers if (worker.id in ids) == known)


class Pool(Frozen):
    """The pool of an instance of Passenger, which has its sockets in `directory`."""

    directory: Path

    def applications(self, root: Path) -> tuple[Application, ...]:
        """Return the applications at or below a path. Raises PoolError."""
        try:
            pool = fromstring(self._ask("GET", "/pool.xml"))  # noqa: S314 - from root or this user
            has_room = int(pool.findtext("capacity_used", "")) < int(pool.findtext("max", ""))
            return tuple(
                Application(
                    name=_text_of(group, "name"),
                    root=_text_of(group, "app_root"),
                    startup_file=_text_of(group, "options/startup_file"),
                    workers=tuple(
                        Worker(id=process.findtext("gupid", ""), pid=int(process.findtext("pid", "")))
                        for process in group.iterfind("processes/process")
                        if process.findtext("enabled") == "ENABLED"
                    ),
                    starting=int(group.findtext("processes_being_spawned", "")) + len(group.findall("restarting")),
                    has_room=has_room,
                )
                for group in pool.iter("group")
                if root in Path(_text_of(group, "app_root"), "_").parents
            )
        except (ParseError, ValueError) as error:
            raise PoolError(error) from error

    def application(self, name: str) -> Application:
        """Return an application by its name, which is never empty. Raises PoolError if it is gone."""
        for found in self.applications(Path("/")):
            if found.name == name:
                return found
        raise PoolError(name)

    def detach(self, worker: Worker) -> None:
        """Let a process finish its requests and end; one that has gone is no error. Raises PoolError."""
        self._ask("POST", "/pool/detach_process.json", json.dumps({"pid": worker.pid}))

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        from http.client import HTTPConnection, HTTPException  # slow to import

        connection = HTTPConnection("localhost", timeout=_TIMEOUT)
        try:
            with contextlib.closing(connection):
                connection.sock = connect_unix(str(self.directory / SOCKET), _TIMEOUT)
                headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body else {})
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                text = answer.read()
        except (OSError, HTTPException) as error:
            raise PoolError(error) from error
        if answer.status != 200:
            raise PoolError(answer.status)
        return text


def _text_of(group: Element, name: str) -> str:
    """Return the text of an element, in which Passenger writes each byte as a character. Raises ValueError."""
    return os.fsdecode(group.findtext(name, "").encode("latin-1"))


def pools_in(listed: str) -> Iterator[Pool]:
    """Yield the pools that `passenger-config list-instances --json` names; not those of other users, who may lie."""
    for line in listed.splitlines():
        with contextlib.suppress(ValueError, LookupError, TypeError, OSError):
            for instance in json.loads(line):
                directory = Path(instance["instance_dir"]["path"])
                if os.lstat(directory).st_uid in (0, os.geteuid()):
                    yield Pool(directory=directory)


class Exchange(Frozen):
    """The exchange of the processes of an application. `ask` asks one of its pages, whatever the answer is.

    Without `ask`, Passenger cannot be made to start a process more than the application needs. Each process may take
    `limit` seconds to start.
    """

    pool: Pool
    name: str
    ask: Callable[[], object] | None
    limit: float

    def run(self) -> tuple[int, bool]:
        """Exchange all processes; return how many there were, and whether visitors had to wait for a new one.

        Raises PoolError, or ToolError if a new process does not start: then processes that ran before still do.
        """
        old, has_waited = self._look_at_old(), False
        wanted = len(old)
        while left := (found := self._look()).those(old, known=True):
            if len(found.workers) <= wanted and not self._start_another(old):
                has_waited = has_waited or len(self._look().workers) == 1
            self.pool.detach(left[0])
            self._wait_until_detached(left[0])
            self._wait_for_starts()
        return wanted, has_waited

    def _look(self) -> Application:
        return self.pool.application(self.name)

    def _look_at_old(self) -> frozenset[str]:
        """Return the ids of processes that run, and of one that is starting: it may have begun before the flip."""
        found = self._look()
        ids = frozenset(worker.id for worker in found.workers)
        ends_at = time.monotonic() + self.limit
        while found.starting and not found.those(ids, known=False) and time.monotonic() < ends_at:
            time.sleep(_POLL)
            found = self._look()
        return ids | {worker.id for worker in found.workers}

    def _start_another(self, old: frozenset[str]) -> bool:
        """Make Passenger start a process, by a moment in which all are busy; return False if it starts none.

        Raises ToolError if a process that starts does not come up.
        """
        if self.ask is None or not (before := self._look()).has_room:
            return False
        failures = 0
        for more in _MORE:
            asking = [threading.Thread(target=self.ask, daemon=True) for _ in range(len(before.workers) + more)]
            for one in asking:
                one.start()
            has_begun, ends_at = False, time.monotonic() + self.limit
            while (found := self._look()).starting or any(one.is_alive() for one in asking):
                has_begun = has_begun or bool(found.starting)
                if len(found.those(old, known=False)) > len(before.those(old, known=False)):
                    return True
                if time.monotonic() > ends_at:
                    raise self._failure()
                time.sleep(_POLL)
            if len(found.those(old, known=False)) > len(before.those(old, known=False)):
                return True
            failures += has_begun
            if failures == _MOST_FAILURES:
                raise self._failure()
        return False

    def _wait_until_detached(self, worker: Worker) -> None:
        """Wait until a process gets no more requests. Raises ToolError."""
        ends_at = time.monotonic() + self.limit
        while self._look().those(frozenset({worker.id}), known=True):
            if time.monotonic() > ends_at:
                message = f"Passenger did not detach process {worker.pid} of {self.name}"
                raise ToolError(message, "Run `passenger-status`, then `passenger-config restart-app`.", timed_out=True)
            time.sleep(_POLL)

    def _wait_for_starts(self) -> None:
        """Wait for the process that Passenger may start for a detached one. Raises ToolError."""
        ends_at = time.monotonic() + self.limit
        while self._look().starting:
            if time.monotonic() > ends_at:
                raise self._failure()
            time.sleep(_POLL)

    def _failure(self) -> ToolError:
        message = f"Passenger started no new process of {self.name}"
        return ToolError(message, "Find the reason in the log of the web server or of Passenger.")
