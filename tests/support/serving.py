"""Servers of a test, on the loopback: each serves in threads until the end of a block."""

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, SO_REUSEADDR, SOL_SOCKET, socket
from ssl import SSLContext
from typing import Any


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


class Quiet:
    """Says nothing of the requests."""

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    """Ends its connections with itself, and waits for their threads: none closes anything during another test."""

    daemon_threads = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for one in self._connections.copy():
            with contextlib.suppress(OSError):
                one.shutdown(SHUT_RDWR)
        super().server_close()


@contextlib.contextmanager
def handler_server(
    handler: Callable[..., BaseHTTPRequestHandler],
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    tls: SSLContext | None = None,
) -> Iterator[str]:
    """Handle every request, each in a thread of its own; give the URL, without a slash at its end."""
    server = _Server((address, port), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    with served(server):
        yield f"http{'s' if tls else ''}://{address}:{server.server_port}"


@contextlib.contextmanager
def http_server(deal: Callable[[BaseHTTPRequestHandler], None], **where: Any) -> Iterator[str]:
    """Let `deal` deal with every request, as `handler_server` does."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # who asked has gone away, or was ended
                deal(self)

        def do_POST(self) -> None:
            self.do_GET()

    with handler_server(Handler, **where) as url:
        yield url


def kept_port() -> tuple[socket, int]:
    """Return a port on which nobody listens, and a socket that keeps it, while it is open, for servers of this test."""
    keeper = socket()
    keeper.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)  # as servers set it, too
    keeper.bind(("127.0.0.1", 0))
    return keeper, keeper.getsockname()[1]


def hang(request: BaseHTTPRequestHandler) -> None:
    """Answer nothing until who asked has gone away, or the server ends."""
    request.rfile.read(1)


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
