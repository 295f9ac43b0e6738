"""Delivers a mail within a time limit: to an SMTP server, or to the sendmail program of this host."""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import ssl
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from releaser.errors import MailError, ToolError
from releaser.system.frozen import Frozen, field
from releaser.system.signals import Deadline, call_within
from releaser.system.words import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from releaser.system.process import Runner

Security = Literal["none", "starttls", "tls"]

_DEFAULT_PORTS: dict[Security, int] = {"none": 25, "starttls": 587, "tls": 465}
_GOODBYE_SECONDS = 1.0
_SERVER_ADVICE = "Check that the mail server runs, and the settings smtp_host, smtp_port and smtp_security."
_IN_CLEAR = (
    'Set smtp_security and smtp_port to values that the server supports, such as "tls". smtp_security = "none" sends'
    " user and password unencrypted: use it only on a private network."
)
_CLOSING = 421  # "closing transmission channel" (RFC 5321, 4.2.3): a problem of the server, not of the mail


class SmtpServer(Frozen):
    """An SMTP server, and the settings for sending.

    A `port` of 0 is the usual port for `security`. Without a `user` there is no login. Without `security`, a login in
    clear is allowed only to this host itself. `timeout` (seconds) limits each operation on the socket, `deadline`
    (seconds) the whole delivery, including name resolution.
    """

    host: str
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    security: Security | None = None
    timeout: float = 30.0
    deadline: float = 120.0

    @property
    def address(self) -> str:
        """The server for people, as host:port."""
        return f"{one_line(self.host)}:{self.effective_port}"

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port or _DEFAULT_PORTS[self.security or "none"]

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Send a mail to each recipient once, and return the recipients that the server refused.

        Raises MailError if no recipient got it. If the answer to the mail itself is late, the server may have accepted
        it: a second try can make a duplicate, never a loss.
        """
        to = tuple(dict.fromkeys(recipients))
        if not to:
            raise _failure(self, "it has no recipient", refused=True)
        for address in (sender, *to):
            if not address or not address.isprintable() or " " in address:
                raise _failure(self, f"{address!r} is not an address", refused=True)
        try:
            return call_within(
                self.deadline,
                lambda deadline: _converse(self, message, sender, to, deadline),
                grace=_GOODBYE_SECONDS,  # a mail that was accepted just after the deadline must not be sent again
            )
        except TimeoutError:
            raise _failure(self, f"the delivery took longer than {self.deadline:g} s") from None


class _PlainClient(smtplib.SMTP):
    def __init__(self, server: SmtpServer, deadline: Deadline) -> None:
        deadline.connections.append(self)  # before the constructor connects, so that a slow greeting can be ended
        super().__init__(server.host, server.effective_port, timeout=server.timeout)


class _TlsClient(smtplib.SMTP_SSL):
    def __init__(self, server: SmtpServer, deadline: Deadline) -> None:
        deadline.connections.append(self)
        super().__init__(
            server.host, server.effective_port, timeout=server.timeout, context=ssl.create_default_context()
        )


def _converse(
    server: SmtpServer, message: EmailMessage, sender: str, recipients: tuple[str, ...], deadline: Deadline
) -> tuple[str, ...]:
    """Deliver one mail, and return the recipients that were refused. Raises MailError."""
    client: smtplib.SMTP | None = None

    def check_time() -> None:
        if deadline.is_over:
            raise _failure(server, "given up")

    try:
        client = (_TlsClient if server.security == "tls" else _PlainClient)(server, deadline)
        if server.security == "starttls" or (server.security is None and server.user and not _stays_here(client)):
            check_time()
            client.starttls(context=ssl.create_default_context())
        if server.user:
            check_time()
            _log_in(client, server)
        check_time()
        return tuple(client.send_message(message, sender, list(recipients)))
    except smtplib.SMTPRecipientsRefused as error:
        answers = (f"{name} ({_answer(code, text)})" for name, (code, text) in error.recipients.items())
        reason = f"every recipient was refused: {', '.join(answers)}"
        is_about_mail = all(code != _CLOSING for code, _ in error.recipients.values())
        raise _failure(server, reason, refused=is_about_mail) from None
    except (OSError, ValueError) as error:  # smtplib's exceptions are OSErrors
        about = isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPDataError)
        is_about_mail = about and getattr(error, "smtp_code", _CLOSING) != _CLOSING
        advice = _IN_CLEAR if "STARTTLS" in str(error) else ""
        raise _failure(server, _reason(error, server.timeout), refused=is_about_mail, advice=advice) from error
    finally:
        if client is not None:  # the result is known, so errors from here on do not count
            with contextlib.suppress(OSError, ValueError):
                if client.sock is not None:
                    client.sock.settimeout(_GOODBYE_SECONDS)
                client.quit()
            client.close()


def _stays_here(client: smtplib.SMTP) -> bool:
    """True if the server is on this host, so that no other host can read the conversation."""
    host = client.sock.getpeername()[0].removeprefix("::ffff:") if client.sock else ""
    return bool(host) and ip_address(host.partition("%")[0]).is_loopback


def _log_in(client: smtplib.SMTP, server: SmtpServer) -> None:
    advice = "Check the settings smtp_user and smtp_password."
    try:
        client.login(server.user, server.password)
    except smtplib.SMTPAuthenticationError as error:
        reason = f"login as {one_line(server.user)} was refused: {_reason(error, server.timeout)}"
        raise _failure(server, reason, advice=advice) from None
    except UnicodeError:
        # Neither the message nor the cause of this error may appear: both quote the password.
        reason = "the user or the password has characters that a login cannot carry"
        raise _failure(server, reason, advice=advice) from None


def _failure(server: SmtpServer, reason: str, *, advice: str = "", refused: bool = False) -> MailError:
    if server.password:  # the server may quote the password in its answer
        reason = reason.replace(server.password, "***")
    message = f"the mail server {server.address} did not accept the mail: {reason}"
    return MailError(message, advice or _SERVER_ADVICE, refused=refused)


def _reason(error: Exception, timeout: float) -> str:
    # smtplib turns a timeout into "connection unexpectedly closed"; the context still has the timeout.
    if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {one_line(error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {one_line(str(error.reason or error))}"
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, UnicodeError):
        return "the host name is not valid"
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror)
    return one_line(str(error)) or type(error).__name__


def _answer(code: int, text: bytes | str) -> str:
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return one_line(f"{code} {decoded}")


# The sendmail program, which every mail server for Linux has (sendmail(8))

_PLACES = ("/usr/sbin/sendmail", "/usr/lib/sendmail")  # not on the PATH of cron
_POLICY = SMTP.clone(refold_source="none", linesep="\n")


def find_sendmail(setting: str | None, *, path: str | None, project: Path) -> Path | None:
    """Find sendmail by the setting; without one, on PATH and in the usual places. None if it is not found.

    The setting is a path, relative to the project, or a name on PATH.
    """
    if setting is not None and "/" in setting:
        names = [str(project / Path(setting).expanduser())]
    else:
        names = [setting or "sendmail", *(() if setting else _PLACES)]
    found = (shutil.which(name, path=path) for name in names)
    return next((Path(os.path.abspath(program)) for program in found if program), None)


class Sendmail(Frozen):
    """The program, and its time limit for a mail, in seconds."""

    runner: Runner
    program: Path
    timeout: float

    @property
    def address(self) -> str:
        """The program for people."""
        return str(self.program)

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Hand a mail to sendmail for all recipients; none is refused here. Raises MailError.

        The program may leave a process that delivers the mail.
        """
        words: list[str | Path] = [self.program, "-i", "-f", sender, "--", *dict.fromkeys(recipients)]
        text = message.as_bytes(policy=_POLICY)
        try:
            self.runner.run(words, cwd=Path("/"), timeout=self.timeout, may_leave_service=True, input=text)
        except ToolError as error:
            reason = f"{self.program} did not accept the mail: {error.reason}"
            advice = "Check the mail server of this host, or set `smtp_host` or `sendmail`."
            raise MailError(reason, advice) from error
        return ()
