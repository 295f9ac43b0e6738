"""`rebuild`: builds the live release again, and flips to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.checkout.checks import take_snapshot
from releaser.core.run import Run, new_log
from releaser.core.source import KeptVersions
from releaser.errors import refuse
from releaser.gates import foresee
from releaser.locks.installed import find_unbuildable, installed_key
from releaser.locks.origins import OriginFacts
from releaser.pipelines.deploy import deploy
from releaser.pipelines.due import may_go_live
from releaser.pipelines.preflight import Scope, check_unmoved, preflight
from releaser.pipelines.ready import find_requested, keep_ready
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.pipelines.workspaces import (
    ask_before,
    build_from_checkout,
    case_before,
    changes_lock,
    describe_python,
    explain_rebuild,
    open_aside,
    starting_lock,
    workspace_of,
)
from releaser.releases.acceptance import DeviationError, accept_or_refuse, foresee_refusal
from releaser.releases.integrity import find_live_damage
from releaser.releases.release import ADOPT, Release, lock_of, refuse_moved
from releaser.releases.store import ReleaseStore, store_of
from releaser.report import Plan, RunReport
from releaser.resolution.resolve import diff_to
from releaser.site.conventions import default_groups
from releaser.site.pythons import minor
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.site.site import Site, SiteFacts
    from releaser.system.sections import Section


def rebuild(request: Request, *, python: str | None = None, force: bool = False) -> RunReport:
    """Rebuild the live release and flip to the new one.

    `python` is the interpreter to build with, as uv's `--python` takes it; with `force`, the live site may be
    unhealthy.
    """
    return run_session(request, lambda run: _rebuild(run, python=python, force=force), check=_refuse_unadopted_site)


def _rebuild(run: Run, *, python: str | None, force: bool) -> PipelineResult:
    refuse_moved(run.store)
    refuse_unadopted(run.store)
    goes_live = may_go_live(run.log.sections.values())
    facts = preflight(run.site, run.log, Scope(asks=(), python=python, stays=goes_live, asks_others=False))
    live = run.store.live()
    ask_before(run, facts, force=force)
    built = build_from_checkout(run, facts, force=force, goes_live=goes_live)
    release = built.deployment.release
    if built.wait is not None:
        run.log.say(f"{built.wait.reason}.")
        waiting = keep_ready(run, release, built.wait)
        how = f"To make it live, run `{built.wait.request}`." if built.wait.request else ""
        return replace(waiting, headline=f"{release.id} is ready", advice=how)
    why = _explain(run.site, live, release)
    run.log.learn(rebuilt=why)
    run.log.note(*describe_python(facts.choice))
    deploy(run.site, run.log, built.deployment, built.snapshot)
    headline = f"rebuilt as {release.id}, with Python {release.manifest.python}: {why}"
    return PipelineResult(result="updated", headline=headline)


def _refuse_unadopted_site(site: Site) -> None:
    refuse_unadopted(store_of(site))


def refuse_unadopted(store: ReleaseStore) -> None:
    """Refuse if no release has been live yet. Raises PreflightError."""
    if not store.ledger().activations:
        refuse("nothing-live", "no release has been live yet, so none can be rebuilt", ADOPT)


def _explain(site: Site, live: Release | None, release: Release) -> str:
    """Explain why the live release is rebuilt."""
    if live is None:
        return "no release was live"
    if reason := explain_rebuild(site, live, find_live_damage(live)):
        return reason
    before, now = live.manifest.python, release.manifest.python
    return f"moved from Python {before} to {now} on request" if before != now else "a user requested it"


# The dry run


def plan_rebuild(site: Site, *, python: str | None = None, force: bool = False, asked: Sequence[Section] = ()) -> Plan:
    """Describe what would be rebuilt, and with which Python. `asked` are the facts with which such a run begins.

    Raises PreflightError, ResolutionError and BuildError.
    """
    store, log, goes_live = store_of(site), new_log("rebuild"), may_go_live(asked)
    for section in asked:
        log.add(section)
    refuse_unadopted(store)
    facts = check_unmoved(site, Scope(python=python, stays=goes_live, asks_others=False))
    live, version = store.live(), facts.choice.version
    files = OriginFacts.of(live and live.manifest).files
    try:
        kept = _plan_lock(site, facts)
        lock = kept.lock
        accept_or_refuse(site.state_dir, facts.lock, lock, files_before=files, root=site.project.root)
    except DeviationError as error:
        return Plan(would=foresee_refusal(site.state_dir, "rebuild", error))
    is_live = live and installed_key(facts.lock, python=version) == installed_key(lock_of(live), python=version)
    source = live.id if live and is_live else "the checkout"
    changed = "" if lock is facts.lock else ", with the changes below"
    ready = find_requested(site, facts, lock, take_snapshot(site, records=False).configuration)
    lines = [f"a release would be built from the lock of {source}{changed}, with Python {version}, and tested"]
    if ready is not None:
        lines = [f"{ready.id}, which passed its tests with Python {version}, would go live without another build"]
    missing = find_unbuildable(lock, group=facts.group, default_groups=default_groups(site), python=version)
    if missing:
        lines.append(f"{', '.join(missing)} has no build for Python {minor(version)}, so the rebuild would fail")
    elif goes_live:
        lines.append(f"{site.project.venv.name} would lead to the new release if its tests pass")
    lines += [finding.message for finding in kept.findings]
    lines += foresee(case_before(site, log, facts), force=force)
    return Plan(would=tuple(lines), changes=diff_to(live, lock, python=version))


def _plan_lock(site: Site, facts: SiteFacts) -> KeptVersions:
    """Return the lock to build from. If it differs from uv.lock, it is made in the temporary directory."""
    log = new_log("rebuild")
    work = workspace_of(site, log, facts)
    if not changes_lock(work):
        return KeptVersions(lock=facts.lock)
    with open_aside(site, log, facts) as work:
        return starting_lock(work, facts.lock)
