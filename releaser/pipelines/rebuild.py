"""`rebuild`: why the live release has to be rebuilt, and building a release from a lock as it is."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.build import seal
from releaser.candidate.lock_builds import lock_builds
from releaser.candidate.testing import build, run_tests
from releaser.checkout.checks import CheckoutSnapshot, find_changes, take_snapshot
from releaser.checkout.pull import as_checked_out
from releaser.checkout.staging import see_aside, stage_aside, staging_tree
from releaser.core.change import Deployment
from releaser.core.gate import Case
from releaser.core.run import Run, Workspace, new_log
from releaser.errors import BuildError, Finding, refuse
from releaser.gates import ask, examine, foresee
from releaser.locks.installed import find_unbuildable, installed_key
from releaser.locks.origins import OriginFacts
from releaser.pipelines.deploy import deploy
from releaser.pipelines.preflight import Scope, check_unmoved, preflight
from releaser.pipelines.recovery import undo_on_failure
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases import leases
from releaser.releases.acceptance import DeviationError, accept_or_refuse, foresee_refusal, note_refusals
from releaser.releases.integrity import Damage, explain_need_to_rebuild, find_live_damage, has_lost_python
from releaser.releases.release import ADOPT, Release, lock_of, refuse_moved
from releaser.releases.store import ReleaseStore, store_of
from releaser.releases.venv import VenvFacts, executable_of
from releaser.report import Plan, RunLog, RunReport
from releaser.resolution.another_python import KeptVersions, keep_installed, needs_keeping
from releaser.resolution.resolve import diff_to, read_made_lock, resolve_as_locked
from releaser.resolution.sources import mirror_sources
from releaser.site.conventions import default_groups
from releaser.site.pythons import Choice, find_request, minor
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.tools.uv import uninstallable_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.core.target import Target
    from releaser.site.site import Site, SiteFacts


_PAUSE = 1.0  # seconds between two looks at an interpreter: an upgrade of the system may be replacing it just now


class RebuildReason(Frozen):
    """Why the live release has to be rebuilt."""

    release: Release
    reason: str
    #: True if the release itself was changed, and not only its Python or the settings.
    is_damaged: bool
    #: True if nothing can run on it, so that the site is down.
    is_down: bool = False


def find_rebuild_reason(site: Site, choice: Choice, live: Release | None) -> RebuildReason | None:
    """Return why the live release has to be rebuilt; None if it need not be. Raises PreflightError."""
    refuse_unreadable_live(live)
    if live is None:
        return None
    found = find_live_damage(live)
    if found is not None and found.kind == "gone" and live.works():  # the failure may be temporary
        time.sleep(_PAUSE)
        found = find_live_damage(live)
    if reason := explain_rebuild(site, live, found):
        is_built = found is None and live.manifest.origin == "built"
        is_damaged = not is_built and not has_lost_python(live, found)
        is_down = found is not None and found.fatal
        return RebuildReason(release=live, reason=reason, is_damaged=is_damaged, is_down=is_down)
    request, built_with = find_request(site), live.manifest.python
    if request is None or request.admits(built_with) or minor(choice.version) == minor(built_with):
        return None
    reason = f"{request.name} is {request.version!r}, but it was built with Python {built_with}"
    return RebuildReason(release=live, reason=reason, is_damaged=False)


def refuse_unreadable_live(live: Release | None) -> None:
    """Refuse if the interpreter of the live release is hidden from releaser, but not gone. Raises PreflightError.

    It is hidden if it does not start here, while processes run on its file, which is not deleted.
    """
    if live is None or live.works() or not os.path.isdir(live.venv):
        return
    time.sleep(_PAUSE)
    if live.works():
        return
    interpreter = VenvFacts.of(live.manifest).interpreter
    executable = interpreter.executable if interpreter is not None else executable_of(live.venv / "bin" / "python")
    running = [pid for pid in leases.holders(str(live.directory)) if leases.executable(pid) == executable]
    if not running:
        return
    count = "1 process runs" if len(running) == 1 else f"{len(running)} processes run"
    message = (
        f"releaser cannot see the interpreter of the live release {live.id} ({executable}), but {count} on it:"
        f" {', '.join(map(str, running))}"
    )
    advice = (
        "Nothing was changed. A sandbox, a mount or permissions hide that file: give releaser access to it. To "
        "build with"
        " another interpreter, run `releaser rebuild`."
    )
    refuse("interpreter-hidden", message, advice)


def explain_rebuild(site: Site, live: Release, found: Damage | None) -> str:
    """Say why the live release, with the damage `found`, has to be rebuilt; empty if it need not be."""
    if reason := explain_need_to_rebuild(live, found):
        return reason
    # Only the setting counts: releaser's own choice may change with the disk.
    wanted, built_with = site.settings.link_mode, VenvFacts.of(live.manifest).link_mode
    if wanted is None or not built_with or wanted == built_with:
        return ""
    return f"`link_mode` is {wanted}, but it was built with {built_with}"


def describe_damage(rebuild: RebuildReason) -> Finding:
    """Return the finding for a live release that is rebuilt because it was changed."""
    message = f"the live release {rebuild.release.id} is damaged: {rebuild.reason}"
    advice = (
        "releaser builds a new release from its lock. Check who changed it: `uv sync` and `pip` write to the live venv."
    )
    return Finding("release-damaged", message=message, advice=advice)


def describe_python(choice: Choice) -> list[Finding]:
    """Return findings if the Python of the site is gone, or the requested one is not installed."""
    problems = []
    if choice.instead_of:
        message = (
            f"Python {minor(choice.instead_of)} is no longer installed. The site now runs on Python "
            f"{choice.version}, with"
            " which its tests pass"
        )
        advice = "The site stays on that version. To change it, run `releaser rebuild --python VERSION`."
        problems.append(Finding("python-gone", message=message, advice=advice))
    if request := choice.against:
        source = f"{request.source} is {request.version!r}"
        message = f"{source}, which is not installed; the site now runs on Python {choice.version}"
        advice = f"Set it to {minor(choice.version)!r}, or remove it. Until then, updates are refused."
        problems.append(Finding("python-not-installed", message=message, advice=advice))
    return problems


def rebuild(request: Request, *, python: str | None = None, force: bool = False) -> RunReport:
    """Rebuild the live release and flip to the new one.

    `python` is the interpreter to build with, as uv's `--python` takes it; with `force`, the live site may be
    unhealthy.
    """
    return run_session(request, lambda run: _rebuild(run, python=python, force=force), check=_refuse_unadopted_site)


def _rebuild(run: Run, *, python: str | None, force: bool) -> PipelineResult:
    refuse_moved(run.store)
    refuse_unadopted(run.store)
    facts = preflight(run.site, run.log, Scope(asks=(), python=python, asks_others=False))
    live = run.store.live()
    ask_before(run, facts, force=force)
    deployment, snapshot = build_from_checkout(run, facts, force=force)
    release = deployment.release
    why = _explain(run.site, live, release)
    run.log.learn(rebuilt=why)
    run.log.note(*describe_python(facts.choice))
    deploy(run.site, run.log, deployment, snapshot)
    headline = f"rebuilt as {release.id}, with Python {release.manifest.python}: {why}"
    return PipelineResult(result="updated", headline=headline)


def ask_before(run: Run, facts: SiteFacts, *, force: bool) -> None:
    """Ask the gates, before a staging tree is made, whether a release may be begun. Raises their refusals."""
    examine("begun", _case_before(run.site, run.log, facts), force=force)


def _case_before(site: Site, log: RunLog, facts: SiteFacts) -> Case:
    work = workspace_of(site, log, facts)
    return Case(work=work, lock=facts.lock, may_wait=False, is_repair=is_repair(work.live))


def workspace_of(site: Site, log: RunLog, facts: SiteFacts) -> Workspace:
    """Return a workspace for the code of `site`, which may be a staging tree."""
    return Workspace(
        site=site,
        log=log,
        facts=facts,
        before=facts,
        live=store_of(site).live(),
        examine_lock=lambda work, lock: examine("locked", Case(work=work, lock=lock)),
    )


def _refuse_unadopted_site(site: Site) -> None:
    refuse_unadopted(store_of(site))


def refuse_unadopted(store: ReleaseStore) -> None:
    """Refuse if no release has been live yet. Raises PreflightError."""
    if not store.ledger().activations:
        refuse("nothing-live", "no release has been live yet, so none can be rebuilt", ADOPT)


def is_repair(live: Release | None) -> bool:
    """True if a rebuild may repair the site: the live release is missing or damaged."""
    return live is None or find_live_damage(live) is not None


def _explain(site: Site, live: Release | None, release: Release) -> str:
    """Say why the live release is rebuilt."""
    if live is None:
        return "no release was live"
    if reason := explain_rebuild(site, live, find_live_damage(live)):
        return reason
    before, now = live.manifest.python, release.manifest.python
    return f"moved from Python {before} to {now} on request" if before != now else "a user requested it"


# The dry run


def plan_rebuild(site: Site, *, python: str | None = None, force: bool = False) -> Plan:
    """Say what would be rebuilt, and with which Python. Raises PreflightError, ResolutionError and BuildError."""
    store = store_of(site)
    refuse_unadopted(store)
    facts = check_unmoved(site, Scope(python=python, asks_others=False))
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
    lines = [f"a release would be built from the lock of {source}{changed}, with Python {version}, and tested"]
    missing = find_unbuildable(lock, group=facts.group, default_groups=default_groups(site), python=version)
    if missing:
        lines.append(f"{', '.join(missing)} has no build for Python {minor(version)}, so the rebuild would fail")
    else:
        lines.append(f"{site.project.venv.name} would lead to the new release if its tests pass")
    lines += [finding.message for finding in kept.findings]
    lines += foresee(_case_before(site, new_log("rebuild"), facts), force=force)
    return Plan(would=tuple(lines), changes=diff_to(live, lock, python=version))


@contextlib.contextmanager
def open_aside(site: Site, log: RunLog, facts: SiteFacts) -> Iterator[Workspace]:
    """Yield a workspace with the code that is checked out, in a temporary directory."""
    with temporary_directory() as base:
        target = as_checked_out(take_snapshot(site, records=False))
        yield workspace_aside(see_aside(site, base), log, facts, target)


def workspace_aside(seen: Site, log: RunLog, facts: SiteFacts, target: Target) -> Workspace:
    """Return a workspace next to the repository of `see_aside`. Raises BuildError and PreflightError."""
    return _workspace_in(stage_aside(seen, log, target, whole=target.moves), log, facts, aside=True)


def _workspace_in(tree: Site, log: RunLog, facts: SiteFacts, *, aside: bool = False) -> Workspace:
    mirror_sources(tree, log, aside=aside)
    return workspace_of(tree, log, replace(facts, uv=replace(facts.uv, lock_builds=lock_builds(tree))))


def _plan_lock(site: Site, facts: SiteFacts) -> KeptVersions:
    """Return the lock to build from. If it differs from uv.lock, it is made in the temporary directory."""
    log = new_log("rebuild")
    work = workspace_of(site, log, facts)
    if not needs_keeping(work):
        return KeptVersions(lock=facts.lock)
    with open_aside(site, log, facts) as work:
        return keep_installed(work, facts.lock)


# Building from a lock as it is


@contextlib.contextmanager
def open_workspace(
    site: Site, log: RunLog, facts: SiteFacts, target: Target, *, whole: bool = True
) -> Iterator[Workspace]:
    """Yield the workspace for candidates, in a staging tree of a commit; a failure undoes the work of the run.

    Unless `whole`, the tree only has the files for resolving, see `staging_tree`.
    """
    tree = staging_tree(site, log, target.commit, pulled=target.pulled, whole=whole)
    with undo_on_failure(site, log), tree as inside:
        yield _workspace_in(inside, log, facts)


def build_from_checkout(run: Run, facts: SiteFacts, *, force: bool) -> tuple[Deployment, CheckoutSnapshot]:
    """Build, test and seal a release from the lock of the checkout; return its deployment, and the snapshot to compare.

    Raises BuildError, TestsFailedError, MigrationsError and PreflightError.
    """
    site, log, snapshot = run.site, run.log, take_snapshot(run.site)
    run.find_changes = partial(find_changes, site, snapshot)
    target = as_checked_out(snapshot)
    with note_refusals(site.state_dir, log.failures), open_workspace(site, log, facts, target) as work:
        release, case = build_as_locked(work, force=force)
        wait = ask("ready", case, force=force)
        if wait is not None and wait.error is not None:
            store_of(site).record_waiting(release, wait.reason)  # its error says what to do with the release
            raise wait.error
    return Deployment(release=release, target=target), snapshot


def build_as_locked(work: Workspace, *, force: bool) -> tuple[Release, Case]:
    """Build, test and seal a release from the lock of the staging tree; return it with its case for the gates.

    No version is skipped. On another Python the installed versions stay, as `keep_installed` says. Raises BuildError,
    which names the packages without a build for this Python, PreflightError and ResolutionError.
    """
    kept = keep_installed(work, read_made_lock(work.site.project.root))
    work = work.starting_from(kept.lock)
    work.log.note(*kept.findings)
    resolution = resolve_as_locked(work, kept.lock)
    work.log.learn(changes=resolution.diff)
    groups, python = default_groups(work.site), work.facts.choice.version
    if missing := find_unbuildable(resolution.lock, group=work.facts.group, default_groups=groups, python=python):
        raise _unbuildable(missing, python)
    # A person wants the release now.
    case = Case.of(work, resolution, may_wait=False, is_repair=is_repair(work.live))
    examine("resolved", case, force=force)
    try:
        candidate = build(work, resolution)
    except BuildError as error:
        if failed := uninstallable_packages(error.output):
            raise _unbuildable(failed, python, output=error.output) from error
        raise
    run_tests(work, candidate)
    case = replace(case, venv=candidate.venv)
    return seal(work, candidate, tests="passed", facts=examine("tested", case, force=force)), case


def _unbuildable(packages: tuple[str, ...], python: str, *, output: str = "") -> BuildError:
    count = "1 package has" if len(packages) == 1 else f"{len(packages)} packages have"
    message = f"{count} no build for Python {python}: {', '.join(packages)}"
    advice = "Run `releaser update` first: newer versions may have a build. Or stay on the present Python."
    return BuildError(message, advice, output=output)
