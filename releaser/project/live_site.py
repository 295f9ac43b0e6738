"""How the live site is asked: what the settings of the health check say, put as a question."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from releaser.tools.environment import inside
from releaser.tools.health import Check, Patience, ask_url, is_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from releaser.project.settings import Settings
    from releaser.project.site import Site


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
        env = inside(venv, site.runner.environ)
        site.runner.run(words, cwd=site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} says yes"

    return ask


def patience_of(settings: Settings) -> Patience:
    """Return how often to ask, and for how long."""
    return Patience(timeout=settings.health_timeout, tries=settings.health_retries + 1, pause=settings.health_pause)
