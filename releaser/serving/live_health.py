"""The health of the live site, asked before a change and after it."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError
from releaser.serving.health_settings import HealthSettings, guess_url
from releaser.system.frozen import replace
from releaser.system.venv_environment import inside
from releaser.system.words import is_url
from releaser.tools.web import ask_until_good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.site.site import Site

_FORCED = ("update", "rebuild")  # commands that continue with --force
_TRIES = 3  # at most, as the live site is not just starting


def question(site: Site, check: str, venv: Path) -> Callable[[], str]:
    """Return a function that runs the health check once, a command in `venv`; the function returns a line.

    It raises ToolError if the check fails.
    """
    settings = HealthSettings.of(site)
    if is_url(check):
        return settings.asks_url(check)
    words = shlex.split(check)

    def ask() -> str:
        env = inside(venv, site.runner.live_environ)
        site.runner.run(words, cwd=site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} passed"

    return ask


def ask_live_site(site: Site, health_check: str) -> str:
    """Run the health check on the live site, with a few tries at most. Raises ToolError if it fails."""
    patience = HealthSettings.of(site).patience()
    ask = question(site, health_check, Path(os.path.realpath(site.project.venv)))
    return ask_until_good(ask, replace(patience, tries=min(patience.tries, _TRIES))).answer


def unhealthy_finding(error: ToolError, health_check: str, command: str) -> Finding:
    """Make the finding that the live site fails its health check before a command changed anything."""
    way_on = f"; to continue anyway, run `releaser {command} --force`" if command in _FORCED else ""
    meant = f"{guess} " if (guess := guess_url(health_check)) else ""
    return Finding(
        "live-unhealthy",
        f"the live site fails its health check: {error.message}",
        f"{meant}Repair the site, or correct `health_check` and the `health_` settings{way_on}.",
        output=error.output,
    )


def live_findings(site: Site, command: str = "update") -> Iterator[Finding]:
    """Check the health of the live site, if it has a health check and a venv."""
    check = HealthSettings.of(site).health_check
    if check is None or not os.path.exists(site.project.venv / "bin" / "python"):
        return
    try:
        ask_live_site(site, check)
    except ToolError as error:
        yield unhealthy_finding(error, check, command)
