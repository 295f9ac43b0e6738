"""The health check behind a restart: asking the site until it is well, and until it is the new release that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.project import serving
from releaser.project.live_site import patience_of, question
from releaser.report.outcome import Answer
from releaser.tools.health import stay_good, until_good

if TYPE_CHECKING:
    from collections.abc import Callable

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
    ask = question(run.site, settings.health_check, release.venv)
    restarts = _restarts(run)
    watches = restarts and turnover.can_be_seen
    try:
        said = _ask(ask, settings, turnover, watches=watches)
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


def _ask(ask: Callable[[], str], settings: Settings, turnover: Turnover, *, watches: bool) -> str:
    """Ask until the new release answers well; where nobody can tell who answers, for `health_seconds`.

    Every answer must be good in that time. But when it goes back, one that is not may still come from the release that
    is left: then it starts again, as long as there are tries.
    """
    patience = patience_of(settings)
    if watches:
        said = until_good(ask, patience, is_settled=lambda: turnover.look().is_settled)
        if said.settled and turnover.sees_all and turnover.look().proves_it:
            return said.answer
    else:
        said = until_good(ask, patience)
    for left in range(patience.tries if turnover.goes_back else 1, 0, -1):
        try:
            stay_good(ask, seconds=settings.health_seconds, pause=settings.health_pause)
        except ToolError:
            if left == 1:
                raise
            until_good(ask, patience)
        else:
            break
    seconds = settings.health_seconds
    return f"{said.answer}, and kept answering well for {seconds:g} s" if seconds else said.answer
