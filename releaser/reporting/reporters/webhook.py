"""The webhook: takes the JSON of the report by POST."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from releaser.core.reporter import SECONDS, Reporter
from releaser.errors import Finding, MailError, ToolError
from releaser.releases.journal import report_json
from releaser.reporting.notice_settings import WebhookSettings
from releaser.system.frozen import Frozen
from releaser.system.later import Later

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator, Mapping, Sequence
    from email.message import EmailMessage

    from releaser.report import RunReport
    from releaser.site.site import Site
else:
    hashlib = Later("hashlib")

SIGNATURE = "X-Releaser-Signature"


class Webhooks(Reporter):
    """Reports to the setting `webhook`."""

    def receivers(self, site: Site) -> Iterator[Webhook]:
        """Yield the webhook, if one is set."""
        settings = WebhookSettings.of(site)
        if settings.webhook is not None and settings.webhook != "none":
            yield Webhook(url=settings.webhook, secret=settings.webhook_secret or "", environ=site.runner.environ)

    def findings(self, site: Site) -> Iterator[Finding]:
        """Yield a finding if a secret is set without a webhook."""
        settings = WebhookSettings.of(site)
        if settings.webhook_secret and not settings.webhook:
            yield Finding(
                "webhook-missing",
                "webhook_secret is set, but webhook is not",
                "Set `webhook`, or remove the secret.",
            )


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
        """Return the JSON of a report."""
        return report_json(report, site.redactor)

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Send the JSON in a message. Raises MailError."""
        from releaser.tools.web import post

        body: bytes = message.get_content()
        headers = {"Content-Type": "application/json"}
        if self.secret:
            headers[SIGNATURE] = sign(body, self.secret, at=int(time.time()))
        try:
            post(self.url, body, headers=headers, environ=self.environ, timeout=SECONDS)
        except ToolError as error:
            is_refused = error.returncode is not None and 400 <= error.returncode < 500
            reason = f"{self.address} did not accept the report: {error.message}"
            raise MailError(reason, "See `webhook`.", refused=is_refused) from error
        return ()


def sign(body: bytes, secret: str, *, at: int) -> str:
    """Sign the time and the body, as `<time>.<body>`, with HMAC-SHA256; `at` is in seconds since 1970."""
    import hmac  # only a webhook needs it

    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
