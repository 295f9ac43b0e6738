"""`init`: adopts a project, so that `.venv` becomes a symlink that can be flipped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.results import mark_good
from releaser.core.adoption import adopter, venv_kind
from releaser.errors import BuildError, Finding, PreflightError, ToolError, refuse, refuse_any
from releaser.pipelines.deploy import deploy
from releaser.pipelines.preflight import Scope, check, preflight
from releaser.pipelines.repair import accept_link
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.pipelines.workspaces import ask_before, build_from_checkout
from releaser.releases.release import Release, find_moved_link, flip
from releaser.releases.store import store_of
from releaser.report import Plan, RunLog, RunReport
from releaser.reporting.mail_setup import warnings
from releaser.serving.restarts import restart_of
from releaser.serving.servers import unrestarted_warnings
from releaser.site.conventions import ConventionsSection, find_conventions
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from releaser.core.run import Run
    from releaser.site.site import Site, SiteFacts


_NEVER = {"override": "was built for a trial", "built": "failed its tests", "adopted": "failed its tests"}
# Measured: a worker that an old server forks during a flip imports from both releases.
_RESTART = "Restart the site once before the first update, so that each of its processes stays on one release."


def init(request: Request, *, force: bool = False) -> RunReport:
    """Adopt the project; without a venv, build one from the lock. A second call changes nothing.

    A venv that differs from the lock needs `force`.
    """
    return run_session(request, lambda run: adopt_project(run, force=force))


def adopt_project(run: Run, *, force: bool, python: str | None = None) -> PipelineResult:
    """Adopt the project within a run; `python` is the interpreter to build with, as uv's `--python` takes it."""
    run.log.add(ConventionsSection(chosen=find_conventions(run.site)))
    facts = preflight(run.site, run.log, Scope(python=python))
    moved, what = find_moved_link(run.store), venv_kind(run.site)
    if moved is not None:  # in an emergency, it may differ from the lock
        kept = _adopt_moved(run.site, run.log, facts)
        run.log.set_releases(kept, None)
        headline = f"{run.site.project.venv.name} stays as it is, and {kept.id} is now the live release"
        advice = "Restart the site unless you have done so."
        return PipelineResult(result="updated", headline=headline, advice=advice)
    if what != "adopted":
        differences = () if force else adopter().find_unsynced(run.site)
        refuse_any(*adopter().find_open(run.site), *differences)
    run.log.note(*warnings(run.site), *unrestarted_warnings(run.site))
    adopt(run.site, run.log, facts)
    release = run.store.live()
    if release is not None:
        ask_before(run, facts, force=True)
    if what == "adopted" and release is not None:
        run.log.set_releases(release, None)
        return PipelineResult(result="no-changes", headline=f"the project is already adopted; {release.id} is live")
    if release is None:
        built = build_from_checkout(run, facts, force=True)
        release = built.deployment.release
        deploy(run.site, run.log, built.deployment, built.snapshot)
    run.log.set_releases(release, None)
    headline = f"the project is adopted: {run.site.project.venv.name} leads to release {release.id}"
    return PipelineResult(result="updated", headline=headline, advice="" if what == "nothing" else _RESTART)


def adopt(site: Site, log: RunLog, facts: SiteFacts) -> bool:
    """Turn a venv that is not a release into the first release; true if there was one. Hides releaser's files from git.

    Raises PreflightError and BuildError.
    """
    refuse_any(*adopter().find_open(site))
    exclude(site, facts)
    return adopter().adopt(site, log, facts)


def _adopt_moved(site: Site, log: RunLog, facts: SiteFacts) -> Release:
    """Accept the target of a symlink that a person has moved as the live release, and leave the symlink there.

    A venv that is no release becomes one. Raises PreflightError or BuildError.
    """
    link, store = site.project.venv, store_of(site)
    ours = Path(os.path.realpath(link)).parent
    if store.live_id() is None and store.get(ours.name) is not None and ours == store.directory.resolve() / ours.name:
        flip(link, store.path(ours.name) / "venv", staging=site.state_dir)  # the same target, as releaser writes it
    live = store.live()
    if live is not None and live.manifest.never_live:
        message = f"{link} leads to {live.id}, which {_NEVER[live.manifest.origin]} and cannot be the live release"
        refuse("release-never-live", message, f"Run `releaser rollback {store.live_by_record()}`.")
    if live is None:
        adopt(site, log, facts)
        live = store.live()
        if live is None:
            raise PreflightError(find_moved_link(store) or Finding("not-a-venv", f"{link} does not lead to a venv"))
        mark_good(site, live)
    accept_link(site)
    return live


def exclude(site: Site, facts: SiteFacts) -> None:
    """Hide releaser's files in the work tree from `git status`. Raises BuildError."""
    places, restart_file = [site.project.venv, site.project.state_dir], restart_of(site).restart_file(site)
    if restart_file is not None and not _is_known_to_git(site, restart_file):
        places.append(restart_file)
    try:
        site.git.exclude(*places)
    except OSError as error:
        path = facts.checkout.layout.common_directory / "info" / "exclude"
        message = f"{path} cannot be written: {error.strerror}"
        raise BuildError(message, f"Give this user write access to {path}.") from error


def _is_known_to_git(site: Site, path: Path) -> bool:
    name = os.path.relpath(path, site.project.root)
    try:
        return site.git.ignores(name) or name in site.git.tracked_files()
    except ToolError:
        return True


def plan_init(site: Site, *, force: bool = False) -> Plan:
    """Describe what adopting the project would do; `force` accepts any venv. Raises PreflightError."""
    differences = tuple(adopter().find_unsynced(site))
    beside = (*adopter().find_open(site), *(() if force else differences))
    check(replace(site, findings=(*site.findings, *beside)), store_of(site).live(), Scope(asks=("remote", "django")))
    findings = (*differences, *adopter().find_dropped_packages(site))
    return Plan(would=(*map(str, find_conventions(site)), *(one.message for one in findings), _adoption(site)))


def _adoption(site: Site) -> str:
    link, live = site.project.venv, store_of(site).live()
    if find_moved_link(store_of(site)) is not None:
        return f"the target of {link.name} would become the live release"
    if live is not None:
        return f"the project is already adopted; {live.id} is live"
    if link.is_symlink() and (link / "pyvenv.cfg").is_file():
        return f"the venv that {link.name} leads to would become the first release"
    if link.is_dir():
        return f"{link.name} would become the first release, and a symlink to it"
    return "a first release would be built from uv.lock and tested"
