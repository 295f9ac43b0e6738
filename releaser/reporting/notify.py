"""Announces runs: sends the mail about a run, mails that are still due, notices and pings."""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.capabilities import gather
from releaser.core.announcing import Announcer, add_problem, add_sections, drop_journal
from releaser.errors import ExitCode, Finding, Interrupted, MailError
from releaser.releases.journal import NOTES, MailSection, Notes, note, read_notes
from releaser.report import RunLog, RunReport
from releaser.reporting import notices
from releaser.reporting.last_known import describe_route, settings_of, with_last_known
from releaser.reporting.mail_setup import explain_recipients, sender_of
from releaser.reporting.threads import (
    close_threads,
    digest_of_problems,
    open_thread,
    problem_of,
    references_of,
    report_unknown_once,
    root_of,
    with_solved,
)
from releaser.site.addresses import MailSettings
from releaser.site.project import Project
from releaser.system import signals
from releaser.system.frozen import Frozen, replace
from releaser.system.process import Runner
from releaser.system.words import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from email.message import EmailMessage

    from releaser.reporting.changes import Item
    from releaser.reporting.outbox import Carrier
    from releaser.site.addresses import Address
    from releaser.site.loading import Loaded
    from releaser.site.ownership import Ownership
    from releaser.site.site import Site

_LOST = "lost"

logger = logging.getLogger(__name__)


class Post(Announcer):
    """Announces by mail, by notices and by pings."""

    def began(self, site: Site, command: str) -> None:
        notices.ping(site, command)

    def ended(self, site: Site, command: str, report: RunReport) -> None:
        notices.ping(site, command, report)

    def announce(self, site: Site, log: RunLog, report: RunReport, *, mails: bool) -> RunReport:
        return finish(site, log, report, mails=mails)

    def announce_without_state(self, site: Site, report: RunReport) -> RunReport:
        return finish_without_state(site, report)

    def announce_unopened(self, report: RunReport, loaded: Loaded, trusting: Ownership, runner: Runner) -> RunReport:
        return announce_unopened(report, loaded, trusting, runner)

    def announce_long_holder(self, site: Site, now: datetime) -> str:
        from releaser.reporting.lock_alert import report_long_holder  # for a run that may not begin

        return report_long_holder(site, now)

    def has_announced(self, site: Site, run_id: str) -> bool:
        from releaser.reporting.outbox import Outbox  # slow to import

        return Outbox(path=site.project.outbox).has_reported(run_id)


def finish(site: Site, log: RunLog, report: RunReport, *, mails: bool) -> RunReport:
    """Mail a report that is worth it, and send mails that are due; return the report with the results.

    An interrupt waits for the mail and for the additions of capabilities to the report.

    The mail is in the outbox before any server is asked, and before the journal is dropped, so that neither a kill nor
    a dead server loses it. Without `mails` nothing is sent.
    """
    outbox, lost = site.project.outbox, dict[str, "EmailMessage"]()
    try:
        with signals.defer_interrupts():
            settings = settings_of(site)
            post = _Post.of(settings, _recipients(report, settings), outbox, site.project.root, site.runner)
            post = replace(post, footer=_footer(report, settings, site.sources, site.project.root))
            notes = read_notes(site.state_dir)
            route = notes.route if report.exit_code == ExitCode.PREFLIGHT else describe_route(site)
            report = _with_mail(_with_sections(site, report, notes), mail_from=post.sender)
            if mails and _is_worth_a_mail(site, report):
                # A kill may leave a thread without its first mail, but never a closed thread without its last.
                from releaser.reporting.changes import lock_diff

                parents = references_of(report, site.state_dir)
                words = _introduction(site, report)
                diff = lock_diff(site, report) if post.recipients else ""
                lists = tuple(_lists_of(site, report)) if post.recipients else ()
                post = replace(post, references=parents, lock_diff=diff, introduction=words, lists=lists)
                open_thread(report, site.state_dir)
                report = post.keep(report)
                report, lost = notices.keep(site, report)
                note(site.state_dir, last_mail=datetime.now(UTC).replace(microsecond=0), route=route)
                if words:
                    note(site.state_dir, introduced=True)
                if MailSection.of(report).mail != _LOST:
                    close_threads(report, site.state_dir)
            elif mails and route != notes.route:
                note(site.state_dir, route=route)
            was_lost = MailSection.of(report).mail == _LOST
            if not was_lost:
                drop_journal(site, log)
        if mails:
            report = notices.send(site, post.send(report), lost)
            if was_lost and MailSection.of(report).mail != _LOST:
                close_threads(report, site.state_dir)
                drop_journal(site, log)
    except (KeyboardInterrupt, Interrupted):
        message = "interrupted while mails were being sent"
        report = add_problem(report, Finding("interrupted", message, _next_run_sends(outbox)))
    return report


def _lists_of(site: Site, report: RunReport) -> Iterator[tuple[str, Sequence[Item]]]:
    """Yield the lists that capabilities add to the mail; without one, the mail is sent all the same."""
    for add in gather("mail_lists"):
        try:
            yield from add(site, report)
        except Exception as error:  # noqa: BLE001 - the text of others may be of any kind, and must not cost the mail
            logger.warning("a list is missing in the mail: %s", error)


def _with_sections(site: Site, report: RunReport, notes: Notes) -> RunReport:
    """Add the sections of capabilities, if there is anything to report, and the solved problems."""
    return with_solved(site, add_sections(site, report_unknown_once(site, report, notes)), notes)


def finish_without_state(site: Site, report: RunReport) -> RunReport:
    """Mail the report of a run without a usable state directory, and so without a history.

    An unsent mail stays in the default state directory; but nothing is created for a path that may be a typo.
    """
    settings, root = settings_of(site), site.project.root
    outbox = Project.at(root, state_dir=None, venv=site.settings.venv).outbox
    post = _Post.of(settings, _recipients(report, settings), outbox, root, site.runner)
    is_project = site.project.pyproject.exists() and site.project.lock.exists()
    if post.carrier is None and not is_project and not os.path.isdir(outbox.parent):
        return report
    footer = _footer(report, settings, site.sources, root)
    post = replace(post, references=(root_of(report),), footer=footer)
    return post.send(post.keep(report))


def announce_unopened(report: RunReport, loaded: Loaded, trusting: Ownership, runner: Runner) -> RunReport:
    """Mail, once for each problem, that no site could be opened at `report.path`.

    A path without a project is reported to releaser's own administrators. Nothing is created for a path that may be a
    typo: without a mail server the mail goes into an outbox only where releaser already keeps state for such a project.
    Keeps no mail and no note where another user could have put a symlink.
    """
    root = Path(report.path)
    project = Project.at(root, state_dir=loaded.settings.state_dir, venv=loaded.settings.venv)
    state_dir = project.state_dir
    is_ours = state_dir.is_dir() and not (trusting.foreign(state_dir) or trusting.unsafe(state_dir / NOTES))
    notes = read_notes(state_dir) if is_ours else Notes()
    settings = with_last_known(MailSettings.of(loaded), loaded.sources, notes.route)
    recipients = settings.recipients if root.is_dir() else settings.own_recipients
    post = _Post.of(settings, recipients, project.outbox, root, runner)
    if not recipients or (post.carrier is None and not state_dir.is_dir()):
        return report
    top = project.outbox
    while not top.exists() and not top.parent.exists():
        top = top.parent
    footer = explain_recipients(settings, loaded.sources, root, own=recipients is settings.own_recipients)
    references = references_of(report, state_dir) if is_ours else (root_of(report),)
    post = replace(post, references=references, footer=footer)
    if any(map(trusting.foreign, (top, top.parent))):
        return post.send_unkept(report)
    problem = digest_of_problems(report)
    if notes.unopened == problem and any(thread.problem == problem_of(report) for thread in notes.threads):
        return _with_mail(post.send(report), mail="none, as an earlier mail has reported this", mailed=False)
    report = _with_mail(post.send(post.keep(report)), mailed=False)  # the caller may not have got the mail
    if is_ours and MailSection.of(report).mail != _LOST:
        open_thread(report, state_dir)
        note(state_dir, unopened=problem)
    for place, _, _ in os.walk(top, topdown=False):  # the directories of the mail, if it was sent
        with contextlib.suppress(OSError):
            Path(place).rmdir()
    return report


class _Post(Frozen):
    """The route of the mail about a run: the outbox, and the carrier that takes mails from there, if any."""

    carrier: Carrier | None
    outbox: Path
    sender: str
    recipients: Sequence[Address]
    redactor: Redactor
    #: The Message-IDs of the earlier mails in the thread.
    references: tuple[str, ...] = ()
    lock_diff: str = ""
    introduction: str = ""
    lists: tuple[tuple[str, Sequence[Item]], ...] = ()
    #: The lines on why its readers get the mail.
    footer: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, settings: MailSettings, recipients: Sequence[Address], outbox: Path, root: Path, runner: Runner
    ) -> _Post:
        carrier = settings.transport(root, runner)
        sender, redactor = sender_of(settings), runner.redactor
        return cls(carrier=carrier, outbox=outbox, sender=sender, recipients=recipients, redactor=redactor)

    @property
    def _delivers(self) -> bool:
        return self.carrier is not None and bool(self.recipients)

    def _compose(self, report: RunReport) -> EmailMessage:
        from releaser.reporting.mail import compose

        return compose(
            report,
            sender=self.sender,
            recipients=self.recipients,
            references=self.references,
            lock_diff=self.lock_diff,
            introduction=self.introduction,
            lists=self.lists,
            footer=self.footer,
        )

    def keep(self, report: RunReport) -> RunReport:
        """Put the mail about a run into the outbox, until a run can send it; without recipients, do nothing."""
        if not self.recipients:
            return _with_mail(report, mail="none, as no recipient is set")
        from releaser.reporting.outbox import Outbox

        try:
            path = Outbox(path=self.outbox).put(self._compose(report), queued=True)
        except OSError as error:
            problem = f"the mail cannot be kept in {self.outbox}: {error}"
            unkept = Finding("mail-failed", problem, "Check free space and permissions.")
            return add_problem(_with_mail(report, mail=_LOST), unkept)
        why = "not sent" if self.carrier else "no smtp_host is set, and no sendmail is used"
        return _with_mail(report, mail=f"kept in {path} ({why})")

    def send_unkept(self, report: RunReport) -> RunReport:
        """Send the mail about this run alone, without the outbox; do nothing without a carrier."""
        if self.carrier is None:
            return report
        from releaser.reporting.outbox import QueuedMail

        mail = QueuedMail.of(self._compose(report))
        try:
            self.carrier.send(mail.message, sender=mail.sender, recipients=mail.recipients)
        except MailError as error:
            advice = "Check the mail server with `releaser test-mail`."
            return add_problem(report, Finding("mail-failed", self.redactor.clean(f"mail: {error.message}"), advice))
        return _with_mail(report, mail=f"sent to {', '.join(mail.recipients)}")

    def send(self, report: RunReport) -> RunReport:
        """Send all mails in the outbox, and first the mail about this run if the outbox could not take it."""
        was_lost = MailSection.of(report).mail == _LOST
        if self.carrier is None or not (_has_mail(self.outbox) or (was_lost and self._delivers)):
            return report
        from releaser.reporting.outbox import Outbox, QueuedMail, flush
        from releaser.tools.mail_transport import Sendmail

        outbox = Outbox(path=self.outbox)
        unkept = QueuedMail.of(self._compose(report)) if was_lost and self._delivers else None
        result = flush(outbox, self.carrier, unkept=unkept)
        is_gone = bool(result.sent and MailSection.of(report).mail and self.recipients) and not was_lost
        if result.sent_unkept or (is_gone and not outbox.has_reported(report.run_id)):
            by = f" by {self.carrier.address}" if isinstance(self.carrier, Sendmail) else ""
            to = ", ".join(one.address for one in self.recipients)
            report = _with_mail(report, mail=f"sent to {to}{by}", mailed=True)
        if result.problem:
            problem = self.redactor.clean(f"mail: {result.problem}")
            return add_problem(report, Finding("mail-failed", problem, _next_run_sends(self.outbox)))
        return report


def _next_run_sends(outbox: Path) -> str:
    return f"The mail is in {outbox}; the next run sends it."


def _has_mail(outbox: Path) -> bool:
    """True if a mail may be waiting; a mail reader moves mails from `new` to `cur`."""
    for name in ("new", "cur"):
        with contextlib.suppress(OSError):
            if any((outbox / name).iterdir()):
                return True
    return False


def _is_worth_a_mail(site: Site, report: RunReport) -> bool:
    # A person sees the answer to a rebuild or a rollback that preflight refuses.
    is_answered = (
        report.command in ("rebuild", "rollback")
        and (report.result, report.exit_code != ExitCode.TESTS) == ("refused", True)
        and not report.has_news_from_before
    )
    # A mail about unsent mails would only join them, one more every night.
    if (report.noteworthy and not is_answered) or MailSection.of(report).solved:
        return True
    if not MailSettings.of(site).heartbeat:
        return False
    last = read_notes(site.state_dir).last_mail
    return last is None or (datetime.now(UTC) - last).total_seconds() >= MailSettings.of(site).heartbeat


def _introduction(site: Site, report: RunReport) -> str:
    """Return the text for the first mail about a live release only; empty without one."""
    is_first = report.result == "updated" and report.release  # `uninstall` leaves no release
    if not is_first or not site.pulls or read_notes(site.state_dir).introduced:
        return ""
    return (
        f"New commits on the branch `{site.branch}` go live each night if the tests pass, even without any package"
        " change. To stop that, run `releaser setup --set git_pull=false`."
    )


def _recipients(report: RunReport, settings: MailSettings) -> Sequence[Address]:
    return settings.own_recipients if report.exit_code == ExitCode.BUG else settings.recipients


def _footer(report: RunReport, settings: MailSettings, sources: Mapping[str, str], root: Path) -> tuple[str, ...]:
    return explain_recipients(settings, sources, root, own=report.exit_code == ExitCode.BUG)


def _with_mail(report: RunReport, **facts: Any) -> RunReport:
    return report.with_section(replace(MailSection.of(report), **facts))
