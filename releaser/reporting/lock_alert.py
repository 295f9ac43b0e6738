"""The mail about a project lock that is held for long: one for each holder."""

from __future__ import annotations

import contextlib
import os
from datetime import datetime
from typing import TYPE_CHECKING

from releaser.errors import MailError
from releaser.releases import leases
from releaser.reporting.mail_setup import sender_of
from releaser.site import run_lock
from releaser.site.addresses import MailSettings
from releaser.site.settings import this_host
from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile
from releaser.system.words import duration

if TYPE_CHECKING:
    from email.message import EmailMessage

    from releaser.site.site import Site


class _Seen(Frozen):
    """The last known holder of the lock, in a separate file: the holder may be writing the others."""

    holder: str = ""
    #: When a run first found this holder.
    since: datetime | None = None
    told: bool = False


SEEN = StateFile(name="lock-alert.json")


def report_long_holder(site: Site, now: datetime) -> str:
    """Send a mail if the lock is held for longer than `lock_alert`; return why that failed, or an empty text.

    The caller has found the lock held, so only the mail and the record of it are written.
    """
    limit = MailSettings.of(site).lock_alert
    if not limit:
        return ""
    process, note = _holder(site), run_lock.holder(site.state_dir)
    name = f"{process.pid}@{process.began:.2f}" if process else note.mark if note else "?"
    since = _read_note(note) if note and process and note.pid == process.pid else None
    with contextlib.suppress(OSError):
        before = load_state(site.state_dir / SEEN, _Seen())
        seen = before if before.holder == name else _Seen(holder=name, since=since or now)
        held = (now - (seen.since or now)).total_seconds()
        is_news = not seen.told and held >= limit
        failure = _send(site, str(process or "a process that cannot be seen from here"), held, now) if is_news else ""
        seen = _Seen(holder=name, since=seen.since, told=seen.told or (is_news and not failure))
        if seen != before:
            write_state(site.state_dir / SEEN, seen)
        return failure
    return ""


def _holder(site: Site) -> leases.Process | None:
    """Return the process that holds the lock, by the records of the kernel; None if unknown."""
    with contextlib.suppress(OSError):
        status = os.stat(site.state_dir / run_lock.LOCK)
        place = os.major(status.st_dev), os.minor(status.st_dev), status.st_ino
        found = [pid for where, pids in leases.read_file_locks().items() if where == place for pid in pids]
        return next(filter(None, map(leases.look, found)), None)
    return None


def _read_note(note: run_lock.Holder) -> datetime | None:
    with contextlib.suppress(ValueError, TypeError):
        found = datetime.fromisoformat(note.since)
        return found if found.tzinfo else None
    return None


def _send(site: Site, who: str, held: float, now: datetime) -> str:
    """Send the mail, or keep it in the outbox without a mail server; return why that failed, or an empty text."""
    from releaser.reporting.mail import compose_plain  # both are slow to import
    from releaser.reporting.outbox import Outbox, QueuedMail
    from releaser.reporting.subject import make_subject

    settings, name = MailSettings.of(site), site.project.name
    message: EmailMessage = compose_plain(
        make_subject("!", name, f"the lock has been held for {duration(held)}", host=this_host()),
        site.redactor.clean(
            f"No run can change {site.project.root} on {this_host()}.\nThis process has held the lock of the project"
            f" for {duration(held)}:\n\n    {who}\n\n"
            "If it is a run of releaser that hangs, end the process with `kill`. The next run recovers.\n"
            f"If it is another program, end it, and check who may open {site.state_dir / run_lock.LOCK}.\n\n"
            "You get this mail because of `lock_alert`. To change the time, run, in the project,\n"
            "`releaser setup --set lock_alert=4h`.\n"
        ),
        sender=sender_of(settings),
        recipients=settings.recipients,
        at=now,
    )
    carrier = settings.transport(site.project.root, site.runner)
    try:
        if carrier is None or not settings.recipients:
            # A run that can send sends it.
            Outbox(path=site.project.outbox).put(message, queued=bool(settings.recipients))
        else:
            mail = QueuedMail.of(message)
            carrier.send(mail.message, sender=mail.sender, recipients=mail.recipients)
    except (MailError, OSError) as error:
        return f"the mail about the lock could not be sent: {error}"
    return ""
