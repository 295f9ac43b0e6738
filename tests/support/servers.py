"""Servers of a test, on the loopback: a web site, and a place where a program waits for the test."""

import contextlib
import hashlib
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


@dataclass
class WebSite:
    """A web site that answers each request with a status; `asked` are the paths of the requests."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def web_site(answer: Callable[[], int]) -> Iterator[WebSite]:
    """Serve on the loopback; `answer` is called in another thread for the status of each answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            self.send_response(answer())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = WebSite(url=f"http://127.0.0.1:{server.server_port}/health")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def git_server(repository: Path, authorization: str, look: Callable[[], object]) -> Iterator[int]:
    """Serve a repository on a port of the loopback to who has an authorization; `look` is called at each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            look()
            if self.headers["Authorization"] != authorization:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
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

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextlib.contextmanager
def package_index(root: Path, is_open: Callable[[str], bool] = lambda authorization: True) -> Iterator[str]:
    """Serve each directory of wheels below `root` as an index, `URL/DIRECTORY/simple`, to whom `is_open` lets in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not is_open(self.headers["Authorization"] or ""):
                self._answer(401, b"", "text/plain")
                return
            directory, kind, name = self.path.strip("/").split("/")
            if kind == "files":
                file = root / directory / name
                self._answer(*((200, file.read_bytes()) if file.exists() else (404, b"")), "application/zip")
                return
            wheels = sorted((root / directory).glob(f"{name.replace('-', '_')}-*"))
            files = [
                {"filename": wheel.name, "url": f"/{directory}/files/{wheel.name}", "hashes": {"sha256": _hash(wheel)}}
                for wheel in wheels
            ]
            page = {"meta": {"api-version": "1.0"}, "name": name, "files": files}
            self._answer(200 if wheels else 404, json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")

        do_HEAD = do_GET  # noqa: N815

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(next(record for record, _ in service.known.values() if self.path.endswith(f"/{record['id']}")))

        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            service.asked += [query["package"]["name"] for query in queries]
            self._send({"results": [self._find(query) for query in queries]})

        def _find(self, query: dict[str, Any]) -> dict[str, object]:
            record, versions = service.known.get(query["package"]["name"], ({}, ()))
            return (
                {"vulns": [{"id": record["id"], "modified": record["modified"]}]}
                if query["version"] in versions
                else {}
            )

        def _send(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(service.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service = Advisories(url=f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield service
        server.shutdown()
