"""Whom mails go to and which way, and that nobody would be told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.site.conventions import choose_environment
from releaser.tools.sendmail import NO_SENDMAIL, Sendmail, find_sendmail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.site.settings import Settings
    from releaser.site.site import Site
    from releaser.system.process import Runner
    from releaser.tools.smtp import SmtpServer

_TRY = "`releaser test-mail` shows whether a mail gets through."


def mail_transport(settings: Settings, root: Path, runner: Runner) -> SmtpServer | Sendmail | None:
    """Return what takes mails: the server that is set, else sendmail; None where there is neither."""
    if settings.smtp_host:
        from releaser.tools.smtp import SmtpServer  # which takes long to import, and most runs mail nothing

        return SmtpServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            user=settings.smtp_user or "",
            password=settings.smtp_password or "",
            security=settings.smtp_security,
            timeout=settings.smtp_timeout,
            deadline=4 * settings.smtp_timeout,
        )
    program = find_sendmail(settings.sendmail, path=runner.environ.get("PATH"), project=root)
    return Sendmail(runner=runner, program=program, timeout=4 * settings.smtp_timeout) if program else None


def sendmail_findings(site: Site) -> Iterator[Finding]:
    """Find that the sendmail that is set is not there."""
    settings, root = site.settings, site.project.root
    if settings.smtp_host or settings.sendmail in (None, NO_SENDMAIL):
        return
    if find_sendmail(settings.sendmail, path=site.runner.environ.get("PATH"), project=root) is None:
        place = os.path.normpath(root / settings.sendmail) if "/" in settings.sendmail else settings.sendmail
        yield Finding(f"sendmail: there is no program {place}", advice="Correct `sendmail`, or install the program.")


def warnings(site: Site) -> Iterator[Finding]:
    """Find the reasons why nobody would get a mail, where a site may be like that."""
    settings = site.settings
    if not settings.admins and not settings.updater_admins:
        message = "no recipient is set: nobody is told if an update fails"
        example = f"""ADMINS_JSON='[["Ada", "ada@example.org"]]' in {site.project.outer / ".env"}"""
        yield Finding(message, advice=f"Set them, such as {example}. {_TRY}")
    elif settings.sendmail != NO_SENDMAIL and mail_transport(settings, site.project.root, site.runner) is None:
        message = "mails cannot be sent: smtp_host is not set, and this host has no sendmail"
        stays = f"Mails stay in {site.project.outbox}; if somebody reads them there, set `sendmail` to none."
        yield Finding(message, advice=f"Set `smtp_host`, or install a mail server. {_TRY} {stays}")


def admin_findings(site: Site) -> Iterator[Finding]:
    """Find that nobody is set to be told, of a project that is not local, unless something else is wrong with that."""
    if site.settings.admins or choose_environment(site.settings, site.pyproject) == "local":
        return
    env_file = site.project.outer / ".env"
    keys = ("ADMINS_JSON", "RELEASER_ADMINS", "tool.releaser.admins")
    if not site.mentions(*keys, f"{env_file} cannot", f"{env_file}, line"):
        yield Finding(
            f"no recipient is set for mails about this project ({env_file}: ADMINS_JSON)",
            advice="""Set it, such as ADMINS_JSON='[["Ada", "ada@example.org"]]'.""",
        )
