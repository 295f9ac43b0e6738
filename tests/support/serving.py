"""Servers of a test, on the loopback: each serves in threads until the end of a block."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socketserver
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def served(server: socketserver.BaseServer) -> Iterator[None]:
    """Let a server serve until the end of the block, and close it."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def http_server(deal: Callable[[BaseHTTPRequestHandler], None], *, port: int = 0) -> Iterator[str]:
    """Let `deal` deal with every request, each in a thread of its own; give the URL, without a slash at its end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # who asked has gone away, or was ended
                deal(self)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.block_on_close = False
    with served(server):
        yield f"http://127.0.0.1:{server.server_port}"


def begin_reply(request: BaseHTTPRequestHandler, status: int, size: int, headers: dict[str, str] | None = None) -> None:
    """Send all of an answer that comes before its body of so many bytes."""
    request.send_response(status)
    for name, value in {**(headers or {}), "Content-Length": str(size)}.items():
        request.send_header(name, value)
    request.end_headers()


def reply(
    request: BaseHTTPRequestHandler, status: int, body: bytes = b"", headers: dict[str, str] | None = None
) -> None:
    """Answer a request."""
    begin_reply(request, status, len(body), headers)
    request.wfile.write(body)
