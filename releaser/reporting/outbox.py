"""The outbox: unsent mails and notices, and mails without a server, kept in a Maildir."""

from __future__ import annotations

import contextlib
import copy
import errno
import math
import os
import re
import socket
import stat
import time
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from typing import TYPE_CHECKING, Protocol

from releaser.errors import MailError
from releaser.site.addresses import parse_address
from releaser.system.expression import expression
from releaser.system.files import read_file, replace_file, sync_directory
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_QUEUE = "X-Releaser-Queue"
_QUEUED_AT = "X-Releaser-Queued-At"
_SENDER = "X-Releaser-Sender"
_RECIPIENTS = "X-Releaser-Recipients"
_OURS = (_QUEUE, _QUEUED_AT, _SENDER, _RECIPIENTS)
FOR_SMTP = "smtp"
_NOTICES = expression(r"[a-z][a-z0-9-]*")  # the queues of receivers
_POLICY = SMTP.clone(refold_source="none")  # a queued mail keeps its headers as they are


class Carrier(Protocol):
    """Takes mails: a server, or a program."""

    @property
    def address(self) -> str:
        """Its name, for people."""

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Send a mail; return the refused recipients. Raises MailError if no recipient gets it."""


class QueuedMail(Frozen):
    """A mail to send, without the headers that mark it as queued."""

    #: The key of its file in the outbox; empty if the outbox could not take it.
    key: str = ""
    message: EmailMessage
    #: Plain addresses for the dialogue with a server.
    sender: str
    recipients: tuple[str, ...]
    #: The time in ns since 1970.
    queued_at: int = 0
    #: Its queue: that of mails, or that of a receiver of notices, which have no sender and no recipients.
    queue: str = FOR_SMTP

    @classmethod
    def of(cls, message: EmailMessage) -> QueuedMail:
        """Read the addresses from From and To; without a To there are no recipients."""
        sender, *_ = (*_addresses(message, "From"), "")
        return cls(message=_without_marks(message), sender=sender, recipients=_addresses(message, "To"))


class FlushResult(Frozen):
    """The number of sent mails, and the first problem."""

    sent: int
    problem: str = ""
    #: True if the mail that the outbox could not keep was sent.
    sent_unkept: bool = False


class Outbox(Frozen):
    """A Maildir, whose directories are made with the first mail.

    A mail that waits for a server carries `X-Releaser-Queue: smtp` and its envelope in headers. All others are for
    people who read the Maildir.
    """

    path: Path

    def put(self, message: EmailMessage, *, queued: bool, queue: str = FOR_SMTP) -> Path:
        """Keep a mail or a notice durably; return its file, which is named by the Message-ID.

        Raises OSError, and ValueError for a mail to queue without a sender or recipients.
        """
        mail = QueuedMail.of(message)
        kept = mail.message
        if queued:
            if queue == FOR_SMTP and not (mail.sender and mail.recipients):
                text = "a mail without a sender or without recipients cannot be queued"
                raise ValueError(text)
            kept[_QUEUE] = queue
            kept[_QUEUED_AT] = str(time.time_ns())
            kept[_SENDER] = mail.sender
            # In addition to To, as not every version of the email package can read a long To that it wrote.
            kept[_RECIPIENTS] = ", ".join(mail.recipients)
        data = kept.as_bytes(policy=kept.policy.clone(linesep="\n"))
        self._make()
        # Named by the Message-ID, so that the same mail is never kept twice.
        name = _plain(str(message["Message-ID"] or "")).strip(".")
        file = self.path / "new" / (name or f"{time.time_ns()}.{os.getpid()}.{socket.gethostname()}")
        replace_file(file, data, staging=self.path / "tmp", private=True)
        return file

    def has_reported(self, run_id: str) -> bool:
        """True if the outbox has the mail about a run, sent or not."""
        start = _plain(run_id) + "."
        return any(file.name.startswith(start) for file in self._files())

    def list_queued(self) -> tuple[QueuedMail, ...]:
        """Return the waiting mails and notices, oldest first; other files are ignored.

        Raises OSError if the Maildir itself cannot be listed.
        """
        found = (_read(file) for file in self._files())
        return tuple(sorted((mail for mail in found if mail), key=lambda mail: (mail.queued_at, mail.key)))

    def remove(self, key: str) -> None:
        """Delete a mail durably, if it exists. Raises OSError."""
        for file in list(self._files()) if key else ():
            if _key(file) == key:
                file.unlink(missing_ok=True)
                sync_directory(file.parent)

    def _files(self) -> Iterator[Path]:
        for name in () if self.path.is_symlink() else ("new", "cur"):  # files behind a symlink are not releaser's
            try:
                files = list((self.path / name).iterdir())
            except FileNotFoundError:
                continue
            yield from files

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "a symlink", str(self.path))
        for directory in (self.path, *(self.path / name for name in ("tmp", "new", "cur"))):
            if not directory.is_dir():
                directory.mkdir(exist_ok=True)
                # As writable for the group as the parent directory, whatever the umask.
                directory.chmod(0o2750 | directory.parent.stat().st_mode & stat.S_IWGRP)
                sync_directory(directory.parent)


def flush(  # noqa: PLR0913 - the mails, and their limits
    outbox: Outbox,
    carrier: Carrier,
    *,
    queue: str = FOR_SMTP,
    unkept: QueuedMail | None = None,
    limit: int = 500,
    seconds: float = 120.0,
    keeps: float = math.inf,
) -> FlushResult:
    """Send the mails of a queue, oldest first, until the server fails; first `unkept`, which the outbox could not take.

    A mail that the server itself refuses stays queued and does not hold up those after it. No more than `limit` mails
    are tried, and none is begun after `seconds`. Mails that wait for more than `keeps` seconds are deleted. Never
    raises for a failing server or disk.
    """
    problems: list[str] = []
    try:
        waiting = tuple(one for one in outbox.list_queued() if one.queue == queue)
    except OSError as error:
        waiting = ()
        if unkept is None:  # otherwise that is known already
            problems.append(f"the outbox {outbox.path} cannot be read: {error}")
    ends_at = time.monotonic() + seconds
    sent = []
    for mail in (*([unkept] if unkept else ()), *waiting[:limit]):
        if time.monotonic() >= ends_at:
            break
        try:
            refused = carrier.send(mail.message, sender=mail.sender, recipients=mail.recipients)
        except MailError as error:
            problems.append(error.message)
            if mail.key and time.time_ns() - mail.queued_at > keeps * 1e9:
                with contextlib.suppress(OSError):
                    outbox.remove(mail.key)
            if error.refused:
                continue
            break
        sent.append(mail)
        if refused:
            problems.append(f"{carrier.address} refused {', '.join(refused)}")
        try:
            outbox.remove(mail.key)
        except OSError as error:
            what = f"a mail was sent, but cannot be removed from {outbox.path}, and will be sent again: {error}"
            problems.append(what)
            break
    return FlushResult(sent=len(sent), problem=problems[0] if problems else "", sent_unkept=unkept in sent)


def _addresses(message: EmailMessage, name: str) -> tuple[str, ...]:
    headers = message.get_all(name, [])
    return tuple(address.addr_spec for header in headers for address in header.addresses)


def _without_marks(message: EmailMessage) -> EmailMessage:
    """Copy a mail without the headers of the queue."""
    plain = copy.copy(message)  # shallow: `del` below gives the copy its own list of headers
    for name in _OURS:
        del plain[name]
    return plain


def _plain(text: str) -> str:
    """Replace all characters that have a meaning in the file names of a Maildir."""
    return re.sub(r"[^A-Za-z0-9-]+", ".", text)


def _key(file: Path) -> str:
    return file.name.partition(":")[0]


def _read(file: Path) -> QueuedMail | None:
    """Read a queued mail; None for any other file."""
    try:
        if not file.is_file():
            return None  # opening a named pipe would wait for ever
        message = BytesParser(_class=EmailMessage, policy=_POLICY).parsebytes(read_file(file))
        queue, is_mail = str(message.get(_QUEUE)), message.get(_QUEUE) == FOR_SMTP
        is_notice = message.get_content_type() == "application/json" and _NOTICES.fullmatch(queue)
        if not is_mail and not is_notice:
            return None
        recipients = str(message[_RECIPIENTS]).split(",") if is_mail else ()
        return QueuedMail(
            key=_key(file),
            message=_without_marks(message),
            sender=parse_address(str(message[_SENDER])).address if is_mail else "",
            recipients=tuple(parse_address(part).address for part in recipients),
            queued_at=int(str(message.get(_QUEUED_AT, "0"))),
            queue=queue,
        )
    except Exception:  # noqa: BLE001 - garbage in headers makes the email package raise nearly anything
        return None
