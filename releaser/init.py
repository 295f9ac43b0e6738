"""Adopting a project, so that `.venv` becomes a symlink that can be flipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import PreflightError
from releaser.golive import go_live
from releaser.project.chosen import chosen
from releaser.project.telling import warnings
from releaser.recovery import undone_on_failure
from releaser.releases.whereabouts import moved_by_hand
from releaser.run import problem_of
from releaser.steps.adopt import adopt, found_at
from releaser.steps.guard import read_basis
from releaser.steps.live_health import tell_illness
from releaser.steps.mend import adopt_moved
from releaser.steps.pull import as_checked_out
from releaser.steps.renewal import renewed
from releaser.steps.settle import look_before
from releaser.steps.staging import staging_tree
from releaser.steps.unsynced import unsynced
from releaser.update import preflight

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.report.outcome import RunReport
    from releaser.run import Run

# Measured: a worker that a server from before forks while an update goes live imports from both releases.
_RESTART = "Restart the site once before the first update, so that each of its processes holds on to one release."


def init(request: Request, *, force: bool = False) -> RunReport:
    """Adopt the project; without any venv, build one from the lock as it is. Doing it twice changes nothing.

    A venv that is not what the lock says is adopted by `force` alone.
    """
    return conduct(request, lambda run: _init(run, force=force))


def _init(run: Run, *, force: bool) -> Ending:
    run.draft.chosen = chosen(run.site)
    fitness = preflight(run)
    moved, what = moved_by_hand(run.store), found_at(run)
    if moved is not None:  # in an emergency it need not be what the lock says
        return _keep(run, adopt_moved(run, fitness))
    if what != "adopted" and not force and (differences := tuple(unsynced(run.site))):
        raise PreflightError(differences)
    run.draft.problems += map(problem_of, warnings(run.site))
    release = adopt(run, fitness)
    if release is not None:
        tell_illness(run)
    if what == "adopted" and release is not None:
        run.about(release, None)
        return Ending(result="unchanged", headline=f"the project is adopted already; {release.id} is live")
    if release is None:
        release = _first_release(run, fitness)
    run.about(release, None)
    headline = f"the project is adopted: {run.site.project.venv.name} leads to release {release.id}"
    return Ending(result="activated", headline=headline, advice="" if what == "nothing" else _RESTART)


def _keep(run: Run, release: Release) -> Ending:
    run.about(release, None)
    headline = f"{run.site.project.venv.name} stays where it leads, and {release.id} counts as live from now on"
    return Ending(result="activated", headline=headline, advice="Restart the site if that has not been done.")


def _first_release(run: Run, fitness: Fitness) -> Release:
    basis, target = read_basis(run.site), as_checked_out(fitness)
    with undone_on_failure(run), staging_tree(run, target.commit) as staged:
        release = renewed(staged, fitness, None)
        look_before(staged, release.venv)
    go_live(run, release, target, basis)
    return release
