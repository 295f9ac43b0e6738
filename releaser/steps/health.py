"""The health check behind a restart: asking the site until it is well."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from releaser.tools.environment import inside
from releaser.tools.health import Check, Patience, ask_url, is_url, until_good

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from releaser.project.settings import Settings
    from releaser.report.recorder import Step
    from releaser.run import Run


def health_check(run: Run, venv: Path, step: Step) -> None:
    """Ask the site until it is well, or until the patience that is set has run out. Raises ToolError."""
    settings = run.site.settings
    if settings.health_check is None:
        step.skipped("none is set")
        return
    step.says(until_good(_question(run, settings.health_check, venv), _patience(settings)))


def _patience(settings: Settings) -> Patience:
    return Patience(timeout=settings.health_timeout, tries=settings.health_retries + 1, pause=settings.health_pause)


def _question(run: Run, check: str, venv: Path) -> Callable[[], str]:
    settings = run.site.settings
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
        env = inside(venv, run.site.runner.environ)
        run.site.runner.run(words, cwd=run.site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} says yes"

    return ask
