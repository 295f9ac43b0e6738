"""Sends mail; what no server takes stays in a Maildir, and goes out with the next run that can.

Imported where there is mail: the libraries take 30 ms.
"""

from __future__ import annotations

import contextlib
import mailbox
import os
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from email import message_from_string
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses, make_msgid
from pathlib import Path

from releaser.errors import Problem
from releaser.report.letter import Letter, render_html, render_text
from releaser.report.outbox import list_waiting
from releaser.site.settings import MailSettings
from releaser.system import process
from releaser.system.run import now
from releaser.system.text import LONGEST_LINE, clip, redact

_TIMEOUT, _LIMIT = 20.0, 60.0  # seconds, for each answer of the server, and for all of them
_NO_END = "its answers came to no end"
#: The setting that is likely to be wrong, by error; else it is the server.
_SETTINGS: tuple[tuple[type[Exception], str], ...] = (
    (smtplib.SMTPRecipientsRefused, "ADMINS_JSON"),
    (smtplib.SMTPSenderRefused, "mail_from"),
    (smtplib.SMTPAuthenticationError, "smtp_password"),
    (UnicodeEncodeError, "smtp_password"),
    (smtplib.SMTPNotSupportedError, "smtp_security"),
    (ssl.SSLError, "smtp_security"),
)


def write_mail(letter: Letter, run: str, settings: MailSettings) -> EmailMessage:
    """Return the mail with a letter: its text, and the same as HTML."""
    host = socket.gethostname()
    message = EmailMessage(policy=SMTP)
    message["Subject"] = letter.subject
    message["From"] = settings.mail_from or f"releaser@{host}"
    message["To"] = ", ".join(settings.recipients)
    message["Date"] = format_datetime(now())
    message["Message-ID"] = make_msgid(run, domain=host)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer of a vacation, please
    message.set_content(render_text(letter), cte="quoted-printable")
    message.add_alternative(render_html(letter), subtype="html", cte="quoted-printable")
    return message


def read_mail(text: str) -> EmailMessage:
    """Return the mail of a text."""
    return message_from_string(text, policy=SMTP)


def send_waiting(outbox: Path, settings: MailSettings, recipients: str = "ADMINS_JSON") -> Problem | None:
    """Send the mails in an outbox; return why a server did not take all of them. It has a minute for all.

    `recipients` is the setting with their addresses.
    """
    reason = process.call_in_child(lambda: _send_waiting(outbox, settings), _LIMIT)
    reason = explain_refusal(settings, TimeoutError(_NO_END)) if reason is None else reason
    advice = f"It waits in {outbox}; the next run sends it."
    if not list_waiting(outbox):
        advice = f"The others have it. Correct `{recipients}`."
    return Problem("mail", reason, advice) if reason else None


def _send_waiting(outbox: Path, settings: MailSettings) -> str:
    if not (names := list_waiting(outbox)):
        return ""
    box = mailbox.Maildir(outbox)
    keys = sorted({name.partition(":")[0] for name in names} & {*box.keys()})
    reason = ""
    try:
        with open_server(settings) as server:
            for key in keys:
                try:
                    recipients = settings.recipients  # they may have been corrected since
                    refused = server.send_message(box[key], settings.mail_from or None, recipients)
                    box.remove(key)
                    reason = explain_refusal(settings, smtplib.SMTPRecipientsRefused(refused)) if refused else reason
                except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:  # of this mail alone
                    reason = explain_refusal(settings, error)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return explain_refusal(settings, error)
    return reason


def send_at_once(settings: MailSettings, message: EmailMessage) -> Problem | None:
    """Send a mail for which no outbox exists; return why a recipient does not get it, and the setting to correct."""
    problems = process.call_in_child(lambda: _send_at_once(settings, message), _LIMIT)
    if problems is None:
        problems = (Problem("mail", explain_refusal(settings, TimeoutError(_NO_END)), "Correct `smtp_host`."),)
    return next(iter(problems), None)


def _send_at_once(settings: MailSettings, message: EmailMessage) -> tuple[Problem, ...]:
    try:
        with open_server(settings) as server:
            if refused := server.send_message(message):
                raise smtplib.SMTPRecipientsRefused(refused)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        name = next((name for kind, name in _SETTINGS if isinstance(error, kind)), "smtp_host")
        return (Problem("mail", explain_refusal(settings, error), f"Correct `{name}`."),)
    return ()


@contextlib.contextmanager
def open_server(settings: MailSettings) -> Iterator[smtplib.SMTP]:
    """Yield a connection to the mail server. Raises OSError and SMTPException."""
    host, _, port = settings.smtp_host.partition(":")
    if settings.smtp_security == "tls":
        context = ssl.create_default_context()
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, int(port or 465), timeout=_TIMEOUT, context=context)
    else:
        server = smtplib.SMTP(host, int(port or 25), timeout=_TIMEOUT)
    with server:
        server.ehlo()
        offers = server.has_extn("starttls")
        if settings.smtp_security == "starttls":
            server.starttls(context=ssl.create_default_context())
        elif settings.smtp_security == "auto" and offers:
            server.starttls()  # no certificate is asked for: better than none
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password)
        yield server


def explain_refusal(settings: MailSettings, error: Exception) -> str:
    """Return why a server took no mail, in a sentence without secrets."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        refusals = error.recipients.items()
        answers = (f"{each}: {code} {clip(redact(os.fsdecode(text)), LONGEST_LINE)}" for each, (code, text) in refusals)
        return f"The mail server {settings.smtp_host} took no mail for {', '.join(answers)}."
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    if isinstance(error, smtplib.SMTPResponseException):
        reason = f"{error.smtp_code} {os.fsdecode(error.smtp_error)}".rstrip(".")
    return f"The mail server {settings.smtp_host} took no mail: {clip(redact(reason), LONGEST_LINE)}."


def list_addresses(recipients: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of recipients, without their names."""
    return tuple(address for _, address in getaddresses(recipients))
