"""`restart` with any other value: runs it as a command."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.core.restart import Restart
from releaser.errors import error_line
from releaser.site.restart_settings import RestartSettings
from releaser.system import signals
from releaser.system.environment import own_path
from releaser.system.venv_environment import inside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.report import Step
    from releaser.site.site import Site


class Command(Restart):
    """Runs the command, and names the services that it leaves running."""

    def program(self, site: Site) -> str | None:
        """Return the first word of the command."""
        return RestartSettings.of(site).restart[0]

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Run the command. Raises ToolError."""
        words, mark = list(RestartSettings.of(site).restart), os.urandom(8).hex()
        line = error_line(run_restart(site, words, venv, {signals.SERVICE_MARK: mark}))
        left = site.runner.redactor.clean(", ".join(signals.name_services(mark)))
        step.says(": ".join(filter(None, (words[0], line))) + (f"; it left {left} running" if left else ""))


def ask_program(site: Site, words: list[str]) -> str:
    """Run a program for a check, without the venv on PATH, so that no package can replace it; return its output.

    Raises ToolError.
    """
    env = {**site.runner.neutral, "PATH": own_path(site.runner.environ)}
    return site.runner.run(
        words, cwd=site.project.root, env=env, timeout=RestartSettings.of(site).restart_timeout
    ).output


def run_restart(site: Site, words: list[str], venv: Path, more: Mapping[str, str] | None = None) -> str:
    """Run a restart program with `more` environment variables, and return its output. It may leave a service running.

    Raises ToolError.
    """
    env, settings = {**inside(venv, site.runner.live_environ), **(more or {})}, RestartSettings.of(site)
    limit, leaves = settings.restart_timeout, settings.restart_leaves_service
    return site.runner.run(words, cwd=site.project.root, env=env, timeout=limit, may_leave_service=leaves).output
