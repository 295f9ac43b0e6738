"""Asking a site how it is, against servers of every kind on this host."""

import contextlib
import itertools
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from releaser.errors import ToolError
from releaser.system.words import is_url
from releaser.tools.web import (
    SEARCHED_BODY,
    Check,
    Patience,
    ask_until_good,
    ask_url,
    check_stays_good,
)
from tests.support.serving import served

Serve = Callable[[socket.socket], object]

SECONDS = 60.0  # how long a test waits for what should happen at once
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Server:
    """Where a server is, and what it was asked."""

    url: str
    requests: list[str]


@contextlib.contextmanager
def server(serve: Serve | bytes, *, path: str | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server, at a port or the path of a socket, that hands each connection to `serve`, or answers with bytes."""
    answer = at_once(serve) if isinstance(serve, bytes) else serve

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                if tls is not None:
                    self.request = tls.wrap_socket(self.request, server_side=True)
                found.requests.append(self.request.recv(65536).decode("latin-1"))
                answer(self.request)

        def finish(self) -> None:
            self.request.close()

    if path is None:
        made = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        found = Server(f"http{'s' if tls else ''}://127.0.0.1:{made.server_address[1]}", [])
    else:
        made, found = socketserver.UnixStreamServer(path, Handler), Server(path, [])
    with served(made):
        yield found


def at_once(answer: bytes) -> Serve:
    """Send it at once."""
    return lambda connection: connection.sendall(answer)


def trickle(*parts: bytes) -> Serve:
    """Send the first parts at once, and of the last one a byte again and again until the client has gone."""

    def serve(connection: socket.socket) -> None:
        for part in parts[:-1]:
            connection.sendall(part)
        # The client that hangs up is what ends this: a pause, not a wait for something to have happened.
        gone = threading.Event()
        for byte in itertools.cycle(parts[-1]):
            connection.sendall(bytes([byte]))
            gone.wait(0.02)

    return serve


def failure(url: str, *, timeout: float = SECONDS, **wanted: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        ask_url(Check(url=url, **wanted), timeout=timeout)
    return caught.value


def page(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


WELL, GREETING = {"text": "all is well"}, {"text": "Grüße"}
GOOD: dict[str, tuple[Serve | bytes, dict[str, Any], str]] = {  # what it answers, what is expected, what is said
    "200": (OK, {}, "200"),
    **{status: (page(b"", status=f"{status} x", headers="Location: /login\r\n"), {}, status)
       for status in ("204", "302")},
    "a page that trickles in": (trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"), {}, "200"),
    "one of these": (page(b"", status="401 x"), {"statuses": (range(200, 201), range(401, 402))}, "401"),
    "a failure that is meant": (page(b"", status="404 x"), {"statuses": (range(400, 500),)}, "404"),
    "text among bytes": (page(b"\xff\xfe\x00 all is well \xff"), WELL, "200"),
    "text at the end of what is read": (page(b"x" * (SEARCHED_BODY - 11) + b"all is well"), WELL, "200"),
    "text of no such charset": (page(b"all is well", headers="Content-Type: text/html; charset=none\r\n"), WELL, "200"),
    **{f"text in {charset}": (
        page("Grüße".encode(charset), headers=f"Content-Type: text/html; charset={charset}\r\n"), GREETING, "200"
    ) for charset in ("utf-8", "iso-8859-1", "utf-16-le")},
    "text in parts": (trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"all is well; "), {"text": "well; all"}, "200"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_answer_is_good(name: str) -> None:
    serve, wanted, status = GOOD[name]
    with server(serve) as site:
        said = ask_url(Check(url=f"{site.url}/health?deep=1", **wanted), timeout=SECONDS)
    assert said == f"{site.url}/health?deep=1 answered {status}"
    (request,) = site.requests  # a redirect is not followed
    assert request.startswith("GET /health?deep=1 HTTP/1.1\r\n")
    assert {"User-Agent: releaser", "Cache-Control: no-cache"} <= set(request.splitlines())


TRACE = b"ImportError: caf\xe9" + b"x" * 9000
UNREACHED, LATE = "cannot be reached: ", "gave no answer within 1 s"
# What it answers, what is expected, what is said; and the beginning of the page, where that is told.
BAD: dict[str, tuple[Serve | bytes, dict[str, Any], str, str]] = {
    **{status: (page(TRACE, status=status), {}, f"answered {status}", "ImportError: caf\ufffdxxx")
       for status in ("404 Not Found", "503 Service Unavailable")},
    "101": (page(TRACE, status="101 Switch"), {}, "answered 101 Switch", ""),
    "a page that is cut off": (b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf", {}, "answered 500 Oops", ""),
    "another status": (
        page(b"", status="204 No Content"), {"statuses": (range(200, 201),)},
        "answered 204 No Content, where 200 was expected", "",
    ),
    "none of these": (
        OK, {"statuses": (range(204, 205), range(300, 400))}, "answered 200 OK, where 204 or 300-399 was expected", ""
    ),
    **{repr(answer[:9]): (answer, {}, UNREACHED, "")
       for answer in (b"", b"SSH-2.0-OpenSSH\r\n", b"\x00\xff\xfe" * 50, b"HTTP/1.1 OK fine\r\n\r\n")},
    "no text": (page(b"maintenance"), WELL, "answered 200, but 'all is well' is not in the page", "maintenance"),
    "text that comes late": (
        page(b"x" * SEARCHED_BODY + b"all is well"), WELL,
        f"answered 200, but 'all is well' is not in the first {SEARCHED_BODY} bytes of the page", "xxx",
    ),
    "a status before a text": (page(b"all is well", status="500 Oops"), WELL, "answered 500 Oops", "all is well"),
}  # fmt: skip
# With a server that takes its time, nobody waits for longer than the limit.
SLOW: dict[str, tuple[Serve, dict[str, Any], str, str]] = {
    "hangs": (lambda connection: connection.recv(1), {}, LATE, ""),
    "status": (trickle(b"H"), {}, LATE, ""),
    "headers": (trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), {}, LATE, ""),
    "continue": (trickle(b"HTTP/1.1 100 Continue\r\n\r\n"), {}, LATE, ""),
    "an error page": (trickle(b"HTTP/1.1 500 Oops\r\n\r\n", b"x"), {}, "answered 500 Oops", ""),
    "a page without the text": (
        trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x"), WELL,
        "answered 200, but 'all is well' is not in the part of the page that came within 1 s", "xxx",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BAD, *SLOW])
def test_a_bad_answer_is_told_in_time_with_the_beginning_of_the_page(name: str) -> None:
    serve, wanted, said, beginning = {**BAD, **SLOW}[name]
    began = time.monotonic()
    with server(serve) as site:
        error = failure(site.url, timeout=1.0 if name in SLOW else SECONDS, **wanted)
        took = time.monotonic() - began
    assert error.message.startswith(f"{site.url} {said}")
    assert said == UNREACHED or error.message == f"{site.url} {said}"
    assert error.message.isprintable()
    assert error.timed_out is (said == LATE)
    assert error.output.startswith(beginning)
    assert len(error.output) <= 4000
    assert took < 10
    assert took > 0.4 or said != LATE
    assert time.monotonic() - began < 20, "the client reads on after the deadline"


def test_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with server(OK) as site:
        assert ask_url(Check(url=site.url), timeout=SECONDS).endswith("answered 200")


def test_letters_beyond_ascii_and_spaces_are_sent_as_they_should_be() -> None:
    with server(OK) as site:
        ask_url(Check(url=f"{site.url}/größe 1/%C3%BC?wort=ü&x=a%20b#top"), timeout=SECONDS)
    assert site.requests[0].split("\r\n")[0] == "GET /gr%C3%B6%C3%9Fe%201/%C3%BC?wort=%C3%BC&x=a%20b HTTP/1.1"


def test_what_is_no_url_of_a_site_is_a_failure_like_any_other() -> None:
    for url in (
        "http://", "http:///path", "http://[::1", "http://127.0.0.1:http/", "http://127.0.0.1:99999/",
        "http://ann@127.0.0.1:1/", "http://" + "x" * 70 + ".example/", "http://a..b/", "http://127.0.0.1:1\r\nX: y/",
    ):  # fmt: skip
        assert " cannot be reached: " in failure(url).message


def test_https_is_spoken_where_the_url_says_so() -> None:
    with server(OK) as site:
        url = site.url.replace("http:", "https:")
        assert failure(url).message.startswith(f"{url} cannot be reached: ")
    assert "GET" not in site.requests[0]


# Where, and under which name


def headers_of(request: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if line)


def test_a_site_is_asked_by_another_name_if_that_is_set() -> None:
    with server(OK) as site:
        ask_url(Check(url=site.url, host="shop.example.org"), timeout=SECONDS)
    assert headers_of(site.requests[0])["Host"] == "shop.example.org"
    assert site.requests[0].lower().count("host:") == 1


@pytest.mark.parametrize("host", [None, "shop.example.org:8000"])
def test_a_site_is_asked_through_a_unix_socket(tmp_path: Path, host: str | None) -> None:
    path = str(tmp_path / "site.sock")
    with server(OK, path=path) as site:
        said = ask_url(Check(url="http://shop.example.org/health", socket=path, host=host), timeout=SECONDS)
    assert said == f"http://shop.example.org/health through {path} answered 200"
    assert site.requests[0].startswith("GET /health HTTP/1.1\r\n")
    assert headers_of(site.requests[0])["Host"] == (host or "shop.example.org")


def test_a_server_that_is_gone_and_a_unix_socket_without_one_are_failures_like_any_other(tmp_path: Path) -> None:
    with server(OK) as gone:
        pass
    assert failure(gone.url).message == f"{gone.url} cannot be reached: [Errno 111] Connection refused"
    path = str(tmp_path / "site.sock")
    said = f"http://localhost/ through {path} cannot be reached: [Errno"
    assert failure("http://localhost/", socket=path).message == f"{said} 2] No such file or directory"
    with server(OK, path=path):
        pass
    assert failure("http://localhost/", socket=path).message == f"{said} 111] Connection refused"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return what a server with a certificate for one name needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_the_certificate_must_be_for_the_name_in_the_url(authority: trustme.CA) -> None:
    with server(OK, tls=certified(authority, "localhost")) as site:
        url = site.url.replace("127.0.0.1", "localhost")
        assert ask_url(Check(url=url), timeout=SECONDS) == f"{url} answered 200"
        assert "CERTIFICATE_VERIFY_FAILED" in failure(site.url).message


def test_an_address_is_asked_as_the_host_that_its_certificate_is_for(authority: trustme.CA) -> None:
    with server(OK, tls=certified(authority, "shop.example.org")) as site:
        said = ask_url(Check(url=site.url, host="shop.example.org"), timeout=SECONDS)
        assert said == f"{site.url} answered 200"
        assert headers_of(site.requests[0])["Host"] == "shop.example.org"
        assert "CERTIFICATE_VERIFY_FAILED" in failure(site.url, host="other.example.org").message


# Patience


class Answers:
    """Gives one answer after the other, of which each but "well" is bad; a clock goes on with its pauses alone."""

    def __init__(self, *answers: str) -> None:
        self.asked = 0
        self.pauses: list[float] = []
        self._answers = answers

    def ask(self) -> str:
        self.asked += 1
        answer = self._answers[self.asked - 1]
        if "well" not in answer:
            raise ToolError(answer, output="page")
        return answer

    def become(self, patience: Patience, **options: Any) -> str:
        return ask_until_good(self.ask, patience, sleep=self.pauses.append, **options).answer

    def stay(self, seconds: float, *, pause: float = 1.0) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("releaser.tools.web.time.monotonic", lambda: sum(self.pauses))
            check_stays_good(self.ask, seconds=seconds, pause=pause, sleep=self.pauses.append)


@pytest.mark.parametrize(
    ("answers", "tries", "said", "asked", "pauses"),
    [
        (["well"], 5, "well", 1, []),
        (["starting", "starting", "well"], 5, "well", 3, [7, 7]),
        (["one", "two", "well, too late"], 2, "two", 2, [7]),
        ([], 0, "no health check was made", 0, []),
    ],
)
def test_a_site_has_so_many_tries_to_become_good(
    answers: list[str], tries: int, said: str, asked: int, pauses: list[float]
) -> None:
    found = Answers(*answers)
    with contextlib.nullcontext() if said == "well" else pytest.raises(ToolError, match=said):
        assert found.become(Patience(timeout=1, tries=tries, pause=7)) == said
    assert (found.asked, found.pauses) == (asked, pauses)


@pytest.mark.parametrize(("pause", "pauses"), [(2.0, [1.0, 1.0, 0.5]), (0.5, [0.5] * 5), (0.0, [0.1] * 25)])
def test_a_site_that_is_to_stay_good_is_asked_often_and_at_the_end(pause: float, pauses: list[float]) -> None:
    answers = Answers(*["well"] * 30)
    answers.stay(2.5, pause=pause)
    assert answers.pauses == pytest.approx(pauses + [0.0] * (len(answers.pauses) - len(pauses)))
    assert answers.asked == len(answers.pauses)


def test_one_bad_answer_is_enough_where_all_must_be_good() -> None:
    answers = Answers("well", "ill", "well")
    with pytest.raises(ToolError, match=r"^ill, 2\.0 s after a good answer$") as caught:
        answers.stay(10)
    assert (answers.asked, caught.value.output) == (2, "page")
    answers.stay(0)  # it need not stay good
    assert answers.asked == 2


def answer_while_taking_over(answers: Answers, looks: float, *, pause: float = 60) -> str:
    """Ask, with processes that take over after so many looks; each pause is a short one."""
    clock, seen = itertools.count(0.0, 0.05), itertools.count(1)
    patience = Patience(timeout=1, tries=3, pause=pause)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("releaser.tools.web.time.monotonic", lambda: next(clock))
        return answers.become(patience, has_taken_over=lambda: next(seen) > looks)


@pytest.mark.parametrize(
    ("answers", "looks", "pauses"),
    [
        (["well"], 0, []),  # no reason to wait
        (["well from the old process", "well"], 3, [0.1, 0.1]),  # asked again as soon as all have taken over
        (["well from the old process?", "well"], 1, []),  # Passenger restarts a site when it is asked for it
    ],
)
def test_a_site_is_asked_again_once_new_processes_serve(answers: list[str], looks: float, pauses: list[float]) -> None:
    found = Answers(*answers)
    assert answer_while_taking_over(found, looks) == "well"
    assert (found.asked, found.pauses) == (len(answers), pauses)


def test_what_never_settles_is_as_good_as_its_last_answer() -> None:
    answers = Answers("well", "well", "well")
    assert answer_while_taking_over(answers, float("inf"), pause=1) == "well"
    assert answers.asked == 3
    with pytest.raises(ToolError, match="ill"):
        answer_while_taking_over(Answers("well", "ill", "ill"), float("inf"), pause=1)


def test_urls_are_told_from_commands() -> None:
    texts = ("http://x", "https://x", "curl http://x", "ftp://x", "httpcheck")
    assert [is_url(text) for text in texts] == [True, True, False, False, False]
