"""Asks whether the site is healthy: a URL, or a command."""

from __future__ import annotations

import time

from releaser.errors import ChangeError, Problem, ToolError
from releaser.live.restart import find_missing_program, may_restart
from releaser.releases.journal import Entry
from releaser.releases.lease import is_used, list_holders
from releaser.site.site import Site
from releaser.system import process, signals
from releaser.system.text import LONGEST_LINE, clip, format_seconds

_POLL_INTERVAL = 0.5  # seconds between two attempts
_SCHEMES = ("http://", "https://")


def find_problems(site: Site) -> list[Problem]:
    """Return a problem if the health check is neither a URL nor a command."""
    command = site.settings.live.health_check
    if command and "://" not in command[0]:
        return find_missing_program(site, "health_check", command[0])
    if command and (len(command) > 1 or not command[0].startswith(_SCHEMES)):
        message = (
            f"The setting `health_check` is `{' '.join(command)}`, but must be one http or https URL, or a command."
        )
        return [Problem("wrong-health-check", message, "Set a URL such as `https://example.org/`, or a command.")]
    return []


@signals.hurry_on_signals()
def check_health(site: Site) -> str:
    """Ask until the site is healthy, and return the answer in words; empty without a health check.

    Raises ChangeError with the last answer.
    """
    if not site.settings.live.health_check:
        return ""
    began, limit = time.monotonic(), site.settings.live.health_timeout
    while True:
        is_healthy, answer = _ask(site, max(1.0, began + limit - time.monotonic()))
        if is_healthy:
            return answer
        if time.monotonic() + _POLL_INTERVAL >= signals.limit(began + limit):
            waited = format_seconds(min(limit, time.monotonic() - began))
            raise ChangeError(f"The health check failed for {waited}: {answer}.")
        signals.wait(_POLL_INTERVAL)


def is_healthy_now(site: Site) -> bool | None:
    """Return True if the site passes its health check, asked once; None if it has none."""
    if not site.settings.live.health_check:
        return None
    return _ask(site, min(10.0, site.settings.live.health_timeout) or 1.0)[0]


@signals.hurry_on_signals()
def find_unused_release(site: Site, entry: Entry) -> Problem | None:
    """Return a problem if no process has started on a release since its change, although the site has answered a URL.

    Then it waits for the end of the processes of the earlier release, which may have given that answer.
    """
    live = site.settings.live
    if not is_url_asked(site):
        return None
    deadline = time.monotonic() + live.health_timeout
    while {*list_holders(site.paths.releases / str(entry.release))} <= {*entry.held_by}:
        if time.monotonic() >= signals.limit(deadline):
            message = f"No process uses release {entry.release}, although {live.health_check[0]} answered."
            advice = f"Restart the site by hand, with `{site.paths.link}/bin/python`, and correct `restart`."
            return Problem("not-restarted", message, advice)
        signals.wait(_POLL_INTERVAL)
    earlier = entry.earlier if entry.earlier != entry.release else None
    while earlier and is_used(site.paths.releases / earlier) and time.monotonic() < signals.limit(deadline):
        signals.wait(_POLL_INTERVAL)
    return None


def is_url_asked(site: Site) -> bool:
    """Return True if a URL is asked after a restart: Passenger starts the application at the next visitor alone."""
    live = site.settings.live
    return may_restart(site) and bool(live.health_check) and live.health_check[0].startswith(_SCHEMES)


def _ask(site: Site, timeout: float) -> tuple[bool, str]:
    command = site.settings.live.health_check
    if command[0].startswith(_SCHEMES):
        return _ask_url(command[0], timeout)
    try:
        env = site.service_environment(site.paths.link)
        process.run(command, cwd=site.paths.project, env=env, timeout=timeout)
    except ToolError as error:
        return False, error.message.rstrip(".")
    return True, f"`{command[0]}` ended with 0"


def _ask_url(url: str, timeout: float) -> tuple[bool, str]:
    import httpx  # takes 50 ms

    def ask() -> tuple[bool, str]:
        try:
            with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response:
                return response.is_success, f"{url} answered {response.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
            reason = clip(str(error) or type(error).__name__, LONGEST_LINE)
            return False, f"{url} does not answer ({reason})"

    # httpx has a limit for each read alone.
    answer = process.call_in_child(ask, tuple[bool, str], timeout)
    return answer or (False, f"{url} does not answer in {format_seconds(timeout)}")
