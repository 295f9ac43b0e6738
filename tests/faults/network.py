"""Servers on the loopback that fail in every way in which servers fail: a package index, a mail server, a mute one."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import socketserver
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.support.serving import served
from tests.support.simple_index import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

Mood = Literal[
    "is well",
    "is gone",
    "fails",
    "hangs",
    "hangs at a wheel",
    "cuts a wheel",
    "ends a wheel early",
    "falsifies a wheel",
    "trickles a wheel",
    "is slow",
]
SLOW = 0.02  # seconds between pieces


class PackageIndex:
    """An index of wheels by HTTP (the simple API, PEP 503, with metadata files, PEP 658).

    It serves what lies in `directory` on a port that stays the same, also when it has been gone, as locks name it.
    """

    def __init__(self) -> None:
        self.directory = Path()
        self.mood: Mood = "is well"
        self._stopped = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as finder:
            self.port: int = finder.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/simple/"

    @contextlib.contextmanager
    def serving(self, mood: Mood = "is well") -> Iterator[None]:
        """Serve, in some mood, until the end of the block."""
        if mood == "is gone":
            yield
            return
        self.mood = mood
        self._stopped.clear()
        server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        server.daemon_threads = True
        server.block_on_close = False
        with served(server):
            try:
                yield
            finally:
                self._stopped.set()

    def answer(self, path: str) -> bytes | None:
        """Return what is to be had at a path; None when there is nothing."""
        kind, _, name = path.strip("/").partition("/")
        if kind == "simple":
            return self._page(name)
        wheel = self.directory / name.removesuffix(".metadata")
        if kind != "files" or not wheel.is_file():
            return None
        return metadata(wheel) if name.endswith(".metadata") else wheel.read_bytes()

    def _page(self, name: str) -> bytes | None:
        lines = []
        for wheel in sorted(self.directory.glob(f"{name.replace('-', '_')}-*.whl")):
            digest, about = (hashlib.sha256(data).hexdigest() for data in (wheel.read_bytes(), metadata(wheel)))
            link = f'href="/files/{wheel.name}#sha256={digest}" data-core-metadata="sha256={about}"'
            lines.append(f"<a {link}>{wheel.name}</a><br>")
        return "\n".join(["<!DOCTYPE html><html><body>", *lines, "</body></html>"]).encode() if lines else None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(OSError):  # uv has gone away, or was ended
                    index._serve(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                """Say nothing."""

        return Handler

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        data, is_wheel = self.answer(request.path), request.path.endswith(".whl")
        if self.mood == "hangs" or (self.mood == "hangs at a wheel" and is_wheel):
            self._stopped.wait()
            return
        status = 503 if self.mood == "fails" else 404 if data is None else 200
        data = data if status == 200 and data is not None else b"no"
        request.send_response(status)
        kind = "application/octet-stream" if request.path.startswith("/files/") else "text/html"
        request.send_header("Content-Type", kind)
        request.send_header("Cache-Control", "no-cache")
        half = len(data) // 2
        request.send_header(
            "Content-Length", str(half if is_wheel and self.mood == "ends a wheel early" else len(data))
        )
        request.end_headers()
        if is_wheel:
            self._send_wheel(request, data, half)
        else:
            self._send_slowly(request, data) if self.mood == "is slow" else request.wfile.write(data)

    def _send_wheel(self, request: BaseHTTPRequestHandler, data: bytes, half: int) -> None:
        if self.mood in ("cuts a wheel", "ends a wheel early"):
            request.wfile.write(data[:half])
            request.wfile.flush()
            request.close_connection = True
            if self.mood == "cuts a wheel":
                request.connection.shutdown(socket.SHUT_RDWR)
        elif self.mood == "trickles a wheel":
            for byte in data:
                if self._stopped.wait(0.5):
                    return
                request.wfile.write(bytes([byte]))
        elif self.mood == "is slow":
            self._send_slowly(request, data)
        else:
            request.wfile.write(data[::-1] if self.mood == "falsifies a wheel" else data)

    def _send_slowly(self, request: BaseHTTPRequestHandler, data: bytes) -> None:
        for start in range(0, len(data), 100):
            if self._stopped.wait(SLOW):
                return
            request.wfile.write(data[start : start + 100])


Stage = Literal["greeting", "EHLO", "MAIL", "RCPT", "DATA", "text"]
STAGES: tuple[Stage, ...] = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "text")


class StagedMailServer:
    """A mail server that drops the connection, or hangs, at one stage of a conversation, or at none.

    `seen` are the Message-IDs of the mails that came whole, `accepted` of those for which it has said so.
    """

    def __init__(self) -> None:
        self.fails_at: Stage | None = None
        self.hangs = False
        self.seen: list[str] = []
        self.accepted: list[str] = []
        self._stopped = threading.Event()
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ConnectionAbortedError):
                    server._converse(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]

    @contextlib.contextmanager
    def serving(self) -> Iterator[StagedMailServer]:
        """Serve until the end of the block."""
        with served(self._server):
            try:
                yield self
            finally:
                self._stopped.set()

    def _converse(self, client: socketserver.StreamRequestHandler) -> None:
        self._say(client, "greeting", b"220 mail.test")
        for line in client.rfile:
            verb = line.split()[0].split(b":")[0].upper()
            if verb == b"DATA":
                self._say(client, "DATA", b"354 go on")
                self._take(client)
            elif verb == b"QUIT":
                client.wfile.write(b"221 bye\r\n")
                return
            else:
                stage = next((one for one in STAGES if one.encode() == verb), None)
                self._say(client, stage, b"250 fine")

    def _take(self, client: socketserver.StreamRequestHandler) -> None:
        lines = []
        for line in client.rfile:
            if line == b".\r\n":
                break
            lines.append(line)
        key = str(message_from_bytes(b"".join(lines))["Message-ID"])
        self.seen.append(key)
        self._say(client, "text", b"250 taken")
        self.accepted.append(key)

    def _say(self, client: socketserver.StreamRequestHandler, stage: Stage | None, words: bytes) -> None:
        if stage is not None and stage == self.fails_at:
            if self.hangs:
                self._stopped.wait()
            raise ConnectionAbortedError
        client.wfile.write(words + b"\r\n")


@contextlib.contextmanager
def mute_server(*, drops: bool = False) -> Iterator[int]:
    """Accept connections on a port and never say anything; if it `drops` them, close them at once. Give the port."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, stopped, drops))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stopped.set()
            thread.join()


def _accept(listener: socket.socket, stopped: threading.Event, drops: bool) -> None:
    listener.settimeout(0.05)
    with contextlib.ExitStack() as stack:
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = listener.accept()
                client.close() if drops else stack.enter_context(client)
