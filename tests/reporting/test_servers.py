"""The reports of other servers: over real HTTP and from files, whatever they contain."""

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from releaser.reporting import servers
from releaser.reporting.servers import Server, ServerReport, read_servers
from releaser.system.files import plain
from tests.reporting.test_page import FINE
from tests.support.serving import Quiet, handler_server

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
GOOD = json.dumps(ServerReport(host="web1", at=NOW, sites=(FINE,)), default=plain).encode()
SEEN: list[tuple[str, str | None]] = []


class Answers(Quiet, BaseHTTPRequestHandler):
    """Answers by path: well, with an error, a redirect, too much, too slowly, or half."""

    def do_GET(self) -> None:
        SEEN.append((self.path, self.headers.get("Authorization")))
        status, place = {
            "/gone": (404, ""), "/file": (302, "file:///etc/passwd"), "/moved": (302, "/good")
        }.get(self.path, (200, ""))  # fmt: skip
        self.send_response(status)
        if place:
            self.send_header("Location", place)
        if self.path == "/half":
            self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        bodies = {"/good": GOOD, "/gone": GOOD, "/half": GOOD[:-40], "/large": GOOD + b" " * (1 << 20)}
        self.wfile.write(bodies.get(self.path, b""))
        for _ in range(100 if self.path == "/slow" else 0):
            self.wfile.write(b" ")
            time.sleep(0.05)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with handler_server(Answers) as server:
        yield server


def read(place: str, **environ: str) -> Server:
    (found,) = read_servers({"web1": place}, environ)
    assert found.name == "web1"
    return found


def test_a_report_is_read_over_http(url: str) -> None:
    found = read(f"{url}/good").report
    assert found is not None
    assert (found.host, found.at, [one.site for one in found.sites]) == ("web1", NOW, ["/srv/well"])
    assert found.sites[0].answer["live"] == "B"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/gone", "it answered 404 Not Found"),
        ("/file", "it answered 302 Found"),
        ("/moved", "it answered 302 Found"),
        ("/half", "this is no report of `releaser report --publish`"),
        ("/empty", "this is no report of `releaser report --publish`"),
        ("/large", "it answered with more than 1 MiB"),
        ("/slow", "no answer within 0.4 s"),
    ],
)
def test_an_answer_that_is_no_report_is_the_problem_of_that_server(
    monkeypatch: pytest.MonkeyPatch, url: str, path: str, why: str
) -> None:
    monkeypatch.setattr(servers, "_TIMEOUT", 0.4)
    monkeypatch.setattr(servers, "_LARGEST", 1 << 20)
    SEEN.clear()
    found = read(f"{url}{path}")
    assert found.report is None
    assert found.problem.startswith(why)
    assert [one for one, _ in SEEN] == [path]  # no redirect is followed


def test_a_server_that_does_not_answer_delays_no_other(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    found = read_servers({"a": dead, "b": f"{url}/good", "c": "http://no host/"}, {})
    assert [one.name for one in found] == ["a", "b", "c"]
    assert found[0].problem.startswith("it cannot be reached:")
    assert found[1].report is not None
    assert found[2].report is None


def test_the_login_is_that_of_netrc(tmp_path: Path, url: str) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password secret1234\n")
    netrc.chmod(0o600)
    SEEN.clear()
    read(f"{url}/good", NETRC=str(netrc))
    login = f"Basic {base64.b64encode(b'ann:secret1234').decode()}"
    assert SEEN == [("/good", login)]  # noqa: SIM300
    netrc.write_text("machine 127.1 login ann password secret1234\n")
    SEEN.clear()
    assert read(f"{url.replace('127.0.0.1', '127.1')}/good", NETRC=str(netrc)).report is not None
    assert SEEN == [("/good", None)]  # over http, everybody on the way could read it


def forged(**facts: object) -> bytes:
    return json.dumps({**json.loads(GOOD), **facts}).encode()


BAD: dict[str, bytes] = {
    "no JSON": b"<html>",
    "another JSON": b"[]",
    "a status": json.dumps(FINE.answer, default=plain).encode(),
    "no time": forged(at="never"),
    "a time without a zone": forged(at="2026-11-23T09:00:00"),
    "sites of another type": forged(sites={"a": 1}),
    "a site without a path": forged(sites=[{"exit_code": 0}]),
    "deep": GOOD.replace(b'"answer": {', b'"answer": ' + b'{"a": ' * 100_000, 1),
    "a large number": GOOD.replace(b'"exit_code": 0', b'"exit_code": 1' + b"0" * 5000, 1),
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_file_that_is_no_report_is_the_problem_of_that_server(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(data)
    found = read(str(file))
    assert found.report is None
    assert found.problem
    assert found.find_problem(NOW) == found.problem


def test_a_file_is_read_only_if_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.json"
    file.write_bytes(GOOD)
    assert read(str(file)).report is not None
    os.mkfifo(tmp_path / "pipe")
    for place in ("pipe", "none", "."):
        assert read(str(tmp_path / place)).problem.startswith("its report cannot be read: "), place
    monkeypatch.setattr(servers, "_LARGEST", 100)
    assert "larger than" in read(str(file)).problem
