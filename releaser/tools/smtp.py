"""Handing a mail to an SMTP server, in bounded time."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from releaser.errors import MailError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

Security = Literal["none", "starttls", "tls"]

_DEFAULT_PORTS: dict[Security, int] = {"none": 25, "starttls": 587, "tls": 465}
_GOODBYE_SECONDS = 1.0
_SERVER_ADVICE = "Check that the mail server runs, and the settings smtp_host, smtp_port and smtp_security."
_CLOSING = 421  # "closing transmission channel" (RFC 5321, 4.2.3): the server's trouble, not the mail's


@dataclass(frozen=True, kw_only=True)
class SmtpServer:
    """Where to send mail, and how.

    `port` 0 is the usual one for `security`. No login without a `user`. `timeout` (seconds) limits each
    operation on the socket, `deadline` (seconds) the whole delivery, name resolution included. `ca_file`
    takes the place of the system's certificate authorities.
    """

    host: str
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    security: Security = "none"
    timeout: float = 30.0
    deadline: float = 120.0
    ca_file: str | None = None

    @property
    def address(self) -> str:
        """The server for people, as host:port."""
        return f"{_one_line(self.host)}:{self.effective_port}"

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port or _DEFAULT_PORTS[self.security]

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Send a mail to each recipient once, and give back those whom the server refused.

        MailError if nobody got it. When the answer to the mail itself does not come in time, the server may
        have accepted it all the same: a second try can make a duplicate, never a loss.
        """
        to = tuple(dict.fromkeys(recipients))
        if not to:
            raise _failure(self, "there is nobody to send it to", refused=True)
        for address in (sender, *to):
            if not address or not address.isprintable() or " " in address:
                raise _failure(self, f"{address!r} is not an address", refused=True)
        return _Delivery(self, message, sender, to).result()


class _PlainClient(smtplib.SMTP):
    def __init__(self, delivery: _Delivery, server: SmtpServer) -> None:
        delivery.client = self  # before the constructor connects, so that a slow greeting can be interrupted
        super().__init__(server.host, server.effective_port, timeout=server.timeout)


class _TlsClient(smtplib.SMTP_SSL):
    def __init__(self, delivery: _Delivery, server: SmtpServer) -> None:
        delivery.client = self
        super().__init__(server.host, server.effective_port, timeout=server.timeout, context=_tls(server))


class _Delivery:
    """One conversation with a server, in a thread that the caller can walk away from.

    A thread, since neither name resolution nor a server that trickles one byte at a time is bounded by the
    timeout of a socket. It is a daemon: it never keeps the process from ending.
    """

    def __init__(self, server: SmtpServer, message: EmailMessage, sender: str, recipients: tuple[str, ...]) -> None:
        self.client: smtplib.SMTP | None = None
        self._server = server
        self._message = message
        self._sender = sender
        self._recipients = recipients
        self._abandoned = False
        self._refused: Future[tuple[str, ...]] = Future()
        self._thread = threading.Thread(target=self._run, name="releaser-smtp", daemon=True)

    def result(self) -> tuple[str, ...]:
        self._thread.start()
        try:
            wait([self._refused], timeout=self._server.deadline)
            in_time = self._refused.done()
            if in_time:
                self._thread.join(_GOODBYE_SECONDS)
        finally:
            self._abandon()
        # An acceptance that came just after the deadline counts: the mail must not be sent again.
        if in_time or (self._refused.done() and self._refused.exception() is None):
            return self._refused.result()
        raise _failure(self._server, f"it was not through after {self._server.deadline:g} s")

    def _abandon(self) -> None:
        """Make the thread stop as soon as it can; it sends nothing from here on."""
        self._abandoned = True
        connection = self.client.sock if self.client else None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(_GOODBYE_SECONDS)

    def _run(self) -> None:
        try:
            self._refused.set_result(self._converse())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._refused.set_exception(error)
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Close the connection; the mail's fate is settled, so that nothing here counts as a failure."""
        if self.client is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self.client.quit()
        self.client.close()

    def _converse(self) -> tuple[str, ...]:
        try:
            client = self._connected()
            self._log_in(client)
            self._go_on()
            refused = client.send_message(self._message, self._sender, list(self._recipients))
        except smtplib.SMTPRecipientsRefused as error:
            raise self._nobody_accepted(error) from None
        except (OSError, ValueError) as error:  # smtplib's exceptions are OSErrors
            reason = _reason(error, self._server)
            raise _failure(self._server, reason, refused=_is_about_mail(error)) from error
        return tuple(refused)

    def _connected(self) -> smtplib.SMTP:
        if self._server.security == "tls":
            return _TlsClient(self, self._server)
        client = _PlainClient(self, self._server)
        if self._server.security == "starttls":
            self._go_on()
            client.starttls(context=_tls(self._server))
        return client

    def _log_in(self, client: smtplib.SMTP) -> None:
        if not self._server.user:
            return
        self._go_on()
        advice = "Check the settings smtp_user and smtp_password."
        try:
            client.login(self._server.user, self._server.password)
        except smtplib.SMTPAuthenticationError as error:
            reason = f"login as {_one_line(self._server.user)} was refused: {_reason(error, self._server)}"
            raise _failure(self._server, reason, advice=advice) from None
        except UnicodeError:
            # Neither the message nor the cause of this one may show: both quote the password.
            reason = "the user or the password has characters that a login cannot carry"
            raise _failure(self._server, reason, advice=advice) from None

    def _go_on(self) -> None:
        if self._abandoned:
            raise _failure(self._server, "given up")

    def _nobody_accepted(self, error: smtplib.SMTPRecipientsRefused) -> MailError:
        answers = (f"{name} ({_answer(code, text)})" for name, (code, text) in error.recipients.items())
        reason = f"every recipient was refused: {', '.join(answers)}"
        about_mail = all(code != _CLOSING for code, _ in error.recipients.values())
        return _failure(self._server, _without_password(reason, self._server), refused=about_mail)


def _tls(server: SmtpServer) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except OSError as error:
        message = f"the CA file {server.ca_file} for the mail server {server.address} cannot be used: {error}"
        raise MailError(message, advice="Check the setting of the CA file.") from error


def _failure(server: SmtpServer, reason: str, *, advice: str = "", refused: bool = False) -> MailError:
    return MailError(
        f"the mail server {server.address} did not take the mail: {reason}",
        advice=advice or _SERVER_ADVICE,
        refused=refused,
    )


def _is_about_mail(error: Exception) -> bool:
    about = isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError)
    return about and getattr(error, "smtp_code", _CLOSING) != _CLOSING


def _reason(error: Exception, server: SmtpServer) -> str:
    return _without_password(_plain_reason(error, server.timeout), server)


def _plain_reason(error: Exception, timeout: float) -> str:
    # smtplib turns a timeout into "connection unexpectedly closed"; the context still tells.
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {_one_line(error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {_one_line(str(error.reason or error))}"
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, UnicodeError):
        return "the host name is not valid"
    if isinstance(error, OSError) and error.strerror:
        return _one_line(error.strerror)
    return _one_line(str(error)) or type(error).__name__


def _answer(code: int, text: bytes | str) -> str:
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return _one_line(f"{code} {decoded}")


def _without_password(text: str, server: SmtpServer) -> str:
    """Blank the password, in case that the server quotes it in its answer."""
    return text.replace(server.password, "***") if server.password else text


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:300]
