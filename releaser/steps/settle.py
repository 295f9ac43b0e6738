"""What follows a flip so that the site runs on the new release: its Python, static files, restart, health check."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import ActivationError, PreflightError, ToolError, gist
from releaser.project import serving
from releaser.project.static import static_findings
from releaser.releases import processes
from releaser.releases.soundness import is_dead
from releaser.steps.follow_ups import attempt, note_unsettled, unsettled
from releaser.steps.health import health_check
from releaser.steps.python_start import start_python
from releaser.steps.static import collectstatic
from releaser.steps.turnover import Turnover, in_use, moment
from releaser.tools import webserver
from releaser.tools.django import is_django
from releaser.tools.environment import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.report.recorder import Step
    from releaser.run import Run
    from releaser.tools.process import Finished

log = logging.getLogger(__name__)


def settle(run: Run, entry: Entry, release: Release) -> Entry:
    """Do each step that the journal does not have as done, and note it there; return the journal's last entry.

    Raises ActivationError, which names the step.
    """
    turnover = Turnover(
        target=release,
        origin=run.store.get(entry.origin),
        flipped_at=moment(entry.flipped_at, entry.boot),
        was_used=entry.was_used,
    )
    for name, act in STEPS.items():
        if name in entry.done:
            continue
        with run.recorder.step(name) as step:
            try:
                act(run, turnover, step)
            except ToolError as error:
                raise failure_of(name, error) from error
        entry = entry.moved(entry.phase, done=(*entry.done, name))
        try:
            run.journal.insist(entry)
        except OSError as error:  # after a crash the step would be done once more
            log.warning("%s is done, which cannot be noted: %s", name, error)
    return entry


def settle_what_failed(run: Run) -> None:
    """Do again what failed behind the flip to the live release, and what comes behind that.

    There was no way back from it. What fails again is reported, and due once more. Where nothing can run, nothing is
    restarted.
    """
    release = run.store.live()
    due = unsettled(run.site.project.state_dir, release)
    if release is None or not due or is_dead(release):
        return
    turnover = Turnover(target=release, origin=None, flipped_at=processes.now(), was_used=in_use(release))
    done: list[str] = []
    for name, act in STEPS.items():
        if name not in due and not done:
            continue
        # Who restarts nothing need not wait for new processes.
        looked_for = turnover if "restart" in done else replace(turnover, was_used=False)
        if attempt(run, name, partial(act, run, looked_for)):
            done.append(name)
            due -= {name}
        else:
            due |= {name}
    note_unsettled(run, release, due)
    if not due:
        names = " and ".join(done)
        run.draft.noted.append(f"Steps that failed after {release.id} went live have now succeeded: {names}.")


def failure_of(name: str, error: ToolError) -> ActivationError:
    """Say that a step failed, and why."""
    reason = gist(error.output)
    because = f" ({reason[:200]})" if reason and reason not in error.message else ""
    failure = ActivationError(f"{name} failed: {error.message}{because}", advice=error.advice, output=error.output)
    failure.step, failure.blameless = name, isinstance(error.__cause__, OSError)
    return failure


def look_before(run: Run, venv: Path) -> None:
    """See that the steps behind the flip can be done, before anything is flipped. Raises PreflightError."""
    settings, root = run.site.settings, run.site.project.root
    problems = [*serving.program_findings(run.site, venv), *serving.restart_findings(run.site)]
    if settings.collectstatic != "off" and is_django(root):  # a pull may have changed STATIC_ROOT, or a package
        with contextlib.suppress(ToolError):  # which collectstatic will say
            problems += static_findings(run.site, venv)
    if problems:
        raise PreflightError(tuple(problems))


def restart(run: Run, venv: Path, step: Step) -> None:
    """Tell the web server to reload the site, in the way that is set. Raises ToolError."""
    match run.site.settings.restart:
        case ("none",):
            step.skipped("switched off")
        case ("auto",):
            _touch(run, step)
        case ("passenger",):
            step.says(": ".join(filter(None, ("passenger-config", _restart_passenger(run, venv)))))
        case words:
            finished = _start(run, list(words), venv)
            step.says(": ".join(filter(None, (words[0], gist(finished.output)))))


def _restart_passenger(run: Run, venv: Path) -> str:
    try:
        finished = _start(run, webserver.passenger_arguments(serving.app_root(run.site)), venv)
    except ToolError as error:
        webserver.passenger_result(error.output)  # the reason does not stand where other programs have it
        raise
    return webserver.passenger_result(finished.output)


def _touch(run: Run, step: Step) -> None:
    root, file = run.site.project.root, serving.restart_file(run.site)
    if file is None:
        step.skipped("no config/tmp/ or tmp/ with a restart.txt")
        return
    webserver.touch(file)
    step.says(f"touched {file.relative_to(root) if file.is_relative_to(root) else file}")


def _start(run: Run, words: list[str], venv: Path) -> Finished:
    return run.site.runner.run(
        words,
        cwd=run.site.project.root,
        env=inside(venv, run.site.runner.site_environ),
        timeout=run.site.settings.restart_timeout,
        stays=True,
    )


# In this order, behind every flip; each may be done twice.
STEPS: Mapping[str, Callable[[Run, Turnover, Step], None]] = {
    "python start": lambda run, turnover, step: start_python(run, turnover.target, step),
    "collectstatic": lambda run, turnover, step: collectstatic(run, turnover.target.venv, step),
    "restart": lambda run, turnover, step: restart(run, turnover.target.venv, step),
    "health check": lambda run, turnover, step: health_check(run, turnover, step),
}
