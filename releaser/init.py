"""Adopting a project, so that `.venv` becomes a symlink that can be flipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.golive import go_live
from releaser.recovery import undone_on_failure
from releaser.releases.whereabouts import moved_by_hand
from releaser.steps.adopt import adopt, found_at
from releaser.steps.mend import adopt_moved
from releaser.steps.renewal import renewed
from releaser.update import preflight

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.report.outcome import RunReport
    from releaser.run import Run


def init(request: Request) -> RunReport:
    """Adopt the project; without any venv, build one from the lock as it is. Doing it twice changes nothing."""
    return conduct(request, _init)


def _init(run: Run) -> Ending:
    fitness = preflight(run)
    moved, what = moved_by_hand(run.store), found_at(run)
    if moved is not None:
        return _keep(run, adopt_moved(run, fitness))
    release = adopt(run, fitness)
    if what == "adopted" and release is not None:
        run.about(release, None)
        return Ending(result="unchanged", headline=f"the project is adopted already; {release.id} is live")
    if release is None:
        release = _first_release(run, fitness)
    run.about(release, None)
    link = run.site.project.venv.name
    return Ending(result="activated", headline=f"the project is adopted: {link} leads to release {release.id}")


def _keep(run: Run, release: Release) -> Ending:
    run.about(release, None)
    headline = f"{run.site.project.venv.name} stays where it leads, and {release.id} counts as live from now on"
    return Ending(result="activated", headline=headline, advice="Restart the site if that has not been done.")


def _first_release(run: Run, fitness: Fitness) -> Release:
    with undone_on_failure(run):
        release = renewed(run, fitness, None)
    go_live(run, release)
    return release
