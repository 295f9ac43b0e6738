"""Tells the web server to restart the site, and asks the site how it is."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from releaser.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from http.client import HTTPConnection, HTTPResponse
    from pathlib import Path

log = logging.getLogger(__name__)

_HEADERS = {"User-Agent": "releaser", "Cache-Control": "no-cache"}
_SHOWN_BODY = 4000  # bytes
_AS_WRITTEN = "%/:=&?~+!$,;'@()*[]"  # what may stand in a URL besides letters and digits


def touch(path: Path) -> None:
    """Set the time of a restart file, making one for the group if need be (Passenger restarts when it changes)."""
    try:
        is_new = not path.exists()
        path.touch()
        os.utime(path)
        if is_new:
            path.chmod(0o664)  # whatever the umask is: another one of the group may be the next to touch it
    except OSError as error:
        message = f"{path} cannot be touched: {error.strerror}"
        raise ToolError(message, advice=f"Let this user write {path}, or set `restart_file`.") from error


def passenger_arguments(project: Path) -> list[str]:
    """Arguments that restart one Passenger application by its root, without failing when it is not running yet."""
    return ["passenger-config", "restart-app", "--ignore-app-not-running", str(project)]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How to ask: each try takes at most `timeout` seconds, `tries` of them, `pause` seconds apart."""

    timeout: float
    tries: int
    pause: float


def until_good(ask: Callable[[], str], patience: Patience, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """Ask until there is a good answer and return it; ToolError of the last try when there was none."""
    for left in range(patience.tries - 1, -1, -1):
        try:
            return ask()
        except ToolError as error:
            log.debug("health check: %s", error.message)
            if not left:
                raise
        sleep(patience.pause)
    message = "no health check was made"
    raise ToolError(message, advice="Set `health_retries` to 0 or more.")


def ask_url(url: str, *, timeout: float) -> str:
    """Get a URL once, within `timeout` seconds altogether; return a line on its answer.

    ToolError unless the status is 2xx or 3xx (which is not followed). The site is asked directly, as a proxy could
    answer for it.
    """
    question = _Question(url, timeout)
    question.ask()
    if question.failure is not None:
        raise question.failure
    if not 200 <= question.status < 400:
        message = f"{url} answered {question.status} {question.reason}".rstrip()
        raise ToolError(message, output=question.body)
    return f"{url} answered {question.status}"


class _Question:
    """One GET, in a thread that the caller can walk away from.

    A thread, since neither name resolution nor a server that trickles one byte at a time is bounded by the timeout of a
    socket. It is a daemon: it never keeps the process from ending.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self.status = 0
        self.reason = self.body = ""
        self.failure: ToolError | None = ToolError(f"{url} gave no answer within {timeout:g} s", timed_out=True)
        self._url = url
        self._timeout = timeout
        self._sockets: list[socket.socket] = []
        self._over = threading.Event()
        self._given_up = False

    def ask(self) -> None:
        """Wait for the answer, but no longer than may be; `failure` then still is what it was at first."""
        threading.Thread(target=self._run, name="releaser-health", daemon=True).start()
        try:
            self._over.wait(self._timeout)
        finally:
            self._given_up = True
            for one in self._sockets:  # ends what the thread may be waiting for
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        from http.client import HTTPException

        try:
            self._converse()
        except TimeoutError:
            pass  # what `failure` says
        except (OSError, HTTPException, ValueError) as error:  # ValueError: this is not a URL
            if not self._given_up:
                self.failure = ToolError(f"{self._url} cannot be reached: {_one_line(error)}")
        finally:
            self._over.set()

    def _converse(self) -> None:
        with contextlib.closing(self._connection()) as connection:
            connection.connect()
            self._sockets.append(connection.sock)
            if self._given_up:
                return
            connection.request("GET", _target(self._url), headers=_HEADERS)
            response = connection.getresponse()
            if self._is_too_late():  # the headers may have ended only because nobody listens any more
                return
            self.status, self.reason, self.failure = response.status, response.reason, None
            if response.status >= 400:
                self.body = _beginning(response)

    def _is_too_late(self) -> bool:
        return self._given_up

    def _connection(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        parts = urlsplit(self._url)
        kind = HTTPSConnection if parts.scheme.lower() == "https" else HTTPConnection
        if not parts.hostname or parts.username is not None:
            message = "it names no host" if not parts.hostname else "a user in the URL is not supported"
            raise ValueError(message)
        return kind(parts.hostname, parts.port, timeout=self._timeout)


def _one_line(error: Exception) -> str:
    """Say what happened; a server that speaks another language is quoted in it."""
    printable = "".join(character if character.isprintable() else " " for character in str(error))
    return " ".join(printable.split())[:200] or type(error).__name__


def _target(url: str) -> str:
    parts = urlsplit(url)
    return quote(parts.path or "/", safe=_AS_WRITTEN) + (f"?{quote(parts.query, safe=_AS_WRITTEN)}" * bool(parts.query))


def _beginning(response: HTTPResponse) -> str:
    """Return what of a page may tell why the site is not well; the status is known, whatever happens here."""
    from http.client import HTTPException

    with contextlib.suppress(OSError, HTTPException, ValueError):
        return response.read(_SHOWN_BODY).decode("utf-8", errors="replace")
    return ""


def is_url(text: str) -> bool:
    """Tell a URL from a command."""
    return text.startswith(("http://", "https://"))


def restart_file_in(project: Path, candidates: Sequence[str] = ("config/tmp", "tmp")) -> Path | None:
    """Find the restart file: in the first of the candidate directories that is there."""
    for name in candidates:
        if (project / name).is_dir():
            return project / name / "restart.txt"
    return None
