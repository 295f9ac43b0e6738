"""The delivery of mails: how they are sent, if they arrive, and if they have recipients."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import Finding, MailError, PreflightError, how_to_set
from releaser.reporting import notices
from releaser.site.addresses import MailSettings
from releaser.site.conventions import choose_environment
from releaser.site.settings import this_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.answers import TestMail
    from releaser.site.site import Site

_SET_SERVER = "Run `releaser setup --smtp-host HOST`"
_TRY = "`releaser test-mail` tests if a mail arrives."


def sender_of(settings: MailSettings) -> str:
    """Return the sender of mails."""
    return settings.mail_from or f"releaser@{this_host()}"


def explain_recipients(settings: MailSettings, sources: Mapping[str, str], root: Path, *, own: bool) -> tuple[str, ...]:
    """Return the lines below a mail: why its readers get it, and how to change that; empty without recipients.

    `sources` names the file and key of each setting, `own` is for a mail about releaser itself.
    """
    first, second = ("updater_admins", "admins") if own else ("admins", "updater_admins")
    name = first if getattr(settings, first) else second
    if not getattr(settings, name):
        return ()
    file, _, key = sources.get(name, name).rpartition(": ")
    place = f"`{key}` in {'the environment' if file == 'environment' else file}" if file else f"the setting `{key}`"
    option = "--admin ADDRESS" if name == "admins" else "--set updater_admins=ADDRESS"
    return (
        f"You get this mail because {place} names you. To change the recipients, edit that setting, or run"
        f" `releaser setup {option}` in {root}.",
        "You get a mail if a run changed something or failed. To get one each week even without changes, run"
        " `releaser setup --set heartbeat=7d` there.",
    )


def sendmail_findings(site: Site) -> Iterator[Finding]:
    """Yield a finding if the program `sendmail` is missing."""
    settings, root = MailSettings.of(site), site.project.root
    if settings.smtp_host or settings.sendmail is None or not settings.sends:
        return
    if settings.transport(root, site.runner) is None:
        place = os.path.normpath(root / settings.sendmail) if "/" in settings.sendmail else settings.sendmail
        if found := shutil.which(settings.sendmail, path=site.runner.environ.get("PATH")):
            message = (
                f"sendmail: {place} is only in a venv ({found}), from which releaser starts no program by its name"
            )
            yield Finding(
                "sendmail-in-venv",
                message,
                f'If you trust that program, set `sendmail = "{found}"`; else install another.',
            )
            return
        yield Finding(
            "sendmail-missing",
            f"sendmail: there is no program {place}",
            "Correct `sendmail`, or install the program.",
        )


def _set_recipient(site: Site) -> str:
    env_file = site.project.outer / ".env"
    return f"Set `ADMINS_JSON=ada@example.org` in {env_file}, or run `releaser setup --admin ada@example.org`."


def warnings(site: Site) -> Iterator[Finding]:
    """Yield a finding if mails have no recipient or cannot be sent, which a site may choose."""
    settings = MailSettings.of(site)
    if not settings.recipients:
        message = "no recipient is set, so no one gets a mail if an update fails"
        yield Finding("no-recipient", message, f"{_set_recipient(site)} {_TRY}")
    elif settings.sends and settings.transport(site.project.root, site.runner) is None:
        message = "mails cannot be sent: smtp_host is not set, and this host has no sendmail"
        stays = f"Mails stay in {site.project.outbox}. If you read them there, {how_to_set('sendmail', 'none')}."
        yield Finding("no-mail-server", message, f"{_SET_SERVER}, or install a mail server. {_TRY} {stays}")


def admin_findings(site: Site) -> Iterator[Finding]:
    """Yield a finding if a project that is not local has no recipient, unless another problem is the cause."""
    if MailSettings.of(site).admins or choose_environment(site.settings, site.pyproject) == "local":
        return
    env_file = site.project.outer / ".env"
    keys = ("ADMINS_JSON", "RELEASER_ADMINS", "tool.releaser.admins")
    if not site.mentions(*keys, f"{env_file} cannot", f"{env_file}, line"):
        message = f"no recipient is set for mails about this project ({env_file}: ADMINS_JSON)"
        yield Finding("no-recipient", message, _set_recipient(site))


def send_test_mail(site: Site) -> TestMail:
    """Send a test mail to all recipients of mails about the site or about releaser.

    Raises PreflightError without a recipient, or without a server or program that takes mails.
    """
    from releaser.answers import TestMail

    settings = MailSettings.of(site)
    carrier = settings.transport(site.project.root, site.runner)
    people = {one.address: one for one in (*settings.admins, *settings.updater_admins)}
    if (carrier is None or not people) and (others := notices.try_all(site)):
        return TestMail(sent=False, to=(), by="", notices=others)
    if carrier is None or not people:
        problems = (*sendmail_findings(site), *warnings(site))
        switched_off = "no mail was sent: smtp_host is not set, and sendmail is none"
        raise PreflightError(
            *(problems or (Finding("mail-off", switched_off, f"{_SET_SERVER}, or correct `sendmail`."),))
        )
    from releaser.reporting.mail import compose_plain
    from releaser.reporting.outbox import QueuedMail
    from releaser.reporting.subject import make_subject

    message = compose_plain(
        make_subject("✓", site.project.name, "test mail", host=this_host()),
        f"Mails about {site.project.root} on {this_host()} arrive.\n\n"
        f"`releaser test-mail` sent this by {carrier.address}.\n",
        sender=sender_of(settings),
        recipients=tuple(people.values()),
        at=datetime.now(UTC),
    )
    try:
        refused = carrier.send(message, sender=QueuedMail.of(message).sender, recipients=tuple(people))
    except MailError as error:
        problem = site.redactor.clean(error.message)
    else:
        problem = f"{carrier.address} refused {', '.join(refused)}" if refused else ""
    return TestMail(
        sent=not problem, to=tuple(people), by=carrier.address, problem=problem, notices=notices.try_all(site)
    )
