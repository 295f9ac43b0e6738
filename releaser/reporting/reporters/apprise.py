"""The services that Apprise knows: a few lines about the run."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.core.reporter import SECONDS, Reporter
from releaser.errors import Finding, MailError, ToolError
from releaser.reporting.notice_settings import ServiceSettings
from releaser.system.environment import how_to_add
from releaser.system.frozen import Frozen
from releaser.system.later import Later
from releaser.system.words import one_line

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator, Sequence
    from email.message import EmailMessage

    from releaser.report import RunReport
    from releaser.site.site import Site
    from releaser.system.process import Runner
else:
    hashlib = Later("hashlib")

_LONGEST = 3000  # characters of a notice
_LIBRARY = "apprise"


class Apprise(Reporter):
    """Reports to the URLs of the setting `notify`."""

    def receivers(self, site: Site) -> Iterator[Service]:
        """Yield each service."""
        for url in ServiceSettings.of(site).notify:
            yield Service(url=url, runner=site.runner)

    def findings(self, site: Site) -> Iterator[Finding]:
        """Yield a missing library."""
        if ServiceSettings.of(site).notify and importlib.util.find_spec(_LIBRARY) is None:
            message = "`notify`: the package that sends notices is not installed with releaser"
            advice = f"To install it, {how_to_add('notify')}; or remove `notify`."
            yield Finding("apprise-missing", message, advice)


class Service(Frozen):
    """Takes a few lines about a run, through Apprise in a separate process."""

    url: str
    runner: Runner

    @property
    def queue(self) -> str:
        """Its name in the outbox, which hides the URL."""
        return f"notify-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}"

    @property
    def address(self) -> str:
        """The kind, as the rest of the URL may be a secret."""
        return f"{self.url.partition('://')[0]}:// of `notify`"

    def content(self, site: Site, report: RunReport) -> bytes:
        """Return the notice about a report."""
        from releaser.reporting.subject import subject
        from releaser.reporting.text import closing_lines

        kind = "failure" if report.exit_code else "warning" if report.problems else "success"
        body = site.redactor.clean("\n".join(closing_lines(report))[:_LONGEST])
        return json.dumps({"title": subject(report), "body": body, "kind": kind}).encode()

    def send(self, message: EmailMessage, *, sender: str, recipients: Sequence[str]) -> tuple[str, ...]:
        """Send the notice in a message. Raises MailError."""
        from releaser.system.own_code import text_of

        probe = importlib.util.find_spec("releaser.tools.notice_sender")
        assert probe is not None  # noqa: S101 - it is part of releaser
        asked = json.dumps({**json.loads(message.get_content()), "url": self.url}).encode()
        words = [sys.executable, "-P", "-c", text_of(str(probe.origin))]
        try:
            env = self.runner.neutral
            reason = self.runner.run(words, cwd=Path("/"), timeout=SECONDS, env=env, input=asked).stdout
        except ToolError as error:
            reason = error.reason
        if reason:
            answer = (
                f"{self.address} did not accept the notice: {one_line(self.runner.redactor.clean(reason), limit=300)}"
            )
            raise MailError(answer, "See `notify`.")
        return ()
