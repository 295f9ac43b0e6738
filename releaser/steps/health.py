"""The health check behind a restart: asking the site until it is well, and until it is the new release that answers."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.project import serving
from releaser.report.outcome import Answer
from releaser.tools.environment import inside
from releaser.tools.health import Check, Patience, ask_url, is_url, until_good

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from releaser.project.settings import Settings
    from releaser.report.recorder import Step
    from releaser.run import Run
    from releaser.steps.turnover import Turnover

_KEPT = 4000  # characters of what a command printed


def health_check(run: Run, turnover: Turnover, step: Step) -> None:
    """Ask the site until it is well, or until the patience that is set has run out. Raises ToolError.

    If it can be told, it is asked until processes that began after the flip have taken over. That they have not is no
    failure of the release, but a problem that is reported; or a remark, if there may be none that can be seen.
    """
    settings, release = run.site.settings, turnover.target
    if settings.health_check is None:
        step.skipped("none is set")
        return
    ask = _question(run, settings.health_check, release.venv)
    restarts = _restarts(run)
    watches = restarts and turnover.can_be_seen
    try:
        if watches:
            said = until_good(ask, _patience(settings), is_settled=lambda: turnover.look().is_settled)
        else:
            said = until_good(ask, _patience(settings))
    except ToolError as error:
        output = error.output if len(error.output) <= _KEPT else f"...{error.output[-_KEPT:]}"
        run.draft.answers.append(Answer(release=release.id, good=False, text=error.message, body=output))
        if watches and (seen := turnover.look()).has_left:  # then they may be the ones who answered
            run.draft.problems += filter(None, [turnover.doubt(seen)])
        raise
    run.draft.answers.append(Answer(release=release.id, good=True, text=said))
    step.says(said)
    if watches:
        _report(run, turnover, step, said)
    elif restarts and turnover.shows_processes:
        step.says(f"{said}; {turnover.look().summary}")


def _report(run: Run, turnover: Turnover, step: Step, said: str) -> None:
    seen = turnover.look()
    doubt = turnover.doubt(seen)
    if doubt is None:
        step.says(f"{said}; {seen.summary}")
        return
    step.warns(f"{said}, but {doubt.message}")
    run.draft.problems.append(doubt)


def _restarts(run: Run) -> bool:
    """Whether anything was to be restarted."""
    restart = run.site.settings.restart
    return restart != ("none",) and (restart != ("auto",) or serving.restart_file(run.site) is not None)


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
        env = inside(venv, run.site.runner.site_environ)
        run.site.runner.run(words, cwd=run.site.project.root, env=env, timeout=settings.health_timeout)
        return f"{words[0]} says yes"

    return ask
