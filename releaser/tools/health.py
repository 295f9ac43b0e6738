"""Asks the site how it is: by HTTP, over TCP or a unix socket, with patience that has an end."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from releaser.errors import ToolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPConnection, HTTPResponse

log = logging.getLogger(__name__)

_HEADERS = {"User-Agent": "releaser", "Cache-Control": "no-cache"}
USUAL_STATUSES = (range(200, 300), range(300, 400))
_SHOWN_BODY = 4000  # bytes
SEARCHED_BODY = 1_000_000  # bytes of a page in which a text is looked for
_AS_WRITTEN = "%/:=&?~+!$,;'@()*[]"  # what may stand in a URL besides letters and digits
_POLL = 0.1  # seconds
_LONGEST_PAUSE = 1.0  # seconds, where every answer must be good: several processes may take turns


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How to ask: each try takes at most `timeout` seconds, `tries` of them, `pause` seconds apart."""

    timeout: float
    tries: int
    pause: float


@dataclass(frozen=True, kw_only=True)
class Said:
    """A good answer; `settled` says that it was asked for when those who are to answer had taken over."""

    answer: str
    settled: bool


def until_good(
    ask: Callable[[], str],
    patience: Patience,
    *,
    is_settled: Callable[[], bool] = lambda: True,
    sleep: Callable[[float], None] = time.sleep,
) -> Said:
    """Ask until there is a good answer and return it; ToolError of the last try when that was no good one.

    An answer to a question that was asked before all `is_settled` may not be from those who are to answer: then the
    site is asked again, as long as there are tries, and the last answer counts.
    """
    for left in range(patience.tries - 1, -1, -1):
        settled = is_settled()
        try:
            answer = ask()
        except ToolError as error:
            log.debug("health check: %s", error.message)
            if not left:
                raise
            sleep(patience.pause)
        else:
            if settled or not left:
                return Said(answer=answer, settled=settled)
            _wait(patience.pause, is_settled, sleep)
    message = "no health check was made"
    raise ToolError(message, advice="Set `health_retries` to 0 or more.")


def stay_good(
    ask: Callable[[], str], *, seconds: float, pause: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Ask a site that was well again and again for some seconds. Raises the ToolError of the first bad answer."""
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        sleep(min(max(pause, _POLL), left, _LONGEST_PAUSE))
        try:
            ask()
        except ToolError as error:
            message = f"{error.message}, {time.monotonic() - began:.1f} s after a good answer"
            raise ToolError(message, advice=error.advice, output=error.output) from error


def _wait(pause: float, is_settled: Callable[[], bool], sleep: Callable[[float], None]) -> None:
    """Pause, but no longer than needed."""
    ends_at = time.monotonic() + pause
    while not is_settled() and (left := ends_at - time.monotonic()) > 0:
        sleep(min(_POLL, left))


@dataclass(frozen=True, kw_only=True)
class Check:
    """A URL to ask, and what makes its answer a good one.

    `socket` is the path of a unix socket to ask through, in place of the host and port of the URL. `host` is the name
    to ask for, and with https the one that the certificate must be for, if it is not the one in the URL. The status
    must be in one of `statuses`, and `text`, if any, in the first `SEARCHED_BODY` bytes of the page.
    """

    url: str
    statuses: tuple[range, ...] = USUAL_STATUSES
    text: str | None = None
    socket: str | None = None
    host: str | None = None

    def __str__(self) -> str:
        return f"{self.url} through {self.socket}" if self.socket else self.url

    def welcomes(self, status: int) -> bool:
        """Whether this status is a good one."""
        return any(status in one for one in self.statuses)


def ask_url(check: Check, *, timeout: float) -> str:
    """Get a URL once, within `timeout` seconds altogether; return a line on its answer.

    ToolError, with the beginning of the page, unless the answer is a good one. A redirect is not followed. The site is
    asked directly, as a proxy could answer for it.
    """
    answer = _Question(check, timeout)
    answer.ask()
    if answer.failure is not None:
        raise answer.failure
    said = f"{check} answered {answer.status}"
    page = bytes(answer.page[:_SHOWN_BODY]).decode("utf-8", errors="replace")
    if not check.welcomes(answer.status):
        wanted = "" if check.statuses == USUAL_STATUSES else f", where {_named(check.statuses)} was expected"
        message = f"{said} {answer.reason}".rstrip() + wanted
        raise ToolError(message, output=page)
    if check.text is not None and not answer.has_text:
        message = f"{said}, but {check.text!r} is not in {answer.what_was_read}"
        raise ToolError(message, output=page)
    return said


def _named(statuses: tuple[range, ...]) -> str:
    return " or ".join(f"{one.start}" if len(one) == 1 else f"{one.start}-{one.stop - 1}" for one in statuses)


class _Question:
    """One GET, in a thread that the caller can walk away from.

    A thread, since neither name resolution nor a server that trickles one byte at a time is bounded by the timeout of a
    socket. It is a daemon: it never keeps the process from ending.
    """

    def __init__(self, check: Check, timeout: float) -> None:
        self.status = 0
        self.reason = ""
        self.page = bytearray()
        self.has_text = False
        self.failure: ToolError | None = ToolError(f"{check} gave no answer within {timeout:g} s", timed_out=True)
        self._check = check
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

    @property
    def what_was_read(self) -> str:
        """Name the part of the page in which the text was looked for."""
        if len(self.page) >= SEARCHED_BODY:
            return f"the first {SEARCHED_BODY} bytes of the page"
        return "the page" if self._over.is_set() else f"what came of the page within {self._timeout:g} s"

    def _run(self) -> None:
        from http.client import HTTPException

        try:
            self._converse()
        except TimeoutError:
            pass  # what `failure` says
        except (OSError, HTTPException, ValueError) as error:  # ValueError: this is not a URL
            if not self._given_up:
                self.failure = ToolError(f"{self._check} cannot be reached: {_one_line(error)}")
        finally:
            if not self._given_up:
                self._over.set()

    def _converse(self) -> None:
        with contextlib.closing(_connection(self._check, self._timeout)) as connection:
            if connection.sock is None:
                connection.connect()
            self._sockets.append(connection.sock)
            if self._given_up:
                return
            host = {"Host": self._check.host} if self._check.host else {}
            connection.request("GET", _target(self._check.url), headers=_HEADERS | host)
            response = connection.getresponse()
            if self._is_too_late():  # the headers may have ended only because nobody listens any more
                return
            self.status, self.reason, self.failure = response.status, response.reason, None
            self._read(response)

    def _is_too_late(self) -> bool:
        return self._given_up

    def _read(self, response: HTTPResponse) -> None:
        """Read as much of a page as is needed; the status is known, whatever happens here."""
        from http.client import HTTPException

        welcome = self._check.welcomes(response.status)
        if welcome and self._check.text is None:
            return
        wanted = _in_bytes(self._check.text, response) if welcome and self._check.text is not None else None
        limit = _SHOWN_BODY if wanted is None else SEARCHED_BODY
        with contextlib.suppress(OSError, HTTPException, ValueError):
            while len(self.page) < limit and (chunk := response.read1(limit - len(self.page))):
                begin = max(0, len(self.page) - len(wanted or b""))  # the text may have come in two parts
                self.page += chunk
                if wanted is not None and self.page.find(wanted, begin) >= 0:
                    self.has_text = True
                    return


def _in_bytes(text: str, response: HTTPResponse) -> bytes:
    """Write a text as the page is said to be written; what cannot be read of the page does not matter then."""
    try:
        return text.encode(response.headers.get_content_charset("utf-8"))
    except (LookupError, UnicodeEncodeError):
        return text.encode()


def _connection(check: Check, timeout: float) -> HTTPConnection:
    """Prepare a connection; what the standard library would not connect to by itself is connected already."""
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(check.url)
    is_https = parts.scheme.lower() == "https"
    if not parts.hostname or parts.username is not None:
        message = "it names no host" if not parts.hostname else "a user in the URL is not supported"
        raise ValueError(message)
    kind = HTTPSConnection if is_https else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout)
    if check.socket:
        connection.sock = _unix_socket(check.socket, timeout)
    elif is_https and check.host:
        connection.sock = _tls_socket(parts.hostname, parts.port or 443, urlsplit(f"//{check.host}").hostname, timeout)
    return connection


def _unix_socket(path: str, timeout: float) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(timeout)
        found.connect(path)
    except OSError:
        found.close()
        raise
    return found


def _tls_socket(address: str, port: int, name: str | None, timeout: float) -> socket.socket:
    """Connect to one address and speak TLS with it under the name of another."""
    import ssl

    plain = socket.create_connection((address, port), timeout)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=name)
    except (OSError, ValueError):
        plain.close()
        raise


def _one_line(error: Exception) -> str:
    """Say what happened; a server that speaks another language is quoted in it."""
    printable = "".join(character if character.isprintable() else " " for character in str(error))
    return " ".join(printable.split())[:200] or type(error).__name__


def _target(url: str) -> str:
    parts = urlsplit(url)
    return quote(parts.path or "/", safe=_AS_WRITTEN) + (f"?{quote(parts.query, safe=_AS_WRITTEN)}" * bool(parts.query))


def is_url(text: str) -> bool:
    """Tell a URL from a command."""
    return text.startswith(("http://", "https://"))
