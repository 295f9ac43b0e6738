"""Mail that could not be sent, or has no server to go to: kept in a Maildir until it can."""

from __future__ import annotations

import copy
import os
import re
import socket
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from typing import TYPE_CHECKING, Protocol

from releaser.address import parse_address
from releaser.durable import replace_file, sync_directory
from releaser.errors import MailError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


_QUEUE = "X-Releaser-Queue"
_QUEUED_AT = "X-Releaser-Queued-At"
_SENDER = "X-Releaser-Sender"
_RECIPIENTS = "X-Releaser-Recipients"
_OURS = (_QUEUE, _QUEUED_AT, _SENDER, _RECIPIENTS)
_FOR_SMTP = "smtp"
_POLICY = SMTP.clone(refold_source="none")  # a queued mail is sent with its headers as they were written


class Carrier(Protocol):
    """What takes mails: a server, or a program."""

    @property
    def address(self) -> str:
        """It, for people."""

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Take a mail; return the recipients that were refused. Raises MailError if nobody gets it."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """Plain addresses for the dialogue with a server."""

    sender: str
    recipients: tuple[str, ...]

    @classmethod
    def of(cls, message: EmailMessage) -> Envelope:
        """Read the envelope from From and To; without a To there are no recipients."""
        senders, recipients = _addresses(message, "From"), _addresses(message, "To")
        return cls(sender=senders[0] if senders else "", recipients=recipients)


@dataclass(frozen=True, kw_only=True)
class QueuedMail:
    """A mail to be sent, without the headers that mark it as queued; `queued_at` is in ns since 1970."""

    key: str
    message: EmailMessage
    sender: str
    recipients: tuple[str, ...]
    queued_at: int


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of a mail; `path` is its file unless it was sent, `problem` is empty if all is well."""

    sent: bool
    queued: bool
    path: Path | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class FlushResult:
    """How many queued mails were sent, how many are left, and the first thing that went wrong."""

    sent: int
    left: int
    problem: str = ""


@dataclass(frozen=True)
class Outbox:
    """A Maildir; its directories are made when the first mail comes.

    A mail that waits for a server carries `X-Releaser-Queue: smtp` and its envelope in headers. All others
    are for people who read the Maildir.
    """

    path: Path

    def put(self, message: EmailMessage, *, queued: bool) -> Path:
        """Keep a mail so that it survives a power cut; give the file, whose name comes from the Message-ID.

        Raises OSError, and ValueError for a mail to be queued that lacks a sender or recipients.
        """
        kept = _unmarked(message)
        if queued:
            _mark(kept, Envelope.of(message))
        data = kept.as_bytes(policy=kept.policy.clone(linesep="\n"))
        self._make()
        file = self.path / "new" / _file_name(message)
        replace_file(file, data, staging=self.path / "tmp")
        return file

    def tells_of(self, run_id: str) -> bool:
        """Whether the mail about a run is here, sent or not."""
        start = _plain(run_id) + "."
        return any(file.name.startswith(start) for file in self._files())

    def queued(self) -> tuple[QueuedMail, ...]:
        """Give the mails that wait for a server, oldest first; what is not such a mail is passed over.

        Raises OSError if the Maildir itself cannot be listed.
        """
        found = (_read(file) for file in self._files())
        return tuple(sorted((mail for mail in found if mail), key=lambda mail: (mail.queued_at, mail.key)))

    def remove(self, key: str) -> None:
        """Delete a mail for good; one that is gone already is no error. Raises OSError."""
        for file in list(self._files()):
            if _key(file) == key:
                file.unlink(missing_ok=True)
                sync_directory(file.parent)

    def _files(self) -> Iterator[Path]:
        for name in ("new", "cur"):
            try:
                files = list((self.path / name).iterdir())
            except FileNotFoundError:
                continue
            yield from files

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for directory in (self.path, *(self.path / name for name in ("tmp", "new", "cur"))):
            if not directory.is_dir():
                directory.mkdir(exist_ok=True)
                directory.chmod(0o2770)  # for the administrators' group, whatever the umask is
                sync_directory(directory.parent)


def deliver(message: EmailMessage, *, server: Carrier | None, outbox: Outbox) -> Delivery:
    """Send a mail, or keep it: queued when the server fails, as local mail without a server or a recipient.

    The mail is queued before the server is tried, so that not even a kill in the middle of it loses the mail.
    Never raises for a server or a disk that fails; `problem` says what happened.
    """
    envelope = Envelope.of(message)
    if server is None or not envelope.recipients:
        path, trouble = _store(message, outbox, queued=False)
        return Delivery(sent=False, queued=False, path=path, problem=trouble)
    path, trouble = _store(message, outbox, queued=True)
    try:
        refused = server.send(message, sender=envelope.sender, recipients=envelope.recipients)
    except MailError as error:
        return Delivery(sent=False, queued=path is not None, path=path, problem=_joined(error.message, trouble))
    left_behind = _drop(outbox, path.name) if path else ""
    return Delivery(sent=True, queued=False, problem=_joined(_refusal(server, refused), trouble, left_behind))


def flush(outbox: Outbox, server: Carrier, *, limit: int = 50, seconds: float = 120.0) -> FlushResult:
    """Send what is queued, oldest first, until the server fails.

    A mail that the server itself refuses stays queued and does not hold up those behind it. No more than
    `limit` mails are tried, and none is begun after `seconds`. Never raises for a failing server or disk.
    """
    try:
        waiting = outbox.queued()
    except OSError as error:
        return FlushResult(sent=0, left=0, problem=f"the outbox {outbox.path} cannot be read: {error}")
    ends_at = time.monotonic() + seconds
    sent, problems = 0, [""]
    for mail in waiting[:limit]:
        if time.monotonic() >= ends_at:
            break
        try:
            refused = server.send(mail.message, sender=mail.sender, recipients=mail.recipients)
        except MailError as error:
            problems.append(error.message)
            if error.refused:
                continue
            break
        sent += 1
        problems += [_refusal(server, refused), left_behind := _drop(outbox, mail.key)]
        if left_behind:
            break
    return FlushResult(sent=sent, left=len(waiting) - sent, problem=next(filter(None, problems), ""))


def _store(message: EmailMessage, outbox: Outbox, *, queued: bool) -> tuple[Path | None, str]:
    try:
        return outbox.put(message, queued=queued), ""
    except OSError as error:
        return None, f"the mail cannot be kept in the outbox {outbox.path}: {error}"


def _drop(outbox: Outbox, key: str) -> str:
    try:
        outbox.remove(key)
    except OSError as error:
        return f"a mail was sent, but cannot be taken out of {outbox.path}, and will be sent again: {error}"
    return ""


def _refusal(server: Carrier, refused: tuple[str, ...]) -> str:
    return f"{server.address} refused {', '.join(refused)}" if refused else ""


def _joined(*problems: str) -> str:
    return "; ".join(filter(None, problems))


def _addresses(message: EmailMessage, name: str) -> tuple[str, ...]:
    headers = message.get_all(name, [])
    return tuple(address.addr_spec for header in headers for address in header.addresses)


def _mark(message: EmailMessage, envelope: Envelope) -> None:
    if not envelope.sender or not envelope.recipients:
        text = "a mail without a sender or without recipients cannot be queued"
        raise ValueError(text)
    message[_QUEUE] = _FOR_SMTP
    message[_QUEUED_AT] = str(time.time_ns())
    message[_SENDER] = envelope.sender
    # Beside To, since not every version of the email package reads back a long To as it wrote it.
    message[_RECIPIENTS] = ", ".join(envelope.recipients)


def _unmarked(message: EmailMessage) -> EmailMessage:
    """Copy a mail without the headers of the queue."""
    plain = copy.copy(message)  # shallow: `del` below gives the copy its own list of headers
    for name in _OURS:
        del plain[name]
    return plain


def _file_name(message: EmailMessage) -> str:
    """Name a mail's file by its Message-ID, so that the same mail is never kept twice; else by the time."""
    name = _plain(str(message["Message-ID"] or "")).strip(".")
    return name or f"{time.time_ns()}.{os.getpid()}.{socket.gethostname()}"


def _plain(text: str) -> str:
    """Leave nothing in a text that means something in the name of a file of a Maildir."""
    return re.sub(r"[^A-Za-z0-9-]+", ".", text)


def _key(file: Path) -> str:
    return file.name.partition(":")[0]


def _read(file: Path) -> QueuedMail | None:
    """Read a queued mail; None for everything else, whatever it may be."""
    try:
        if not file.is_file():
            return None  # opening a named pipe would wait for ever
        return _parse(_key(file), file.read_bytes())
    except Exception:  # noqa: BLE001 - garbage in headers makes the email package raise nearly anything
        return None


def _parse(key: str, data: bytes) -> QueuedMail | None:
    message = BytesParser(_class=EmailMessage, policy=_POLICY).parsebytes(data)
    if message.get(_QUEUE) != _FOR_SMTP:
        return None
    recipients = tuple(parse_address(part).address for part in str(message[_RECIPIENTS]).split(","))
    return QueuedMail(
        key=key,
        message=_unmarked(message),
        sender=parse_address(str(message[_SENDER])).address,
        recipients=recipients,
        queued_at=int(str(message.get(_QUEUED_AT, "0"))),
    )
