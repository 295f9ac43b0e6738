"""A mail server on the loopback, which keeps what it takes."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


@dataclass
class MailServer:
    """What a server took: mails with recipients and True if TLS hid them; logins. It refuses `unknown` addresses."""

    host: str  # with its port
    mails: list[tuple[list[str], EmailMessage, bool]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)  # user and password
    unknown: set[str] = field(default_factory=set)

    async def handle_RCPT(self, _: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.unknown:
            return "550 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((envelope.rcpt_tos, message, bool(server.transport.get_extra_info("sslcontext"))))
        return "250 OK"

    def authenticate(self, _: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=True)


def read_mail(mail: EmailMessage, kind: str = "plain") -> str:
    """Return the text of a mail, or with `html` that part."""
    body = mail.get_body((kind,))
    assert body is not None, f"the mail has no part text/{kind}"
    return str(body.get_content()).replace("\r\n", "\n")


@contextlib.contextmanager
def mail_server(certificate: Path | None = None, security: str = "") -> Iterator[MailServer]:
    """Serve mail to whoever logs in, or does not. With a certificate, `security` is `tls` or `starttls`."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = MailServer(f"localhost:{listener.getsockname()[1]}")
    options: dict[str, Any] = {"authenticator": server.authenticate, "auth_require_tls": security == "starttls"}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        options["tls_context" if security == "starttls" else "ssl_context"] = context
    controller = Controller(server, "127.0.0.1", listener.getsockname()[1], **options)
    listen = partial(controller.loop.create_server, controller._factory_invoker, sock=listener)
    controller._create_server = partial(listen, ssl=controller.ssl_context)  # type: ignore[method-assign]
    with contextlib.ExitStack() as stack:
        stack.callback(controller.stop)
        controller.start()
        yield server
