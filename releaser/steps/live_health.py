"""The health check before anything is changed: a site that is down already, or a check that is wrong, is told then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ToolError
from releaser.project.live_site import ask_live_site, illness
from releaser.releases.soundness import is_dead
from releaser.run import problem_of

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.run import Run
    from releaser.steps.renewal import Renewal


def check_live_site(run: Run, due: Renewal | None = None, *, force: bool = False, adopting: Path | None = None) -> None:
    """Ask the live site before a release is built. Raises PreflightError if it is not well.

    That is only reported if a person goes on by `force`, or if the live release is `due` to be repaired. It is not
    asked where nothing can run on that anyway. A site that is not adopted yet runs on the venv `adopting`.
    """
    _look(run, refuses=not force and (due is None or due.blameless), adopting=adopting)


def tell_illness(run: Run) -> None:
    """Ask the live site, and report if it is not well."""
    _look(run, refuses=False)


def _look(run: Run, *, refuses: bool, adopting: Path | None = None) -> None:
    live = run.store.live()
    runs = adopting is not None or (live is not None and not is_dead(live))
    if run.site.settings.health_check is None or not runs:
        return
    with run.recorder.step("live health check") as step:
        try:
            step.says(ask_live_site(run.site, run.site.settings.health_check, venv=adopting))
        except ToolError as error:
            found = illness(error, run.command)
            if refuses:
                raise PreflightError((found,)) from error
            step.warns(error.message)
            run.draft.problems.append(problem_of(found))
