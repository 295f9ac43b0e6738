"""Web servers: asking a site repeatedly, within a time limit; and sending to other servers."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from releaser.errors import ToolError, os_reason
from releaser.system.frozen import Frozen, Mutable, field
from releaser.system.signals import Deadline, call_within
from releaser.system.words import one_line

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from http.client import HTTPConnection, HTTPResponse
    from pathlib import Path
    from urllib.request import Request

logger = logging.getLogger(__name__)

_HEADERS = {"User-Agent": "releaser", "Cache-Control": "no-cache"}
USUAL_STATUSES = (range(200, 300), range(300, 400))
_SHOWN_BODY = 4000  # bytes
SEARCHED_BODY = 1_000_000  # bytes of a page that are searched for a text
_AS_WRITTEN = "%/:=&?~+!$,;'@()*[]"  # characters of a URL besides letters and digits
_POLL = 0.1  # seconds
_CONNECTS = 1.0  # seconds
_LONGEST_PAUSE = 1.0  # seconds; with several processes, each answer may come from another one


class Patience(Frozen):
    """The patience of a check: `tries` times, each of at most `timeout` seconds, `pause` seconds apart."""

    timeout: float
    tries: int
    pause: float


class LastAnswer(Frozen):
    """A good answer; `taken_over` says that the new processes had taken over before the question."""

    answer: str
    taken_over: bool


def ask_until_good(
    ask: Callable[[], str],
    patience: Patience,
    *,
    has_taken_over: Callable[[], bool] = lambda: True,
    sleep: Callable[[float], None] = time.sleep,
) -> LastAnswer:
    """Ask until an answer is good, and return it; otherwise raise the ToolError of the last try.

    An answer to a question asked before `has_taken_over` may come from an old process: then the site is asked again, as
    long as there are tries, and the last answer counts.
    """
    for left in range(patience.tries - 1, -1, -1):
        taken_over = has_taken_over()
        try:
            answer = ask()
        except ToolError as error:
            logger.debug("health check: %s", error.message)
            if not left:
                raise
            sleep(patience.pause)
        else:
            if taken_over or not left:
                return LastAnswer(answer=answer, taken_over=taken_over)
            ends_at = time.monotonic() + patience.pause
            while not has_taken_over() and (rest := ends_at - time.monotonic()) > 0:  # no longer than necessary
                sleep(min(_POLL, rest))
    message = "no health check was made"
    raise ToolError(message, "Set `health_retries` to 0 or more.")


def check_stays_good(
    ask: Callable[[], str], *, seconds: float, pause: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Ask a site that gave a good answer again for some seconds. Raises the ToolError of the first bad answer."""
    began = time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        sleep(min(max(pause, _POLL), left, _LONGEST_PAUSE))
        try:
            ask()
        except ToolError as error:
            message = f"{error.message}, {time.monotonic() - began:.1f} s after a good answer"
            raise ToolError(message, error.advice, output=error.output) from error


class Check(Frozen):
    """A URL to ask, and the conditions for a good answer.

    `socket` is the path of a unix socket, used in place of the host and port of the URL. `host` is the host name of the
    request, and with https of the certificate, if it is not the one in the URL. The status must be in one of
    `statuses`, and `text`, if any, in the first `SEARCHED_BODY` bytes of the page. `headers` are sent as well.
    """

    url: str
    statuses: tuple[range, ...] = USUAL_STATUSES
    text: str | None = None
    socket: str | None = None
    host: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.url} through {self.socket}" if self.socket else self.url

    def accepts(self, status: int) -> bool:
        """True if a status is good."""
        return any(status in statuses for statuses in self.statuses)


def ask_url(check: Check, *, timeout: float) -> str:
    """Get a URL once, within `timeout` seconds in all; return a line on its answer.

    Raises ToolError, with the beginning of the page, unless the answer is good. Redirects are not followed. No proxy is
    used, as it could answer for the site.
    """
    from http.client import HTTPException

    answer = _Answer()
    where = "the page"
    try:
        call_within(timeout, lambda deadline: _converse(check, timeout, answer, deadline))
    except TimeoutError:
        where = f"the part of the page that came within {timeout:g} s"
    except (OSError, HTTPException, ValueError) as error:  # ValueError: not a URL
        message = f"{check} cannot be reached: {one_line(str(error), limit=200) or type(error).__name__}"
        raise ToolError(message) from None
    if not answer.status:
        message = f"{check} gave no answer within {timeout:g} s"
        raise ToolError(message, timed_out=True)
    message_text = f"{check} answered {answer.status}"
    page = bytes(answer.page[:_SHOWN_BODY]).decode("utf-8", errors="replace")
    if not check.accepts(answer.status):
        named = (
            f"{status.start}" if len(status) == 1 else f"{status.start}-{status.stop - 1}" for status in check.statuses
        )
        wanted = "" if check.statuses == USUAL_STATUSES else f", where {' or '.join(named)} was expected"
        raise ToolError(f"{message_text} {answer.reason}".rstrip() + wanted, output=page)
    if check.text is not None and not answer.has_text:
        if len(answer.page) >= SEARCHED_BODY:
            where = f"the first {SEARCHED_BODY} bytes of the page"
        message = f"{message_text}, but {check.text!r} is not in {where}"
        raise ToolError(message, output=page)
    return message_text


class _Answer(Mutable):
    """The part of an answer that was received; a status of 0 means none."""

    status: int = 0
    reason: str = ""
    page: bytearray = field(default_factory=bytearray)
    has_text: bool = False


def _converse(check: Check, timeout: float, answer: _Answer, deadline: Deadline) -> None:
    with contextlib.closing(_connection(check, timeout)) as connection:
        deadline.connections.append(connection)
        if connection.sock is None:
            connection.connect()
        if deadline.is_over:
            return
        parts = urlsplit(check.url)
        query = f"?{quote(parts.query, safe=_AS_WRITTEN)}" if parts.query else ""
        host = {"Host": check.host} if check.host else {}
        connection.request(
            "GET", quote(parts.path or "/", safe=_AS_WRITTEN) + query, headers=_HEADERS | host | dict(check.headers)
        )
        response = connection.getresponse()
        if not deadline.is_over:  # else the headers may have ended early, because the deadline shut the connection down
            answer.status, answer.reason = response.status, response.reason
            _read(check, response, answer, deadline)


def _read(check: Check, response: HTTPResponse, answer: _Answer, deadline: Deadline) -> None:
    """Read as much of a page as is needed, until the deadline; the status is known already."""
    from http.client import HTTPException

    is_accepted = check.accepts(response.status)
    if is_accepted and check.text is None:
        return
    wanted = _encode(check.text, response) if is_accepted and check.text is not None else None
    limit = _SHOWN_BODY if wanted is None else SEARCHED_BODY
    with contextlib.suppress(OSError, HTTPException, ValueError):
        # The response took the socket from the connection, so that the deadline cannot shut it down.
        while not deadline.is_over and len(answer.page) < limit and (chunk := response.read1(limit - len(answer.page))):
            begin = max(0, len(answer.page) - len(wanted or b""))  # the text may be split between two chunks
            answer.page += chunk
            if wanted is not None and answer.page.find(wanted, begin) >= 0:
                answer.has_text = True
                return


def _encode(text: str, response: HTTPResponse) -> bytes:
    """Encode a text as the page says it is encoded; in UTF-8 if that is impossible."""
    try:
        return text.encode(response.headers.get_content_charset("utf-8"))
    except (LookupError, UnicodeEncodeError):
        return text.encode()


def _connection(check: Check, timeout: float) -> HTTPConnection:
    """Prepare a connection; to a unix socket, or to https under another host name, it is already connected."""
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(check.url)
    is_https = parts.scheme.lower() == "https"
    if not parts.hostname or parts.username is not None:
        message = "it names no host" if not parts.hostname else "a user in the URL is not supported"
        raise ValueError(message)
    kind = HTTPSConnection if is_https else HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout)
    if check.socket or (is_https and check.host):
        connection.sock = _connect(check, parts.hostname, parts.port or 443, timeout)
    return connection


def _connect(check: Check, address: str, port: int, timeout: float) -> socket.socket:
    """Connect to the unix socket; or to an address, with TLS for the name of another host."""
    if check.socket:
        return connect_unix(check.socket, timeout)
    import socket  # slow to import
    import ssl

    plain = socket.create_connection((address, port), timeout)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=urlsplit(f"//{check.host}").hostname)
    except (OSError, ValueError):
        plain.close()
        raise


def connect_unix(path: str, timeout: float) -> socket.socket:
    """Connect to a unix socket. Raises OSError or ValueError."""
    import socket  # slow to import

    plain = socket.socket(socket.AF_UNIX)
    try:
        plain.settimeout(timeout)
        plain.connect(path)
    except (OSError, ValueError):
        plain.close()
        raise
    return plain


def listens(path: Path) -> bool:
    """True if a server listens on a unix socket, even if it does not accept this connection."""
    try:
        connect_unix(os.fspath(path), _CONNECTS).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        return True  # the next question says why
    return True


# Requests to other servers


def post(url: str, body: bytes, *, headers: Mapping[str, str], environ: Mapping[str, str], timeout: float) -> None:
    """Send a body by POST, within `timeout` seconds in all, through the proxy of the environment, if any.

    Raises ToolError unless the answer is 2xx, with its status as `returncode`. Redirects are not followed. The message
    names no part of the URL but its host.
    """
    from urllib import request

    asked = request.Request(url, data=body, headers={"User-Agent": "releaser", **headers}, method="POST")  # noqa: S310
    _request(asked, environ, timeout, most=0)


def get(url: str, *, login: tuple[str, str] | None, environ: Mapping[str, str], timeout: float, most: int) -> bytes:
    """Return what a URL answers, with at most `most` bytes; user and password are optional. Otherwise as `post`."""
    import base64
    from urllib import request

    headers = {**_HEADERS}
    if login is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"
    data = _request(request.Request(url, headers=headers), environ, timeout, most=most + 1)  # noqa: S310
    if len(data) > most:
        message = f"it answered with more than {most >> 20} MiB"
        raise ToolError(message)
    return data


def _request(asked: Request, environ: Mapping[str, str], timeout: float, *, most: int) -> bytes:
    """Return the first `most` bytes of the answer to a request. Raises ToolError as `post` does."""
    from http.client import HTTPException
    from urllib import request
    from urllib.error import HTTPError

    given = {name.lower(): value for name, value in environ.items() if value}
    proxies = {name.removesuffix("_proxy"): value for name, value in given.items() if name.endswith("_proxy")}
    directly = request.proxy_bypass_environment(urlsplit(asked.full_url).netloc, proxies)  # type: ignore[attr-defined]
    opener = request.OpenerDirector()  # without handlers of files and of redirects
    kinds = request.HTTPHandler, request.HTTPSHandler, request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor
    for one in (request.ProxyHandler({} if directly else proxies), *(kind() for kind in kinds)):
        opener.add_handler(one)

    def read() -> bytes:
        with opener.open(asked, timeout=timeout) as answer:
            data: bytes = answer.read(most)
            return data

    try:
        return call_within(timeout, lambda _: read())
    except HTTPError as error:
        message = f"it answered {error.code} {one_line(str(error.reason), limit=100)}".rstrip()
        error.close()
        raise ToolError(message, returncode=error.code) from None
    except TimeoutError:
        message = f"no answer within {timeout:g} s"
        raise ToolError(message, timed_out=True) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = os_reason(reason) if isinstance(reason, OSError) else str(reason)
        message = f"it cannot be reached: {one_line(why, limit=200) or type(error).__name__}"
        raise ToolError(message) from None
