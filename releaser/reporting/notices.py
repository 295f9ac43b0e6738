"""Notices beside the mail: the report to a webhook, a few lines to the services that Apprise knows, and pings.

None of them fails a run. What cannot be sent waits in the outbox, as mails do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit, urlunsplit

from releaser.errors import ExitCode, Finding, MailError, ToolError
from releaser.releases.journal import report_json
from releaser.system.files import only_files
from releaser.system.frozen import Frozen
from releaser.system.own_code import text_of
from releaser.system.words import one_line
from releaser.tools.web import post

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from email.message import EmailMessage

    from releaser.answers import TestNotice
    from releaser.report import RunReport
    from releaser.site.site import Site
    from releaser.system.process import Runner

logger = logging.getLogger(__name__)

_SECONDS = 10.0  # for a webhook or a service to take one notice; after as many, no other is begun
_PING_SECONDS = 4.0
_KEPT = 7 * 86400.0  # seconds that a notice waits
_LONGEST = 3000  # characters of a notice
_PING_BODY = 10_000  # bytes: what failed, and as much of the end of the log as fits
_AGAIN = "The notice is in the outbox; the next run sends it."
SIGNATURE = "X-Releaser-Signature"
_LIBRARY = "apprise"


class Webhook(Frozen):
    """Takes the JSON of reports by POST, signed if there is a secret."""

    url: str
    secret: str
    environ: Mapping[str, str]
    queue: ClassVar[str] = "webhook"

    @property
    def address(self) -> str:
        """The host, as the rest of the URL may be a secret."""
        return f"the webhook at {urlsplit(self.url).netloc}"

    def content(self, site: Site, report: RunReport) -> bytes:
        """Return what is sent of a report."""
        return report_json(report, site.redactor)

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002 - as a mail
        """Send the JSON in a message. Raises MailError."""
        body: bytes = message.get_content()
        headers = {"Content-Type": "application/json"}
        if self.secret:
            headers[SIGNATURE] = sign(body, self.secret, at=int(time.time()))
        try:
            post(self.url, body, headers=headers, environ=self.environ, timeout=_SECONDS)
        except ToolError as error:
            is_refused = error.returncode is not None and 400 <= error.returncode < 500
            reason = f"{self.address} did not accept the report: {error.message}"
            raise MailError(reason, advice="See `webhook`.", refused=is_refused) from error
        return ()


def sign(body: bytes, secret: str, *, at: int) -> str:
    """Sign the time and what is sent, `<time>.<body>`, with HMAC-SHA256; `at` is in seconds since 1970."""
    import hmac  # which only a webhook needs

    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Service(Frozen):
    """Takes a few lines about a run, by Apprise in a process of its own."""

    url: str
    runner: Runner

    @property
    def queue(self) -> str:
        """Its name in the outbox, which does not tell the URL."""
        return f"notify-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"

    @property
    def address(self) -> str:
        """The kind, as the rest of the URL may be a secret."""
        return f"{self.url.partition('://')[0]}:// of `notify`"

    def content(self, site: Site, report: RunReport) -> bytes:
        """Return what is sent of a report."""
        from releaser.reporting.subject import subject
        from releaser.reporting.text import closing_lines

        kind = "failure" if report.exit_code else "warning" if report.problems else "success"
        body = site.redactor.clean("\n".join(closing_lines(report))[:_LONGEST])
        return json.dumps({"title": subject(report), "body": body, "kind": kind}).encode()

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002 - as a mail
        """Send what is in a message. Raises MailError."""
        probe = importlib.util.find_spec("releaser.tools.notice_sender")
        assert probe is not None  # noqa: S101 - it is part of releaser
        asked = json.dumps({**json.loads(message.get_content()), "url": self.url}).encode()
        words = [sys.executable, "-P", "-c", text_of(str(probe.origin))]
        try:
            env = self.runner.neutral
            reason = self.runner.run(words, cwd=Path("/"), timeout=_SECONDS, env=env, input=asked).stdout
        except ToolError as error:
            reason = error.reason
        if reason:
            said = (
                f"{self.address} did not accept the notice: {one_line(self.runner.redactor.clean(reason), limit=300)}"
            )
            raise MailError(said, advice="See `notify`.")
        return ()


def channels(site: Site) -> tuple[Webhook | Service, ...]:
    """Return where notices go, by the settings."""
    settings, runner = site.settings, site.runner
    found: list[Webhook | Service] = []
    if settings.webhook not in (None, "none"):
        found.append(Webhook(url=settings.webhook, secret=settings.webhook_secret or "", environ=runner.environ))
    return (*found, *(Service(url=url, runner=runner) for url in settings.notify))


def findings(site: Site) -> Iterator[Finding]:
    """Say what keeps notices from being sent."""
    if site.settings.notify and importlib.util.find_spec(_LIBRARY) is None:
        message = "`notify`: the package that sends notices is not installed with releaser"
        yield Finding(message, advice=f"In {sys.prefix}: `pip install 'venv-releaser[notify]'`; or remove `notify`.")
    if site.settings.webhook_secret and not site.settings.webhook:
        yield Finding("webhook_secret is set, but webhook is not", advice="Set `webhook`, or remove the secret.")


def keep(site: Site, report: RunReport) -> dict[str, EmailMessage]:
    """Put the notices about a run into the outbox; return those that it cannot keep, by their queue."""
    lost: dict[str, EmailMessage] = {}
    if not (found := channels(site)):
        return lost
    from releaser.reporting.outbox import Outbox

    for channel in found:
        message = _message(channel, channel.content(site, report), name=report.run_id)
        try:
            Outbox(site.project.outbox).put(message, queued=True, queue=channel.queue)
        except OSError as error:
            logger.warning("a notice cannot be kept: %s", error)
            lost[channel.queue] = message
    return lost


def _message(channel: Webhook | Service, content: bytes, *, name: str) -> EmailMessage:
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"] = f"A notice for {one_line(channel.address)}"
    message["Message-ID"] = f"<{channel.queue}.{name}@releaser>"  # does not begin as that of the mail about the run
    message.set_content(content, maintype="application", subtype="json")
    return message


def send(site: Site, report: RunReport, lost: Mapping[str, EmailMessage]) -> RunReport:
    """Send the notices that wait, and first what is `lost` to the outbox; what fails is a problem, and no more."""
    if not (found := channels(site)):
        return report
    from releaser.reporting.outbox import Outbox, QueuedMail, flush

    outbox, problems = Outbox(site.project.outbox), list[Finding]()
    for channel in found:
        unkept = QueuedMail.of(lost[channel.queue]) if channel.queue in lost else None
        result = flush(outbox, channel, queue=channel.queue, unkept=unkept, seconds=_SECONDS, keeps=_KEPT)
        if result.problem:
            problems.append(Finding(site.redactor.line(f"notice: {result.problem}"), advice=_AGAIN))
    return replace(report, problems=(*report.problems, *problems), mailed=report.mailed and not problems)


def try_all(site: Site) -> tuple[TestNotice, ...]:
    """Send a notice to each, and a ping; say what became of it."""
    from releaser.answers import TestNotice

    tried = []
    told = {"title": f"releaser: test notice about {site.project.name}", "body": str(site.project.root), "kind": "info"}
    for channel in channels(site):
        problem = ""
        try:
            message = _message(channel, json.dumps({**told, "test": True}).encode(), name=f"test-{time.time_ns()}")
            channel.send(message, sender="", recipients=())
        except MailError as error:
            problem = site.redactor.line(error.message)
        tried.append(TestNotice(to=site.redactor.line(channel.address), sent=not problem, problem=problem))
    if site.settings.ping_url not in (None, "none"):
        problem = _ping(site, "")
        tried.append(TestNotice(to=_describe_ping(site), sent=not problem, problem=problem))
    return tuple(tried)


# Pings, as healthchecks.io takes them


def ping(site: Site, command: str, report: RunReport | None = None) -> None:
    """Say that an update begins or, with its `report`, how it has ended. What fails is logged, and no more."""
    is_locked = report is not None and report.exit_code == ExitCode.LOCKED  # the run that has the lock pings
    if command != "update" or is_locked or site.settings.ping_url in (None, "none"):
        return
    end = "/start" if report is None else "/fail" if report.exit_code else ""
    try:
        if problem := _ping(site, end, _failure(site, report) if report and report.exit_code else b""):
            logger.warning("%s", problem)
    except KeyboardInterrupt:
        if report is None:  # else all is done
            raise


def _ping(site: Site, end: str, body: bytes = b"") -> str:
    parts = urlsplit(site.settings.ping_url or "")
    url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + end))
    try:
        post(url, body, headers={"Content-Type": "text/plain"}, environ=site.runner.environ, timeout=_PING_SECONDS)
    except ToolError as error:
        return site.redactor.line(f"{_describe_ping(site)} did not accept a ping: {error.message}")
    return ""


def _describe_ping(site: Site) -> str:
    return f"ping_url at {urlsplit(site.settings.ping_url or '').netloc}"


def _failure(site: Site, report: RunReport) -> bytes:
    """Return what has failed, and then the end of the log, in which there are no secrets."""
    failed = [f"step {step.step}: {step.detail}" for step in report.steps if step.status == "failed"]
    told = site.redactor.clean("\n".join([report.headline, *failed, "", ""])).encode()[: _PING_BODY // 2]
    try:
        with open(report.log_file, "rb", opener=only_files) as file:
            file.seek(max(0, file.seek(0, 2) + len(told) - _PING_BODY))
            return told + file.read()
    except OSError:
        return told
