"""The health check: after a flip, and of the live site before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ToolError
from releaser.releases.integrity import cannot_run
from releaser.releases.store import store_of
from releaser.report import Answer
from releaser.site import serving
from releaser.site.serving import ask_live_site, patience_of, question, unhealthy_finding
from releaser.tools.web import stay_good, until_good

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from releaser.deployment.processes import RestartCheck
    from releaser.report import RunLog, Step
    from releaser.site.settings import Settings
    from releaser.site.site import Site


_KEPT = 4000  # characters of what a command printed


def health_check(site: Site, log: RunLog, check: RestartCheck, step: Step) -> None:
    """Ask the site until it is well, or until the patience that is set has run out. Raises ToolError.

    If it can be told, it is asked until processes that began after the flip have taken over. That they have not is no
    failure of the release, but a problem that is reported; or a remark, if there may be none that can be seen.
    """
    settings, release = site.settings, check.target
    if settings.health_check is None:
        step.skipped("none is set")
        return
    ask = question(site, settings.health_check, release.venv)
    restarts = _restarts(site)
    watches = restarts and check.can_be_seen
    try:
        said = _ask(ask, settings, check, watches=watches)
    except ToolError as error:
        output = error.output if len(error.output) <= _KEPT else f"...{error.output[-_KEPT:]}"
        log.answer(Answer(release=release.id, good=False, text=error.message, body=output))
        if watches and (seen := check.look()).has_left:  # then they may be the ones who answered
            log.note(*filter(None, [check.problem(seen)]))
        raise
    log.answer(Answer(release=release.id, good=True, text=said))
    step.says(said)
    if watches:
        _report(log, check, step, said)
    elif restarts and check.shows_processes:
        step.says(f"{said}; {check.look().summary}")


def _report(log: RunLog, check: RestartCheck, step: Step, said: str) -> None:
    seen = check.look()
    problem = check.problem(seen)
    if problem is None:
        step.says(f"{said}; {seen.summary}")
        return
    step.warns(f"{said}, but {problem.message}")
    log.note(problem)


def _restarts(site: Site) -> bool:
    """Whether anything was to be restarted."""
    restart = site.settings.restart
    return restart != ("none",) and (restart != ("auto",) or serving.restart_file(site) is not None)


def _ask(ask: Callable[[], str], settings: Settings, check: RestartCheck, *, watches: bool) -> str:
    """Ask until the new release answers well; where nobody can tell who answers, for `health_seconds`.

    Every answer must be good in that time. But when it goes back, one that is not may still come from the release that
    is left: then it starts again, as long as there are tries.
    """
    patience = patience_of(settings)
    if watches:
        said = until_good(ask, patience, is_settled=lambda: check.look().is_settled)
        if said.settled and check.sees_all and check.look().proves_it:
            return said.answer
    else:
        said = until_good(ask, patience)
    for left in range(patience.tries if check.goes_back else 1, 0, -1):
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


def check_live_site(site: Site, log: RunLog, *, force: bool = False, adopting: Path | None = None) -> None:
    """Ask the live site before a release is built. Raises PreflightError if it is not well.

    That is only reported with `force`: a person wants to go on, or the live release is to be repaired. It is not asked
    where nothing can run on that anyway. A site that is not adopted yet runs on the venv `adopting`.
    """
    _look(site, log, refuses=not force, adopting=adopting)


def tell_illness(site: Site, log: RunLog) -> None:
    """Ask the live site, and report if it is not well."""
    _look(site, log, refuses=False)


def _look(site: Site, log: RunLog, *, refuses: bool, adopting: Path | None = None) -> None:
    live = store_of(site).live()
    runs = adopting is not None or (live is not None and not cannot_run(live))
    if site.settings.health_check is None or not runs:
        return
    with log.step("live health check") as step:
        try:
            step.says(ask_live_site(site, site.settings.health_check, venv=adopting))
        except ToolError as error:
            found = unhealthy_finding(error, log.command)
            if refuses:
                raise PreflightError(found) from error
            step.warns(error.message)
            log.note(found)
