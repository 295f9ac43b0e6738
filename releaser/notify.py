"""Telling people: the mail about a run, mails that are still due, the history."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from releaser import interrupts
from releaser.durable import UnreadableStateError, read_json, write_json
from releaser.errors import Interrupted
from releaser.project.project import Project
from releaser.project.settings import Settings, load, this_host
from releaser.project.telling import carrier_of
from releaser.redaction import Redactor
from releaser.report import history
from releaser.report.outcome import Problem, RunReport
from releaser.run import cleaned, cleaned_problems, problem_of
from releaser.tools.process import Runner
from releaser.tools.sendmail import Sendmail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from releaser.address import Address
    from releaser.errors import PreflightError
    from releaser.project.site import Site
    from releaser.report.outbox import Carrier
    from releaser.run import Run

FOLLOW_UP_FAILED = 7
BUG = 1
LAST_MAIL = "mail.json"
_NO_CARRIER = "no smtp_host is set, and no sendmail is used"
_LOST = "lost"


def finish(run: Run, report: RunReport, *, mails: bool, complete: Callable[[RunReport], RunReport]) -> RunReport:
    """Mail the report if it is worth a mail, send what is due, write the history; return the report as it is now.

    `complete` adds to the report what there is to say besides; an interrupt waits for that, as it does for the mail.

    The mail is put into the outbox before any server is asked, and before the journal goes, so that neither a kill nor
    a dead server loses it. Without `mails` nobody is told but the one who gave the command.
    """
    kept: Path | None = None
    try:
        with interrupts.deferred():
            report = complete(report)
            if mails and _is_worth_a_mail(run, report):
                report, kept = _keep_mail(run, report)
                _note_mail(run.site.project.state_dir)
            if report.mail != _LOST:
                _drop_told(run)
        if mails:
            report = _send_what_is_due(run, report, kept)
    except (KeyboardInterrupt, Interrupted):
        report = _with_problem(report, "interrupted while mails were being sent", _mail_advice(run.site.project.outbox))
    try:
        with interrupts.deferred():
            report = remember(run, report)
    except (KeyboardInterrupt, Interrupted):
        report = _with_problem(report, "interrupted when all was done", "")
    return report


def _is_worth_a_mail(run: Run, report: RunReport) -> bool:
    # A mail about mails that cannot be sent would only join them, one more every night.
    due = _heartbeat_is_due(run.site.project.state_dir, run.site.settings)
    return (report.noteworthy and not _asked_in_vain(report)) or due


def _drop_told(run: Run) -> None:
    """Drop the journal, if telling was all that was left to be done."""
    with contextlib.suppress(UnreadableStateError, OSError):
        entry = run.journal.read()
        ours = entry is not None and entry.phase == "telling" and entry.run_id == run.run_id
        if ours or run.draft.closed:
            run.journal.drop()


def _asked_in_vain(report: RunReport) -> bool:
    """Whether somebody asked for something that was refused: whoever asks sees the answer."""
    return report.command in ("rebuild", "rollback") and report.result == "refused" and not report.tells_of_before


def _keep_mail(run: Run, report: RunReport) -> tuple[RunReport, Path | None]:
    from releaser.report.mail import compose
    from releaser.report.outbox import Outbox

    settings, outbox, carrier = run.site.settings, run.site.project.outbox, _carrier(run.site)
    recipients = _recipients(report, settings)
    message = compose(report, sender=sender_of(settings), recipients=recipients)
    try:
        path = Outbox(outbox).put(message, queued=carrier is not None and bool(recipients))
    except OSError as error:
        problem = f"the mail cannot be kept in {outbox}: {error}"
        return _with_problem(replace(report, mail=_LOST), problem, "Check free space and permissions."), None
    why = "nobody is set to be told" if not recipients else "not sent" if carrier else _NO_CARRIER
    return replace(report, mail=f"kept in {path} ({why})"), path


def finish_without_state(run: Run, report: RunReport) -> RunReport:
    """Mail the report of a run that has no state directory that it may use, and so no history either.

    What cannot be sent is kept where state lies by default; but nothing is created for a path that may be a slip.
    """
    site = run.site
    outbox = Project.at(site.project.root, state_dir=None, venv=site.settings.venv).outbox
    carrier = _carrier(site)
    if carrier is None and not site.project.pyproject.exists() and not os.path.isdir(outbox.parent):
        return report
    return _mail(report, site.settings, carrier, outbox, _recipients(report, site.settings), site.redactor)


def remember(run: Run, report: RunReport) -> RunReport:
    """Add the run to the history; a history that cannot be written becomes a problem of the run."""
    try:
        history.append(run.site.project.state_dir, report)
    except OSError as error:
        return _with_problem(report, f"the history cannot be written: {error}", "Check state_dir.")
    return report


def _recipients(report: RunReport, settings: Settings) -> Sequence[Address]:
    if report.exit_code == BUG and settings.updater_admins:
        return settings.updater_admins
    return settings.admins or settings.updater_admins


def _carrier(site: Site) -> Carrier | None:
    return carrier_of(site.settings, site.project.root, site.runner)


def _send_what_is_due(run: Run, report: RunReport, kept: Path | None) -> RunReport:
    """Send all that waits in the outbox; `kept` is the mail about this run, if it is among these."""
    carrier, outbox = _carrier(run.site), run.site.project.outbox
    if carrier is None or not _has_mail(outbox):
        return report
    from releaser.report.outbox import Outbox, flush

    result = flush(Outbox(outbox), carrier)
    if kept is not None and not kept.exists():
        recipients = _recipients(report, run.site.settings)
        report = replace(report, mail=_sent(carrier, recipients))
    if result.problem:
        return _with_problem(report, run.site.redactor.clean(f"mail: {result.problem}"), _mail_advice(outbox))
    return report


def _has_mail(outbox: Path) -> bool:
    """Tell whether anything may be waiting; a mail reader moves mails from `new` to `cur`."""
    for name in ("new", "cur"):
        try:
            if any((outbox / name).iterdir()):
                return True
        except OSError:
            continue
    return False


def _sent(carrier: Carrier, recipients: Sequence[Address]) -> str:
    by = f" by {carrier.address}" if isinstance(carrier, Sendmail) else ""
    return f"sent to {', '.join(one.address for one in recipients)}{by}"


def sender_of(settings: Settings) -> str:
    """Return whom mails are from."""
    return settings.mail_from or f"releaser@{this_host()}"


def _mail(
    report: RunReport,
    settings: Settings,
    carrier: Carrier | None,
    outbox: Path,
    recipients: Sequence[Address],
    redactor: Redactor,
) -> RunReport:
    from releaser.report.mail import compose
    from releaser.report.outbox import Outbox, deliver

    message = compose(report, sender=sender_of(settings), recipients=recipients)
    delivery = deliver(message, server=carrier, outbox=Outbox(outbox))
    if delivery.sent and carrier is not None:
        said = _sent(carrier, recipients)
    elif delivery.path is not None:
        why = _NO_CARRIER if carrier is None else "not sent" if recipients else "nobody is set to be told"
        said = f"kept in {delivery.path} ({why})"
    else:
        said = _LOST
    report = replace(report, mail=said)
    if delivery.problem:
        return _with_problem(report, redactor.clean(f"mail: {delivery.problem}"), _mail_advice(outbox))
    return report


def _mail_advice(outbox: Path) -> str:
    return f"The mail is in {outbox}; the next run sends it."


def _with_problem(report: RunReport, message: str, advice: str) -> RunReport:
    return replace(
        report,
        problems=(*report.problems, Problem(message=message, advice=advice)),
        exit_code=report.exit_code or FOLLOW_UP_FAILED,
    )


def _heartbeat_is_due(state_dir: Path, settings: Settings) -> bool:
    if not settings.heartbeat:
        return False
    try:
        content = read_json(state_dir / LAST_MAIL)
        last = datetime.fromisoformat(content["last"]) if content else None
    except (UnreadableStateError, KeyError, ValueError):
        last = None
    return last is None or (datetime.now(UTC) - last).total_seconds() >= settings.heartbeat


def _note_mail(state_dir: Path) -> None:
    with contextlib.suppress(OSError):  # then a heartbeat may come once too often
        write_json(state_dir / LAST_MAIL, {"last": datetime.now(UTC).isoformat(timespec="seconds")})


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

    Nothing is created for a path that may be a slip: without a mail server the mail goes into an outbox only where
    releaser already keeps state for such a project.
    """
    root = _absolute(path)
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
        problems=cleaned_problems(redactor, map(problem_of, (*error.problems, *loaded.problems))),
        advice=error.advice,
    )
    outbox = Project.at(root, state_dir=settings.state_dir, venv=settings.venv).outbox
    recipients = settings.updater_admins or settings.admins
    carrier = carrier_of(settings, root, Runner(environ=environ, redactor=redactor))
    if not mails or not recipients or (carrier is None and not os.path.isdir(outbox.parent)):
        return report
    made = _first_missing(outbox)
    report = _mail(report, settings, carrier, outbox, recipients, redactor)
    _remove_empty(made)
    return report


def _first_missing(path: Path) -> Path:
    """Return the topmost part of a path that is not there."""
    while not path.exists() and not path.parent.exists():
        path = path.parent
    return path


def _remove_empty(top: Path) -> None:
    """Take away the directories that a mail lay in until it was sent; one in which a mail is left stays."""
    for place, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            Path(place).rmdir()


def _absolute(path: Path) -> Path:
    with contextlib.suppress(RuntimeError):  # of ~nobody
        path = path.expanduser()
    return path.absolute()
