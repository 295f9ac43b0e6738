"""Sending one mail, to see whether mails of this site get through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import MailError, PreflightError, Unfit
from releaser.notify import sender_of
from releaser.project.settings import this_host
from releaser.project.telling import carrier_of, sendmail_findings, warnings

if TYPE_CHECKING:
    from releaser.project.site import Site


@dataclass(frozen=True, kw_only=True)
class Sent:
    """Where the mail went: to whom, and `by` which server or program; `problem` is empty if it was sent."""

    sent: bool
    to: tuple[str, ...]
    by: str
    problem: str = ""


def send_test_mail(site: Site) -> Sent:
    """Send a mail to everybody who gets mails about the site, or about releaser.

    Raises PreflightError where nobody is set, or nothing takes mails.
    """
    settings = site.settings
    carrier = carrier_of(settings, site.project.root, site.runner)
    people = {one.address: one for one in (*settings.admins, *settings.updater_admins)}
    if carrier is None or not people:
        problems = (*sendmail_findings(site), *warnings(site))
        switched_off = "no mail was sent: smtp_host is not set, and sendmail is none"
        raise PreflightError(problems or (Unfit(switched_off, advice="Set `smtp_host`, or correct `sendmail`."),))
    from releaser.report.mail import compose_plain
    from releaser.report.outbox import Envelope

    message = compose_plain(
        f"releaser: test mail about {site.project.name} on {this_host()}",
        f"Mails about {site.project.root} on {this_host()} get through.\n\n"
        f"`releaser test-mail` sent this by {carrier.address}.\n",
        sender=sender_of(settings),
        recipients=tuple(people.values()),
        at=datetime.now(UTC),
    )
    try:
        refused = carrier.send(message, sender=Envelope.of(message).sender, recipients=tuple(people))
    except MailError as error:
        problem = site.redactor.clean(error.message)
    else:
        problem = f"{carrier.address} refused {', '.join(refused)}" if refused else ""
    return Sent(sent=not problem, to=tuple(people), by=carrier.address, problem=problem)
