"""Notices by reporters, and pings, in addition to the mail.

No failure of a notice fails a run. Unsent notices wait in the outbox, as mails do.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from releaser.core.reporter import SECONDS
from releaser.errors import ExitCode, Finding, MailError, ToolError
from releaser.releases.journal import MailSection
from releaser.reporting.notice_settings import PingSettings
from releaser.reporting.reporters import REPORTERS, receivers
from releaser.system.files import only_files
from releaser.system.frozen import replace
from releaser.system.words import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from email.message import EmailMessage

    from releaser.answers import TestNotice
    from releaser.core.reporter import Receiver
    from releaser.report import RunReport
    from releaser.site.site import Site

logger = logging.getLogger(__name__)

_PING_SECONDS = 4.0
_KEPT = 7 * 86400.0  # seconds that a notice stays in the outbox
_PING_BODY = 10_000  # bytes: the failures, and as much of the end of the log as fits
_AGAIN = "The notice is in the outbox; the next run sends it."


def keep(site: Site, report: RunReport) -> tuple[RunReport, dict[str, EmailMessage]]:
    """Put the notices about a run into the outbox; return those that it could not take, by queue."""
    lost: dict[str, EmailMessage] = {}

    def put(receiver: Receiver) -> None:
        from releaser.reporting.outbox import Outbox

        message = _message(receiver, receiver.content(site, report), name=report.run_id)
        try:
            Outbox(path=site.project.outbox).put(message, queued=True, queue=receiver.queue)
        except OSError as error:
            logger.warning("a notice cannot be kept: %s", error)
            lost[receiver.queue] = message

    return _for_each(site, report, put), lost


def _for_each(site: Site, report: RunReport, do: Callable[[Receiver], Finding | None]) -> RunReport:
    """Call `do` for each receiver; any error, even a bug in a reporter, only adds a problem to the report."""
    problems: list[Finding | None] = []
    for reporter in REPORTERS:
        try:
            problems += map(do, reporter.receivers(site))
        except Exception as error:
            logger.exception("a bug in a reporter")
            message = site.redactor.line(f"a reporter failed: {type(error).__name__}: {error}")
            problems.append(Finding("reporter-failed", message, "Report it to the author of the reporter."))
    new = tuple(one for one in problems if one and one not in report.problems)
    if not new:
        return report
    mail = replace(MailSection.of(report), mailed=False)
    return report.with_problems(*new).with_section(mail)


def _message(receiver: Receiver, content: bytes, *, name: str) -> EmailMessage:
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"] = f"A notice for {one_line(receiver.address)}"
    message["Message-ID"] = f"<{receiver.queue}.{name}@releaser>"  # does not start like that of the mail
    message.set_content(content, maintype="application", subtype="json")
    return message


def send(site: Site, report: RunReport, lost: Mapping[str, EmailMessage]) -> RunReport:
    """Send the waiting notices, first those that are `lost` to the outbox; a failure only adds a problem."""

    def flush_queue(receiver: Receiver) -> Finding | None:
        from releaser.reporting.outbox import Outbox, QueuedMail, flush

        unkept = QueuedMail.of(lost[receiver.queue]) if receiver.queue in lost else None
        outbox, queue = Outbox(path=site.project.outbox), receiver.queue
        problem = flush(outbox, receiver, queue=queue, unkept=unkept, seconds=SECONDS, keeps=_KEPT).problem
        return Finding("notice-failed", site.redactor.line(f"notice: {problem}"), _AGAIN) if problem else None

    return _for_each(site, report, flush_queue)


def try_all(site: Site) -> tuple[TestNotice, ...]:
    """Send a test notice to each receiver, and a ping; return the results."""
    from releaser.answers import TestNotice

    tried = []
    content = {
        "title": f"releaser: test notice about {site.project.name}",
        "body": str(site.project.root),
        "kind": "info",
    }
    for receiver in receivers(site):
        problem = ""
        try:
            message = _message(receiver, json.dumps({**content, "test": True}).encode(), name=f"test-{time.time_ns()}")
            receiver.send(message, sender="", recipients=())
        except MailError as error:
            problem = site.redactor.line(error.message)
        tried.append(TestNotice(to=site.redactor.line(receiver.address), sent=not problem, problem=problem))
    if PingSettings.of(site).url:
        problem = _ping(site, "")
        tried.append(TestNotice(to=_describe_ping(site), sent=not problem, problem=problem))
    return tuple(tried)


# Pings in the format of healthchecks.io


def ping(site: Site, command: str, report: RunReport | None = None) -> None:
    """Send a ping at the start of an update or, with its `report`, at its end. A failure is only logged."""
    is_locked = report is not None and report.exit_code == ExitCode.LOCKED  # the run that has the lock pings
    if command != "update" or is_locked or not PingSettings.of(site).url:
        return
    end = "/start" if report is None else "/fail" if report.exit_code else ""
    try:
        if problem := _ping(site, end, _failure(site, report) if report and report.exit_code else b""):
            logger.warning("%s", problem)
    except KeyboardInterrupt:
        if report is None:  # otherwise the run is done
            raise


def _ping(site: Site, end: str, body: bytes = b"") -> str:
    from releaser.tools.web import post

    parts = urlsplit(PingSettings.of(site).url)
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + end))
    try:
        post(url, body, headers={"Content-Type": "text/plain"}, environ=site.runner.environ, timeout=_PING_SECONDS)
    except ToolError as error:
        return site.redactor.line(f"{_describe_ping(site)} did not accept a ping: {error.message}")
    return ""


def _describe_ping(site: Site) -> str:
    return f"ping_url at {urlsplit(PingSettings.of(site).url).netloc}"


def _failure(site: Site, report: RunReport) -> bytes:
    """Return the failed steps, and then the end of the log, which has no secrets."""
    failed = [f"step {step.step}: {step.detail}" for step in report.steps if step.status == "failed"]
    head = site.redactor.clean("\n".join([report.headline, *failed, "", ""])).encode()[: _PING_BODY // 2]
    try:
        with open(report.log_file, "rb", opener=only_files) as file:
            file.seek(max(0, file.seek(0, 2) + len(head) - _PING_BODY))
            return head + file.read()
    except OSError:
        return head
