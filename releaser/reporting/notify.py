"""Who is told of what, and when: the mail about a run, mails that are still due, the history."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.answers import TestMail
from releaser.errors import ExitCode, Finding, Interrupted, MailError, PreflightError
from releaser.releases.journal import LAST_MAIL, LastMail, journal_of, note, recall
from releaser.report import RunReport
from releaser.reporting import history
from releaser.run import cleaned, cleaned_problems
from releaser.site.project import Project
from releaser.site.recipients import mail_transport, sendmail_findings, warnings
from releaser.site.settings import Settings, load, this_host
from releaser.system import signals
from releaser.system.files import UnreadableStateError
from releaser.system.process import Runner
from releaser.system.redaction import Redactor
from releaser.tools.sendmail import Sendmail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from releaser.report import RunLog
    from releaser.reporting.outbox import Carrier, QueuedMail
    from releaser.site.site import Site
    from releaser.site.values import Address

_LOST = "lost"


def finish(
    site: Site, log: RunLog, report: RunReport, *, mails: bool, complete: Callable[[RunReport], RunReport]
) -> RunReport:
    """Mail the report if it is worth a mail, send what is due, write the history; return the report as it is now.

    `complete` adds what else there is to say; an interrupt waits for that, as it does for the mail.

    The mail is put into the outbox before any server is asked, and before the journal goes, so that neither a kill nor
    a dead server loses it. Without `mails` only the one who gave the command is told.
    """
    kept = _Kept()
    try:
        with signals.deferred():
            post = _Post.of_site(site, site.project.outbox)
            report = complete(report)
            if mails and _is_worth_a_mail(site, report):
                report, kept = _keep_mail(post, report, _recipients(report, site.settings))
                note(site.state_dir / LAST_MAIL, LastMail(last=datetime.now(UTC).replace(microsecond=0)))
            if report.mail != _LOST:
                _drop_told(site, log)
        if mails:
            report = _send_mails(post, report, kept)
            if kept.mail is not None and report.mail != _LOST:
                _drop_told(site, log)
    except (KeyboardInterrupt, Interrupted):
        report = _with_problem(report, "interrupted while mails were being sent", _next_run_sends(site.project.outbox))
    try:
        with signals.deferred():
            history.append(site.state_dir, report)
    except OSError as error:
        report = _with_problem(report, f"the history cannot be written: {error}", "Check state_dir.")
    except (KeyboardInterrupt, Interrupted):
        report = _with_problem(report, "interrupted when all was done", "")
    return report


def finish_without_state(site: Site, report: RunReport) -> RunReport:
    """Mail the report of a run that has no state directory that it may use, and so no history either.

    What cannot be sent is kept where state lies by default; but nothing is created for a path that may be a typo.
    """
    post = _Post.of_site(site, Project.at(site.project.root, state_dir=None, venv=site.settings.venv).outbox)
    if post.carrier is None and not site.project.pyproject.exists() and not os.path.isdir(post.outbox.parent):
        return report
    report, kept = _keep_mail(post, report, _recipients(report, site.settings))
    return _send_mails(post, report, kept)


def about_missing_project(
    path: Path,
    environ: Mapping[str, str],
    command: str,
    run_id: str,
    started: datetime,
    error: PreflightError,
    *,
    mails: bool,
) -> RunReport:
    """Report that there is no such project; with `mails`, releaser's own administrators are told, if anybody can be.

    Nothing is created for a path that may be a typo: without a mail server the mail goes into an outbox only where
    releaser already keeps state for such a project.
    """
    with contextlib.suppress(RuntimeError):  # of ~nobody
        path = path.expanduser()
    root = path.absolute()
    loaded = load(table={}, pyproject=root / "pyproject.toml", env_file=root.parent / ".env", environ=environ)
    settings = loaded.settings
    redactor = Redactor([settings.smtp_password] if settings.smtp_password else [])
    report = RunReport(
        command=command,
        project=root.name,
        path=str(root),
        host=this_host(),
        run_id=run_id,
        started_at=started,
        seconds=round((datetime.now(UTC) - started).total_seconds(), 3),
        result="refused",
        exit_code=error.exit_code,
        headline=cleaned(redactor, error.message),
        problems=cleaned_problems(redactor, (*error.findings, *loaded.problems)),
        advice=error.advice,
    )
    outbox = Project.at(root, state_dir=settings.state_dir, venv=settings.venv).outbox
    carrier = mail_transport(settings, root, Runner(environ=environ, redactor=redactor))
    recipients = settings.updater_admins or settings.admins
    if not mails or not recipients or (carrier is None and not os.path.isdir(outbox.parent)):
        return report
    post = _Post(carrier=carrier, outbox=outbox, sender=sender_of(settings), redactor=redactor)
    top = outbox
    while not top.exists() and not top.parent.exists():
        top = top.parent
    report, kept = _keep_mail(post, report, recipients)
    report = _send_mails(post, report, kept)
    for place, _, _ in os.walk(top, topdown=False):  # the directories that the mail lay in until it was sent
        with contextlib.suppress(OSError):
            Path(place).rmdir()
    return report


@dataclass(frozen=True, kw_only=True)
class _Post:
    """The way that mails of a site take: the outbox, and who takes them from there, if anybody does."""

    carrier: Carrier | None
    outbox: Path
    sender: str
    redactor: Redactor

    @classmethod
    def of_site(cls, site: Site, outbox: Path) -> _Post:
        carrier = mail_transport(site.settings, site.project.root, site.runner)
        return cls(carrier=carrier, outbox=outbox, sender=sender_of(site.settings), redactor=site.redactor)

    @property
    def advice(self) -> str:
        return _next_run_sends(self.outbox)


def _next_run_sends(outbox: Path) -> str:
    return f"The mail is in {outbox}; the next run sends it."


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """The mail about this run: the file in the outbox, or the mail itself if it could not be kept there."""

    path: Path | None = None
    mail: QueuedMail | None = None
    recipients: tuple[str, ...] = ()


def _keep_mail(post: _Post, report: RunReport, recipients: Sequence[Address]) -> tuple[RunReport, _Kept]:
    """Put the mail about a run into the outbox; without a recipient or a carrier it stays there."""
    from releaser.reporting.mail import compose
    from releaser.reporting.outbox import Outbox, QueuedMail

    message = compose(report, sender=post.sender, recipients=recipients)
    to = tuple(one.address for one in recipients)
    is_to_be_sent = post.carrier is not None and bool(recipients)
    try:
        path = Outbox(post.outbox).put(message, queued=is_to_be_sent)
    except OSError as error:
        problem = f"the mail cannot be kept in {post.outbox}: {error}"
        report = _with_problem(replace(report, mail=_LOST), problem, "Check free space and permissions.")
        return report, _Kept(mail=QueuedMail.of(message) if is_to_be_sent else None, recipients=to)
    why = "not sent" if is_to_be_sent else "no smtp_host is set, and no sendmail is used"
    why = why if recipients else "no recipient is set"
    return replace(report, mail=f"kept in {path} ({why})"), _Kept(path=path, recipients=to)


def _send_mails(post: _Post, report: RunReport, kept: _Kept) -> RunReport:
    """Send all mails that wait in the outbox, and the one about this run."""
    if post.carrier is None or (kept.mail is None and not _has_mail(post.outbox)):
        return report
    from releaser.reporting.outbox import Outbox, flush

    result = flush(Outbox(post.outbox), post.carrier, unkept=kept.mail)
    if result.sent_unkept or (kept.path is not None and not kept.path.exists()):
        by = f" by {post.carrier.address}" if isinstance(post.carrier, Sendmail) else ""
        report = replace(report, mail=f"sent to {', '.join(kept.recipients)}{by}")
    if result.problem:
        return _with_problem(report, post.redactor.clean(f"mail: {result.problem}"), post.advice)
    return report


def _has_mail(outbox: Path) -> bool:
    """Tell whether anything may be waiting; a mail reader moves mails from `new` to `cur`."""
    for name in ("new", "cur"):
        with contextlib.suppress(OSError):
            if any((outbox / name).iterdir()):
                return True
    return False


def _is_worth_a_mail(site: Site, report: RunReport) -> bool:
    # Who asks for a rebuild or a rollback that is refused sees the answer.
    is_answered = (
        report.command in ("rebuild", "rollback") and report.result == "refused" and not report.tells_of_before
    )
    # A mail about mails that cannot be sent would only join them, one more every night.
    if report.noteworthy and not is_answered:
        return True
    if not site.settings.heartbeat:
        return False
    last = recall(site.state_dir / LAST_MAIL, LastMail()).last
    return last is None or (datetime.now(UTC) - last).total_seconds() >= site.settings.heartbeat


def _drop_told(site: Site, log: RunLog) -> None:
    """Drop the journal, if telling was all that was left to be done."""
    with contextlib.suppress(UnreadableStateError, OSError):
        entry = journal_of(site).read()
        ours = entry is not None and entry.phase == "reporting" and entry.run_id == log.run_id
        if ours or log.closed:
            journal_of(site).drop()


def _recipients(report: RunReport, settings: Settings) -> Sequence[Address]:
    if report.exit_code == ExitCode.BUG and settings.updater_admins:
        return settings.updater_admins
    return settings.admins or settings.updater_admins


def sender_of(settings: Settings) -> str:
    """Return whom mails are from."""
    return settings.mail_from or f"releaser@{this_host()}"


def _with_problem(report: RunReport, message: str, advice: str) -> RunReport:
    problems = (*report.problems, Finding(message, advice=advice))
    return replace(report, problems=problems, exit_code=report.exit_code or ExitCode.FOLLOW_UP)


def send_test_mail(site: Site) -> TestMail:
    """Send a mail to everybody who gets mails about the site, or about releaser.

    Raises PreflightError without a recipient, or without a server or program that takes mails.
    """
    settings = site.settings
    carrier = mail_transport(settings, site.project.root, site.runner)
    people = {one.address: one for one in (*settings.admins, *settings.updater_admins)}
    if carrier is None or not people:
        problems = (*sendmail_findings(site), *warnings(site))
        switched_off = "no mail was sent: smtp_host is not set, and sendmail is none"
        raise PreflightError(*(problems or (Finding(switched_off, advice="Set `smtp_host`, or correct `sendmail`."),)))
    from releaser.reporting.mail import compose_plain
    from releaser.reporting.outbox import QueuedMail

    message = compose_plain(
        f"releaser: test mail about {site.project.name} on {this_host()}",
        f"Mails about {site.project.root} on {this_host()} get through.\n\n"
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
    return TestMail(sent=not problem, to=tuple(people), by=carrier.address, problem=problem)
