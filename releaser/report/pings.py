"""Pings a monitor of cron jobs, by the convention of healthchecks and others: `/start`, then the exit code."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from releaser.site.site import Site
from releaser.system import process
from releaser.system.run import Run

logger = logging.getLogger(__name__)

_START, _END = 2.0, 10.0  # seconds: nothing has to wait for the end


def ping_start(site: Site, run: Run) -> None:
    """Say that a run begins."""
    _ping(site, run, "start", _START)


def ping_end(site: Site, run: Run, exit_code: int) -> None:
    """Say how a run ended."""
    _ping(site, run, str(exit_code), _END)


def _ping(site: Site, run: Run, word: str, timeout: float) -> None:
    """Ask for `ping_url` with a word after its path; a failure is in the log, without the URL."""
    if not site.settings.mail.ping_url or not run.command.is_pinged:
        return
    parts = urlsplit(site.settings.mail.ping_url)
    url = parts._replace(path=f"{parts.path.rstrip('/')}/{word}", fragment="").geturl()

    def ask() -> str:
        import httpx  # takes 50 ms

        try:
            return "" if httpx.get(url, timeout=timeout).is_success else "it refused"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return type(error).__name__

    reason = process.call_in_child(ask, str, timeout)
    if reason != "":
        logger.warning("the ping `%s` of %s failed: %s", word, parts.hostname, reason or "no answer in time")
