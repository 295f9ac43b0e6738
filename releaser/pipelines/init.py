"""Adopting a project, so that `.venv` becomes a symlink that can be flipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.mark import mark_good
from releaser.checkout.guard import take_snapshot
from releaser.checkout.pull import as_checked_out
from releaser.checkout.staging import staging_tree
from releaser.deployment.activate import Deployment
from releaser.deployment.adopt import adopt, unsynced, venv_kind
from releaser.deployment.health_check import tell_illness
from releaser.deployment.post_flip import check_before_flip
from releaser.errors import Finding, PreflightError
from releaser.pipelines.activation import deploy
from releaser.pipelines.preflight import preflight
from releaser.pipelines.rebuild import build_as_locked
from releaser.pipelines.recovery import undo_on_failure
from releaser.pipelines.repair import accept_link
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases import link as links
from releaser.releases.link import moved_by_hand
from releaser.releases.store import store_of
from releaser.reporting.notify import warnings
from releaser.site.conventions import find_conventions

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.report import RunLog, RunReport
    from releaser.run import Run
    from releaser.site.site import Site, SiteFacts


_NEVER = {"override": "was built for a trial", "built": "failed its tests", "adopted": "failed its tests"}
# Measured: a worker that a server from before forks while an update goes live imports from both releases.
_RESTART = "Restart the site once before the first update, so that each of its processes holds on to one release."


def init(request: Request, *, force: bool = False) -> RunReport:
    """Adopt the project; without any venv, build one from the lock as it is. Doing it twice changes nothing.

    A venv that is not what the lock says is adopted by `force` alone.
    """
    return run_session(request, lambda run: _init(run, force=force))


def _init(run: Run, *, force: bool) -> PipelineResult:
    run.log.learn(chosen=find_conventions(run.site))
    facts = preflight(run.site, run.log)
    moved, what = moved_by_hand(run.store), venv_kind(run.site)
    if moved is not None:  # in an emergency it need not be what the lock says
        return _keep(run.site, run.log, _adopt_moved(run.site, run.log, facts))
    if what != "adopted" and not force and (differences := tuple(unsynced(run.site))):
        raise PreflightError(*differences)
    run.log.note(*warnings(run.site))
    release = adopt(run.site, run.log, facts)
    if release is not None:
        tell_illness(run.site, run.log)
    if what == "adopted" and release is not None:
        run.log.about(release, None)
        return PipelineResult(result="unchanged", headline=f"the project is already adopted; {release.id} is live")
    if release is None:
        release = _first_release(run.site, run.log, facts)
    run.log.about(release, None)
    headline = f"the project is adopted: {run.site.project.venv.name} leads to release {release.id}"
    return PipelineResult(result="activated", headline=headline, advice="" if what == "nothing" else _RESTART)


def _keep(site: Site, log: RunLog, release: Release) -> PipelineResult:
    log.about(release, None)
    headline = f"{site.project.venv.name} stays where it leads, and {release.id} counts as live from now on"
    return PipelineResult(result="activated", headline=headline, advice="Restart the site if that has not been done.")


def _adopt_moved(site: Site, log: RunLog, facts: SiteFacts) -> Release:
    """Make what somebody has let the symlink lead to the live release, as somebody asks for that; nothing is moved.

    A release stays what it is; another venv becomes one. Raises PreflightError or BuildError.
    """
    link, store = site.project.venv, store_of(site)
    ours = Path(os.path.realpath(link)).parent
    if store.live_id() is None and store.get(ours.name) is not None and ours == store.directory.resolve() / ours.name:
        links.flip(link, store.path(ours.name) / "venv", staging=site.state_dir)  # the same, as we write it
    live = store.live()
    if live is not None and live.manifest.never_live:
        message = f"{link} leads to {live.id}, which {_NEVER[live.manifest.origin]}, so it cannot stay there"
        raise PreflightError(Finding(message, advice=f"Go back: `releaser rollback {store.live_by_record()}`."))
    if live is None:
        live = adopt(site, log, facts)
        if live is None:
            raise PreflightError(moved_by_hand(store) or Finding(f"{link} leads to no venv"))
        mark_good(site, live)
    accept_link(site)
    return live


def _first_release(site: Site, log: RunLog, facts: SiteFacts) -> Release:
    snapshot, target = take_snapshot(site), as_checked_out(facts)
    with undo_on_failure(site, log), staging_tree(site, log, target.commit) as staged:
        release = build_as_locked(staged, log, facts, None)
        check_before_flip(staged, release.venv)
    deploy(site, log, Deployment(release=release, target=target, untracked=frozenset(facts.state.untracked)), snapshot)
    return release
