"""Asking a site how it is, against servers of every kind on this host; and telling its server to reload it."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from releaser.errors import ToolError
from releaser.tools.web import (
    SEARCHED_BODY,
    Check,
    Patience,
    ask_url,
    is_url,
    passenger_arguments,
    passenger_result,
    restart_file_in,
    stay_good,
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

    def __init__(self, serve: Serve, *, path: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self._serve = serve
        self._tls = tls
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError), self._spoken(connection) as spoken:
                self.requests.append(spoken.recv(65536).decode("latin-1"))
                self._serve(spoken)

    def _spoken(self, connection: socket.socket) -> socket.socket:
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)

    def close(self) -> None:
        """Stop listening, and wait for the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)


@contextlib.contextmanager
def server(serve: Serve | bytes) -> Iterator[Server]:
    """Run a server; bytes are what it answers."""
    with contextlib.closing(Server(at_once(serve) if isinstance(serve, bytes) else serve)) as found:
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


def test_a_site_that_is_well_says_so() -> None:
    with server(OK) as site:
        assert (
            ask_url(Check(url=f"{site.url}/health?deep=1"), timeout=SECONDS) == f"{site.url}/health?deep=1 answered 200"
        )
    request, *headers = site.requests[0].splitlines()
    assert request == "GET /health?deep=1 HTTP/1.1"
    assert {"User-Agent: releaser", "Cache-Control: no-cache"} <= set(headers)


@pytest.mark.parametrize("status", ["204 No Content", "301 Moved Permanently", "302 Found", "304 Not Modified"])
def test_a_redirect_counts_and_is_not_followed(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n".encode()
    with server(answer) as site:
        assert ask_url(Check(url=site.url), timeout=SECONDS) == f"{site.url} answered {status[:3]}"
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
        assert ask_url(Check(url=site.url), timeout=SECONDS).endswith("answered 200")


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
        assert ask_url(Check(url=site.url), timeout=SECONDS).endswith("answered 200")


def test_letters_beyond_ascii_and_spaces_are_sent_as_they_should_be() -> None:
    with server(OK) as site:
        ask_url(Check(url=f"{site.url}/größe 1/%C3%BC?wort=ü&x=a%20b#top"), timeout=SECONDS)
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


# What is expected


def page(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize(
    ("statuses", "status", "wanted"),
    [
        ((range(200, 201),), "200 OK", ""),
        ((range(200, 201),), "204 No Content", "200"),
        ((range(200, 201), range(401, 402)), "401 Unauthorized", ""),
        ((range(400, 500),), "404 Not Found", ""),
        ((range(400, 500),), "200 OK", "400-499"),
        ((range(204, 205), range(300, 400)), "200 OK", "204 or 300-399"),
    ],
)
def test_the_status_that_is_expected_is_a_setting(statuses: tuple[range, ...], status: str, wanted: str) -> None:
    with server(page(b"", status=status)) as site:
        if wanted:
            message = failure(site.url, statuses=statuses).message
            assert message == f"{site.url} answered {status}, where {wanted} was expected"
        else:
            said = ask_url(Check(url=site.url, statuses=statuses), timeout=SECONDS)
            assert said == f"{site.url} answered {status[:3]}"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<p>all is well</p>", ""),
        (b"\xff\xfe\x00 all is well \xff", ""),
        (b"x" * 70_000 + b"all is well", ""),
        (b"x" * (SEARCHED_BODY - 11) + b"all is well", ""),
        (b"all is well", "Content-Type: text/html; charset=no-such-thing\r\n"),
    ],
    ids=["page", "binary", "long", "longest", "charset"],
)
def test_an_expected_text_is_found(body: bytes, headers: str) -> None:
    with server(page(body, headers=headers)) as site:
        said = ask_url(Check(url=site.url, text="all is well"), timeout=SECONDS)
    assert said == f"{site.url} answered 200"


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "utf-16-le"])
def test_an_expected_text_is_looked_for_as_the_page_is_written(charset: str) -> None:
    body = "Grüße".encode(charset)
    with server(page(body, headers=f"Content-Type: text/html; charset={charset}\r\n")) as site:
        ask_url(Check(url=site.url, text="Grüße"), timeout=SECONDS)


def test_a_text_that_comes_in_parts_is_found_before_the_page_has_ended() -> None:
    with server(trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"all is well; ")) as site:
        assert ask_url(Check(url=site.url, text="well; all"), timeout=SECONDS) == f"{site.url} answered 200"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"maintenance", "the page"),
        (b"", "the page"),
        (b"x" * SEARCHED_BODY + b"all is well", f"the first {SEARCHED_BODY} bytes of the page"),
    ],
    ids=["other", "empty", "late"],
)
def test_a_page_without_the_expected_text_is_a_failure(body: bytes, where: str) -> None:
    with server(page(body)) as site:
        error = failure(site.url, text="all is well")
    assert error.message == f"{site.url} answered 200, but 'all is well' is not in {where}"
    assert error.output == body[:4000].decode()


def test_a_page_without_the_expected_text_that_never_ends_is_left_in_time() -> None:
    began = time.monotonic()
    with server(trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"x")) as site:
        error = failure(site.url, timeout=0.5, text="all is well")
        assert time.monotonic() - began < 10
    assert time.monotonic() - began < 20, "the client reads on after the deadline"
    assert (
        error.message
        == f"{site.url} answered 200, but 'all is well' is not in the part of the page that came within 0.5 s"
    )
    assert set(error.output) == {"x"}


def test_the_status_counts_before_the_text() -> None:
    with server(page(b"all is well", status="500 Oops")) as site:
        assert failure(site.url, text="all is well").message == f"{site.url} answered 500 Oops"


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
    with contextlib.closing(Server(lambda connection: connection.sendall(OK), path=path)) as site:
        said = ask_url(Check(url="http://shop.example.org/health", socket=path, host=host), timeout=SECONDS)
    assert said == f"http://shop.example.org/health through {path} answered 200"
    assert site.requests[0].startswith("GET /health HTTP/1.1\r\n")
    assert headers_of(site.requests[0])["Host"] == (host or "shop.example.org")


def test_a_unix_socket_without_a_server_is_a_failure_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "site.sock"
    name = f"http://localhost/ through {path}"
    assert failure("http://localhost/", socket=str(path)).message == (
        f"{name} cannot be reached: [Errno 2] No such file or directory"
    )
    with contextlib.closing(Server(lambda _: None, path=str(path))):
        pass
    assert failure("http://localhost/", socket=str(path)).message == (
        f"{name} cannot be reached: [Errno 111] Connection refused"
    )


def test_a_unix_socket_that_hangs_is_given_no_more_than_the_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "site.sock")
    with contextlib.closing(Server(trickle(b"H"), path=path)):
        error = failure("http://localhost/", timeout=0.5, socket=path)
    assert (error.message, error.timed_out) == (f"http://localhost/ through {path} gave no answer within 0.5 s", True)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this process trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return made


@contextlib.contextmanager
def tls_server(authority: trustme.CA, name: str) -> Iterator[Server]:
    """Run a server with a certificate for one name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with contextlib.closing(Server(lambda connection: connection.sendall(OK), tls=context)) as found:
        found.url = found.url.replace("http:", "https:")
        yield found


def test_the_certificate_must_be_for_the_name_in_the_url(authority: trustme.CA) -> None:
    with tls_server(authority, "localhost") as site:
        url = site.url.replace("127.0.0.1", "localhost")
        assert ask_url(Check(url=url), timeout=SECONDS) == f"{url} answered 200"
        assert "CERTIFICATE_VERIFY_FAILED" in failure(site.url).message


def test_an_address_is_asked_as_the_host_that_its_certificate_is_for(authority: trustme.CA) -> None:
    with tls_server(authority, "shop.example.org") as site:
        said = ask_url(Check(url=site.url, host="shop.example.org"), timeout=SECONDS)
        assert said == f"{site.url} answered 200"
        assert headers_of(site.requests[0])["Host"] == "shop.example.org"
        assert "CERTIFICATE_VERIFY_FAILED" in failure(site.url, host="other.example.org").message


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
        return until_good(self.ask, Patience(timeout=1, tries=tries, pause=7), sleep=self.pauses.append).answer

    def stay(self, seconds: float, *, pause: float = 1.0) -> None:
        """Have to stay good, with a clock that sleeping alone moves on."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("releaser.tools.web.time.monotonic", lambda: sum(self.pauses))
            stay_good(self.ask, seconds=seconds, pause=pause, sleep=self.pauses.append)


@pytest.mark.parametrize(
    ("answers", "tries", "said", "asked", "pauses"),
    [
        (["well"], 5, "well", 1, []),
        ([ToolError("starting"), ToolError("starting"), "well"], 5, "well", 3, [7, 7]),
        ([ToolError("one"), ToolError("two"), "too late"], 2, "two", 2, [7]),
        ([], 0, "no health check was made", 0, []),
    ],
)
def test_a_site_has_so_many_tries_to_become_good(
    answers: list[str | ToolError], tries: int, said: str, asked: int, pauses: list[float]
) -> None:
    found = Answers(*answers)
    if said == "well":
        assert found.patience(tries) == said
    else:
        with pytest.raises(ToolError, match=said):
            found.patience(tries)
    assert (found.asked, found.pauses) == (asked, pauses)


@pytest.mark.parametrize(("pause", "pauses"), [(2.0, [1.0, 1.0, 0.5]), (0.5, [0.5] * 5), (0.0, [0.1] * 25)])
def test_a_site_that_is_to_stay_good_is_asked_often_and_at_the_end(pause: float, pauses: list[float]) -> None:
    answers = Answers(*["well"] * 30)
    answers.stay(2.5, pause=pause)
    assert answers.pauses == pytest.approx(pauses + [0.0] * (len(answers.pauses) - len(pauses)))
    assert answers.asked == len(answers.pauses)


def test_one_bad_answer_is_enough_where_all_must_be_good() -> None:
    answers = Answers("well", ToolError("ill", output="page"), "well")
    with pytest.raises(ToolError, match=r"^ill, 2\.0 s after a good answer$") as caught:
        answers.stay(10)
    assert (answers.asked, caught.value.output) == (2, "page")


def test_a_site_that_need_not_stay_good_is_not_asked_again() -> None:
    answers = Answers()
    answers.stay(0)
    assert answers.asked == 0


class Processes:
    """Are settled once they have been looked at so often; each pause is a short one."""

    def __init__(self, looks: float) -> None:
        self.looks = 0
        self._enough = looks

    def settled(self) -> bool:
        self.looks += 1
        return self.looks > self._enough


def unsettled(answers: Answers, looks: float, *, tries: int, pause: float = 60) -> str:
    """Ask, with processes that settle after so many looks; what was slept is in `answers.pauses`."""
    clock = iter(itertools.count(0.0, 0.05))
    patience = Patience(timeout=1, tries=tries, pause=pause)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("releaser.tools.web.time.monotonic", lambda: next(clock))
        settled = Processes(looks).settled
        return until_good(answers.ask, patience, is_settled=settled, sleep=answers.pauses.append).answer


@pytest.mark.parametrize(
    ("answers", "looks", "pauses"),
    [
        (["well"], 0, []),  # no reason to wait
        (["from the old process", "well"], 3, [0.1, 0.1]),  # asked again as soon as all is settled
        (["perhaps from the old process", "well"], 1, []),  # Passenger restarts a site when it is asked for it
    ],
)
def test_a_site_is_asked_again_once_all_is_settled(answers: list[str], looks: float, pauses: list[float]) -> None:
    found = Answers(*answers)
    assert unsettled(found, looks, tries=3) == "well"
    assert (found.asked, found.pauses) == (len(answers), pauses)


def test_what_never_settles_is_as_good_as_its_last_answer() -> None:
    answers = Answers("well", "well", "well")
    assert unsettled(answers, float("inf"), tries=3, pause=1) == "well"
    assert answers.asked == 3
    answers = Answers("well", ToolError("ill"), ToolError("ill"))
    with pytest.raises(ToolError, match="ill"):
        unsettled(answers, float("inf"), tries=3, pause=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("http://x", True), ("https://x", True), ("curl http://x", False), ("ftp://x", False), ("httpcheck", False)],
)
def test_urls_are_told_from_commands(text: str, expected: bool) -> None:
    assert is_url(text) is expected


# Telling it to reload


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


REFUSED = "*** ERROR: You are not authorized to query the status for this Phusion Passenger(R) instance."


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", ""),
        ("Restarting /srv/shop (production)\n", "Restarting /srv/shop (production)"),
        ("Restarting /srv/shop (production)\nRestarting /srv/shop2 (production)\n", 2 * "Restarting /srv/shop"),
        ("There are no applications running whose paths begin with '/srv/shop'.", "There are no applications"),
    ],
)
def test_what_passenger_did_is_told(output: str, said: str) -> None:
    told = passenger_result(output)
    assert "\n" not in told
    assert told.startswith(said[:20])
    assert told.count("Restarting") == said.count("Restarting")


def test_passenger_that_refuses_has_restarted_nothing_though_it_says_that_all_is_well() -> None:
    with pytest.raises(ToolError) as caught:
        passenger_result(REFUSED)
    assert caught.value.message.startswith("passenger-config restarted nothing: You are not authorized to query")
    assert "as the user that the application runs as" in caught.value.advice
