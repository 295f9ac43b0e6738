"""Pings a monitor of cron jobs, by the convention of healthchecks and others: `/start`, then the exit code."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from releaser.site.site import Site
from releaser.system import process
from releaser.system.run import Run

logger = logging.getLogger(__name__)


def ping(site: Site, run: Run, word: str, *, timeout: float = 10.0) -> None:
    """Ask for `ping_url` with a word after its path; a failure, or no answer in time, is only in the log."""
    if not site.settings.mail.ping_url or not run.command.is_pinged:
        return
    parts = urlsplit(site.settings.mail.ping_url)
    url = parts._replace(path=f"{parts.path.rstrip('/')}/{word}", fragment="").geturl()

    def ask() -> str:
        import httpx  # takes 50 ms

        try:
            return str(httpx.get(url, timeout=timeout).status_code)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return type(error).__name__

    answer = process.call_in_child(ask, timeout)
    logger.info("the ping `%s` of %s got %s", word, parts.hostname, answer or "no answer in time")
