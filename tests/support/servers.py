"""Servers of a test, on the loopback: web sites, and a place where a program waits for the test."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

#: A test module for a sample site: where a test of ours has opened a meeting, it waits until it may go on.
WAITING_TESTS = """\
import os, socket, unittest

class Waiting(unittest.TestCase):
    def test_waits(self):
        if "MEETING_PORT" in os.environ:
            with socket.create_connection(("127.0.0.1", int(os.environ["MEETING_PORT"]))) as meeting:
                meeting.sendall(b"here")
                self.assertEqual(meeting.recv(1), b"!")
"""


class Meeting:
    """A place where a program that releaser runs waits for the test; see `WAITING_TESTS`."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.env = {"MEETING_PORT": str(listener.getsockname()[1])}

    @contextlib.contextmanager
    def kept_waiting(self) -> Iterator[None]:
        """Wait until the program has come; let it go on at the end of the block."""
        program, _ = self._listener.accept()
        with program:
            assert program.recv(16) == b"here"
            yield
            program.sendall(b"!")


@contextlib.contextmanager
def meeting(*, seconds: float = 60) -> Iterator[Meeting]:
    """Open a meeting; a program that does not come within `seconds` fails the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(seconds)
        yield Meeting(listener)


class Handler(BaseHTTPRequestHandler):
    """Answers requests, and prints nothing."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer with headers, such as `Content_Type`; without its body to HEAD."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def serve(handler: type[Handler]) -> Iterator[str]:
    """Serve on the loopback, and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class WebSite:
    """A web site that answers each request with a status; `asked` are the paths of the requests."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def web_site(answer: Callable[[], int]) -> Iterator[WebSite]:
    """Serve on the loopback; `answer` is called in another thread for the status of each answer."""

    class Answering(Handler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            self.answer(answer())

    with serve(Answering) as url:
        site = WebSite(f"{url}/health")
        yield site


@contextlib.contextmanager
def git_server(repository: Path, authorization: str, look: Callable[[], object]) -> Iterator[int]:
    """Serve a repository on a port of the loopback to who has an authorization; `look` is called at each request."""

    class Backend(Handler):
        def do_GET(self) -> None:
            look()
            if self.headers["Authorization"] != authorization:
                self.answer(401, WWW_Authenticate='Basic realm="git"')
                return
            path, _, query = self.path.partition("?")
            env = {"GIT_PROJECT_ROOT": str(repository), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path}
            env |= {"QUERY_STRING": query, "REQUEST_METHOD": self.command, "PATH": os.environ["PATH"]}
            env |= {"CONTENT_TYPE": self.headers["Content-Type"] or "", "GIT_CONFIG_NOSYSTEM": "1"}
            env |= {"HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or ""}
            env |= {"GIT_PROTOCOL": self.headers["Git-Protocol"] or ""}
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            answer = subprocess.run(["git", "http-backend"], input=body, env=env, stdout=subprocess.PIPE, check=True)
            self.wfile.write(b"HTTP/1.0 200 OK\r\n" + answer.stdout)

        do_POST = do_GET  # noqa: N815

    with serve(Backend) as url:
        yield int(url.rpartition(":")[2])


@dataclass
class Advisories:
    """A stand-in for the service of advisories; `known` are records by the package, with the versions that have one.

    `status` is that of each answer; `asked` are the names of packages.
    """

    url: str
    known: dict[str, tuple[dict[str, object], tuple[str, ...]]] = field(default_factory=dict)
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def add(self, name: str, id: str, versions: tuple[str, ...], *fixes: str) -> None:
        """Let versions of a package have a vulnerability, which newer ones fix."""
        events = [{"introduced": "0"}, *({"fixed": fix} for fix in fixes)]
        affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        record: dict[str, object] = {"id": id, "modified": "2026-01-01T00:00:00Z", "affected": [affected]}
        record |= {"aliases": [f"CVE-{len(self.known)}"], "summary": f"{name} runs what strangers send"}
        self.known[name] = (record, versions)


@contextlib.contextmanager
def advisory_service() -> Iterator[Advisories]:
    """Serve advisories on the loopback, in the form of OSV."""

    class Osv(Handler):
        def do_GET(self) -> None:
            self._send(next(record for record, _ in service.known.values() if self.path.endswith(f"/{record['id']}")))

        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            service.asked += [query["package"]["name"] for query in queries]
            self._send({"results": [self._find(query) for query in queries]})

        def _find(self, query: dict[str, Any]) -> dict[str, object]:
            record, versions = service.known.get(query["package"]["name"], ({}, ()))
            found = {"id": record["id"], "modified": record["modified"]} if query["version"] in versions else None
            return {"vulns": [found]} if found else {}

        def _send(self, value: object) -> None:
            self.answer(service.status, json.dumps(value).encode(), Content_Type="application/json")

    with serve(Osv) as url:
        service = Advisories(url)
        yield service
