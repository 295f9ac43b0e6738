"""Servers on the loopback that fail in every way in which servers fail: a mail server, and a mute one."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from email import message_from_bytes
from typing import TYPE_CHECKING, Literal

from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator

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
