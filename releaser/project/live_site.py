"""How the live site is asked: what the settings of the health check say, put as a question."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ToolError, Unfit
from releaser.tools.environment import inside
from releaser.tools.health import Check, Patience, ask_url, is_url, until_good

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from releaser.project.settings import Settings
    from releaser.project.site import Site

_FORCED = ("update", "rebuild")  # commands that go on by --force
_TRIES = 3  # at the most, for a site that is not just starting


def question(site: Site, check: str, venv: Path) -> Callable[[], str]:
    """Return what asks the site once; a command runs in `venv`. It returns a line, or raises ToolError."""
    settings = site.settings
    if is_url(check):
        wanted = Check(
            url=check,
            statuses=settings.health_status,
            text=settings.health_text,
            socket=settings.health_socket,
            host=settings.health_host,
        )
        return lambda: ask_url(wanted, timeout=settings.health_timeout)
    words = shlex.split(check)

    def ask() -> str:
        env = inside(venv, site.runner.site_environ)
        site.runner.run(words, cwd=site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} says yes"

    return ask


def patience_of(settings: Settings) -> Patience:
    """Return how often to ask, and for how long."""
    return Patience(timeout=settings.health_timeout, tries=settings.health_retries + 1, pause=settings.health_pause)


def ask_live_site(site: Site, health_check: str, *, venv: Path | None = None) -> str:
    """Ask the site as it runs now, a few times at the most: it is not starting. Raises ToolError if it is not well.

    It runs on `venv`, which is `.venv` mostly.
    """
    patience = patience_of(site.settings)
    ask = question(site, health_check, venv or Path(os.path.realpath(site.project.venv)))
    return until_good(ask, replace(patience, tries=min(patience.tries, _TRIES))).answer


def illness(error: ToolError, command: str) -> Unfit:
    """Say that the site is not well before anything has been changed by a command."""
    way_on = f"; `releaser {command} --force` goes on all the same" if command in _FORCED else ""
    return Unfit(
        f"the live site fails its health check: {error.message}",
        advice=f"See why it is not well, or correct `health_check` and the settings that go with it{way_on}.",
        output=error.output,
    )


def live_findings(site: Site, command: str = "update", *, venv: Path | None = None) -> Iterator[Unfit]:
    """Ask the site as it runs now, if there is a health check and a venv that it may run from."""
    if site.settings.health_check is None or not (venv or os.path.exists(site.project.venv / "bin" / "python")):
        return
    try:
        ask_live_site(site, site.settings.health_check, venv=venv)
    except ToolError as error:
        yield illness(error, command)
