"""Real mail servers on this host, one for each way in which a mail server can behave.

A pytest plugin: `pytest_plugins = ["tests.support.smtp"]` makes the fixtures known.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

Stage = Literal["greeting", "EHLO", "MAIL", "RCPT", "DATA", "text"]
STAGES: tuple[Stage, ...] = get_args(Stage)
USER = "releaser"
PASSWORD = "correct horse"


@dataclass(frozen=True, kw_only=True)
class Received:
    """A mail as the server got it, with its envelope."""

    message: EmailMessage
    raw: bytes
    sender: str
    recipients: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What kind of server it is; `data_reply` is the answer to the mail itself, None to never answer it."""

    starttls: bool = False
    tls: bool = False
    login: bool = False
    refuse: Callable[[str], bool] = lambda _: False
    rcpt_reply: str = "550 no such user here"
    data_reply: str | None = "250 OK"
    hangs_at_quit: bool = False


@dataclass(frozen=True, kw_only=True)
class MailCa:
    """A certificate authority of the tests; `file` is what a client has to trust."""

    file: Path
    authority: trustme.CA

    def server_context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names).configure_cert(context)
        return context


class MailServer:
    """A server that listens on 127.0.0.1; `messages` is what it has accepted, in order, `seen` all that came whole.

    It runs in a thread, so that clients in this process and in others can talk to it. At the stage `fails_at` it gives
    no answer: it drops the connection, or `hangs`.
    """

    def __init__(self, behaviour: Behaviour, ca: MailCa | None, names: tuple[str, ...]) -> None:
        self.behaviour = behaviour
        self.ca_file = str(ca.file) if ca else None
        self.messages: list[Received] = []
        self.seen: list[Received] = []
        self.fails_at: Stage | None = None
        self.hangs = False
        self._context = ca.server_context(*names) if ca else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._protocols: list[_Protocol] = []

    @property
    def attempts(self) -> int:
        """How many mails came whole."""
        return len(self.seen)

    # The names of the hooks are aiosmtpd's.
    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.behaviour.refuse(address):
            return self.behaviour.rcpt_reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        received = _received(envelope)
        self.seen.append(received)
        await self.fail(server, "text")
        if self.behaviour.data_reply is None:
            await _for_ever()
        reply = self.behaviour.data_reply or ""
        if reply.startswith("250"):
            self.messages.append(received)
        return reply

    async def handle_QUIT(self, _server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802
        if self.behaviour.hangs_at_quit:
            await _for_ever()
        return "221 Bye"

    async def fail(self, server: SMTP, stage: Stage) -> None:
        """Answer nothing at the stage at which it fails."""
        if stage != self.fails_at:
            return
        if not self.hangs:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        await _for_ever()

    async def serve(self, stop: asyncio.Event) -> None:
        """Answer until `stop`, then cut every connection."""
        implicit = self._context if self.behaviour.tls else None
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._protocol, sock=self._listener, ssl=implicit)
        await stop.wait()
        server.close()
        for protocol in self._protocols:
            if isinstance(protocol.transport, asyncio.Transport):
                with suppress(AttributeError):  # of Python 3.11.2, for TLS that was closed twice, as aiosmtpd does
                    protocol.transport.abort()

    def _protocol(self) -> SMTP:
        tls = self._context if self.behaviour.starttls else None
        protocol = _Protocol(
            self,
            hostname="mail.test",
            tls_context=tls,
            require_starttls=tls is not None,
            authenticator=_authenticate if self.behaviour.login else None,
            auth_required=self.behaviour.login,
        )
        self._protocols.append(protocol)
        return protocol


class _Protocol(SMTP):
    """Fails at stages for which there is no hook."""

    async def push(self, status: Any) -> None:
        at: dict[str, Stage] = {"220": "greeting", "354": "DATA"}
        if stage := at.get(str(status)[:3]):
            await self.event_handler.fail(self, stage)
        await super().push(status)

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802 - aiosmtpd's name
        await self.event_handler.fail(self, "EHLO")
        await super().smtp_EHLO(hostname)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        await self.event_handler.fail(self, "MAIL")
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        await self.event_handler.fail(self, "RCPT")
        await super().smtp_RCPT(arg)


async def _for_ever() -> None:
    await asyncio.Event().wait()


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=data == good, handled=False)


def _received(envelope: Envelope) -> Received:
    raw = envelope.content
    assert isinstance(raw, bytes)
    message = message_from_bytes(raw, policy=SMTP_POLICY)
    assert isinstance(message, EmailMessage)
    return Received(message=message, raw=raw, sender=envelope.mail_from or "", recipients=tuple(envelope.rcpt_tos))


@contextmanager
def running(serve: Callable[[asyncio.Event], Any]) -> Iterator[None]:
    """Run a coroutine function in a loop in a thread; it gets the event that tells it to stop."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), stop))
        await serve(stop)
        await asyncio.sleep(0)  # lets cut connections tell their protocols

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    loop, stop = started.result(timeout=10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)


@contextmanager
def mail_server(
    behaviour: Behaviour | None = None, *, ca: MailCa | None = None, names: tuple[str, ...] = ("127.0.0.1",)
) -> Iterator[MailServer]:
    """Run a mail server that behaves as told; its certificate is by `ca` and for `names`."""
    server = MailServer(behaviour or Behaviour(), ca, names)
    with running(server.serve):
        yield server


@contextmanager
def meeting_server(meet: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> Iterator[tuple[str, int]]:
    """Run a server that meets each client so, and then cuts the connection; give host and port."""
    listener = socket.create_server(("127.0.0.1", 0))

    async def met(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.CancelledError):  # it has gone, or the server ends
                await meet(writer)
        finally:
            writer.transport.abort()

    async def serve(stop: asyncio.Event) -> None:
        server = await asyncio.start_server(met, sock=listener)
        await stop.wait()
        server.close()

    with running(serve):
        yield listener.getsockname()


async def _trickle(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.05)


@contextmanager
def mute_server(*, drops: bool = False) -> Iterator[int]:
    """Accept connections on a port and never say anything; if it `drops` them, close them at once. Give the port."""

    async def meet(_: asyncio.StreamWriter) -> None:
        if not drops:
            await _for_ever()

    with meeting_server(meet) as (_, port):
        yield port


@pytest.fixture(scope="session")
def mail_ca(tmp_path_factory: pytest.TempPathFactory) -> MailCa:
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("mail-ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return MailCa(file=file, authority=authority)


@pytest.fixture
def smtp_server() -> Iterator[MailServer]:
    """Takes every mail, without TLS or login."""
    with mail_server() as server:
        yield server


@pytest.fixture
def refusing_smtp_server() -> Iterator[MailServer]:
    """Refuses every recipient whose address begins with `no`."""
    with mail_server(Behaviour(refuse=lambda address: address.startswith("no"))) as server:
        yield server


@pytest.fixture
def hanging_smtp_server() -> Iterator[MailServer]:
    """Takes the whole mail and then says nothing, neither yes nor no."""
    with mail_server(Behaviour(data_reply=None)) as server:
        yield server


@pytest.fixture
def trickling_smtp_server() -> Iterator[tuple[str, int]]:
    """Sends a byte of its greeting every 0.05 s and never ends it; gives host and port."""
    with meeting_server(_trickle) as address:
        yield address


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
