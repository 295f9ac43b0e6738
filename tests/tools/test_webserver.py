"""Asking a site how it is, against servers of every kind on this host; and telling it to restart."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from releaser.errors import ToolError
from releaser.tools.webserver import (
    Patience,
    ask_url,
    is_url,
    passenger_arguments,
    restart_file_in,
    touch,
    until_good,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[[socket.socket], None]

SECONDS = 60.0  # how long a test waits for what should happen at once
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A server that hands each connection to `serve`, in a thread of its own; `requests` is what it was asked."""

    def __init__(self, serve: Serve) -> None:
        self.requests: list[str] = []
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.requests.append(connection.recv(65536).decode("latin-1"))
                self._serve(connection)

    def close(self) -> None:
        """Stop listening, and wait for the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)


@contextlib.contextmanager
def server(serve: Serve | bytes) -> Iterator[Server]:
    """Run a server; bytes are what it answers."""
    if isinstance(serve, bytes):
        answer = serve
        serve = lambda connection: connection.sendall(answer)  # noqa: E731
    with contextlib.closing(Server(serve)) as found:
        yield found


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


def failure(url: str, *, timeout: float = SECONDS) -> ToolError:
    with pytest.raises(ToolError) as caught:
        ask_url(url, timeout=timeout)
    return caught.value


def test_a_site_that_is_well_says_so() -> None:
    with server(OK) as site:
        assert ask_url(f"{site.url}/health?deep=1", timeout=SECONDS) == f"{site.url}/health?deep=1 answered 200"
    request, *headers = site.requests[0].splitlines()
    assert request == "GET /health?deep=1 HTTP/1.1"
    assert {"User-Agent: releaser", "Cache-Control: no-cache"} <= set(headers)


@pytest.mark.parametrize("status", ["204 No Content", "301 Moved Permanently", "302 Found", "304 Not Modified"])
def test_a_redirect_counts_and_is_not_followed(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n".encode()
    with server(answer) as site:
        assert ask_url(site.url, timeout=SECONDS) == f"{site.url} answered {status[:3]}"
    assert [request.split()[1] for request in site.requests] == ["/"]


@pytest.mark.parametrize(
    "status", ["404 Not Found", "500 Internal Server Error", "503 Service Unavailable", "101 Switch"]
)
def test_any_other_status_is_a_failure_with_the_beginning_of_the_page(status: str) -> None:
    page = b"ImportError: caf\xe9" + b"x" * 9000
    with server(f"HTTP/1.1 {status}\r\nContent-Length: {len(page)}\r\n\r\n".encode() + page) as site:
        error = failure(site.url)
    assert error.message == f"{site.url} answered {status}"
    assert not error.timed_out
    if status[0] in "45":
        assert error.output.startswith("ImportError: caf\ufffdxxx")
        assert len(error.output) == 4000


def test_a_page_that_is_cut_off_does_not_hide_the_status() -> None:
    with server(b"HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf") as site:
        assert failure(site.url).message == f"{site.url} answered 500 Oops"


def test_no_server_is_said_to_be_unreachable() -> None:
    with server(OK) as gone:
        pass
    assert failure(gone.url).message == f"{gone.url} cannot be reached: [Errno 111] Connection refused"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"\x00\xff\xfe" * 50, b"HTTP/1.1 OK fine\r\n\r\n"])
def test_what_is_no_answer_in_http_is_a_failure(answer: bytes) -> None:
    with server(answer) as site:
        message = failure(site.url).message
    assert message.startswith(f"{site.url} cannot be reached: ")
    assert message.isprintable()


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(lambda connection: connection.recv(1), id="hangs"),
        pytest.param(trickle(b"H"), id="status"),
        pytest.param(trickle(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"), id="header"),
        pytest.param(trickle(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), id="headers"),
        pytest.param(trickle(b"HTTP/1.1 100 Continue\r\n\r\n"), id="continue"),
    ],
)
def test_a_server_that_takes_its_time_is_given_no_more_than_the_limit(serve: Serve) -> None:
    with server(serve) as site:
        began = time.monotonic()
        error = failure(site.url, timeout=0.5)
        took = time.monotonic() - began
    assert (error.message, error.timed_out) == (f"{site.url} gave no answer within 0.5 s", True)
    assert 0.4 < took < 10


def test_a_page_that_trickles_in_does_not_delay_a_good_answer() -> None:
    with server(trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x")) as site:
        assert ask_url(site.url, timeout=SECONDS).endswith("answered 200")


def test_an_error_page_that_trickles_in_delays_a_bad_answer_no_more_than_the_limit() -> None:
    with server(trickle(b"HTTP/1.1 500 Oops\r\n\r\n", b"x")) as site:
        began = time.monotonic()
        error = failure(site.url, timeout=0.5)
        assert time.monotonic() - began < 10
    assert (error.message, error.timed_out) == (f"{site.url} answered 500 Oops", False)


def test_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with server(OK) as site:
        assert ask_url(site.url, timeout=SECONDS).endswith("answered 200")


def test_letters_beyond_ascii_and_spaces_are_sent_as_they_should_be() -> None:
    with server(OK) as site:
        ask_url(f"{site.url}/größe 1/%C3%BC?wort=ü&x=a%20b#top", timeout=SECONDS)
    assert site.requests[0].split("\r\n")[0] == "GET /gr%C3%B6%C3%9Fe%201/%C3%BC?wort=%C3%BC&x=a%20b HTTP/1.1"


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///path",
        "http://[::1",
        "http://127.0.0.1:http/",
        "http://127.0.0.1:99999/",
        "http://ann@127.0.0.1:1/",
        "http://" + "x" * 70 + ".example/",
        "http://a..b/",
        "http://127.0.0.1:1\r\nX: y/",
    ],
)
def test_what_is_no_url_of_a_site_is_a_failure_like_any_other(url: str) -> None:
    assert " cannot be reached: " in failure(url).message


def test_https_is_spoken_where_the_url_says_so() -> None:
    with server(OK) as site:
        url = site.url.replace("http:", "https:")
        assert failure(url).message.startswith(f"{url} cannot be reached: ")
    assert "GET" not in site.requests[0]


# Patience


class Answers:
    """Gives one answer after the other."""

    def __init__(self, *answers: str | ToolError) -> None:
        self.asked = 0
        self.pauses: list[float] = []
        self._answers = answers

    def ask(self) -> str:
        self.asked += 1
        answer = self._answers[self.asked - 1]
        if isinstance(answer, ToolError):
            raise answer
        return answer

    def patience(self, tries: int) -> str:
        return until_good(self.ask, Patience(timeout=1, tries=tries, pause=7), sleep=self.pauses.append)


def test_the_first_good_answer_is_enough() -> None:
    answers = Answers("well")
    assert answers.patience(5) == "well"
    assert (answers.asked, answers.pauses) == (1, [])


def test_a_site_may_need_some_time_to_start() -> None:
    answers = Answers(ToolError("starting"), ToolError("starting"), "well")
    assert answers.patience(5) == "well"
    assert (answers.asked, answers.pauses) == (3, [7, 7])


def test_patience_has_an_end_and_no_pause_follows_it() -> None:
    answers = Answers(ToolError("one"), ToolError("two"), "too late")
    with pytest.raises(ToolError, match="two"):
        answers.patience(2)
    assert (answers.asked, answers.pauses) == (2, [7])


def test_no_try_at_all_is_no_good_answer() -> None:
    with pytest.raises(ToolError, match="no health check was made"):
        Answers().patience(0)


# Restarting


def test_a_touch_makes_the_file_and_its_time_new(tmp_path: Path) -> None:
    path = tmp_path / "restart.txt"
    touch(path)
    os.utime(path, (1, 1))
    touch(path)
    assert abs(path.stat().st_mtime - time.time()) < 3600
    assert path.read_bytes() == b""


def test_a_restart_file_that_is_made_is_for_the_group_too(tmp_path: Path) -> None:
    made, theirs = tmp_path / "restart.txt", tmp_path / "theirs.txt"
    theirs.touch()
    theirs.chmod(0o600)
    before = os.umask(0o077)
    try:
        touch(made)
        touch(theirs)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (made, theirs)] == [0o664, 0o600]


def test_a_file_that_cannot_be_touched_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "restart.txt"
    with pytest.raises(ToolError) as caught:
        touch(path)
    assert caught.value.message == f"{path} cannot be touched: No such file or directory"
    assert "restart_file" in caught.value.advice


@pytest.mark.parametrize(
    ("present", "found"),
    [
        ([], None),
        (["tmp"], "tmp/restart.txt"),
        (["config/tmp"], "config/tmp/restart.txt"),
        (["tmp", "config/tmp"], "config/tmp/restart.txt"),
        (["config"], None),
    ],
)
def test_the_restart_file_lies_where_passenger_looks(tmp_path: Path, present: list[str], found: str | None) -> None:
    for name in present:
        (tmp_path / name).mkdir(parents=True)
    assert restart_file_in(tmp_path) == (tmp_path / found if found else None)


def test_passenger_is_told_which_application(tmp_path: Path) -> None:
    assert passenger_arguments(tmp_path) == [
        "passenger-config", "restart-app", "--ignore-app-not-running", str(tmp_path),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [("http://x", True), ("https://x", True), ("curl http://x", False), ("ftp://x", False), ("httpcheck", False)],
)
def test_urls_are_told_from_commands(text: str, expected: bool) -> None:
    assert is_url(text) is expected
