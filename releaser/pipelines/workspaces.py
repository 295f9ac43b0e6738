"""Workspaces for candidates, and building a release from a lock as it is."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from releaser.capabilities import gather, make
from releaser.checkout.checks import CheckoutSnapshot, find_changes, take_snapshot
from releaser.checkout.pull import as_checked_out
from releaser.checkout.staging import see_aside, stage_aside, staging_tree
from releaser.core.change import Deployment
from releaser.core.confinement import confinement
from releaser.core.gate import Case, Wait
from releaser.core.run import Run, Workspace
from releaser.core.source import KeptVersions
from releaser.errors import BuildError, Finding
from releaser.pipelines.decide import explain_unfit
from releaser.pipelines.ready import find_requested, take_ready
from releaser.pipelines.recovery import undo_on_failure
from releaser.releases.acceptance import note_refusals
from releaser.releases.integrity import Damage, explain_need_to_rebuild, find_live_damage
from releaser.releases.release import Release
from releaser.releases.store import store_of
from releaser.releases.venv import VenvFacts
from releaser.report import RunLog
from releaser.resolution.resolve import read_made_lock, resolve_as_locked
from releaser.site.conventions import default_groups
from releaser.site.pythons import Choice, minor
from releaser.site.supply import FailureWords
from releaser.system.frozen import Frozen, replace
from releaser.system.temporary import temporary_tree
from releaser.tools.uv import uninstallable_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.core.target import Target
    from releaser.locks.lock import LockFile
    from releaser.site.site import Site, SiteFacts


def is_repair(live: Release | None) -> bool:
    """True if a rebuild may repair the site: the live release is missing or damaged."""
    return live is None or find_live_damage(live) is not None


def ask_before(run: Run, facts: SiteFacts, *, force: bool) -> None:
    """Ask the gates, before a staging tree is made, whether a release may be begun. Raises their refusals."""
    from releaser.gates import examine

    examine("begun", case_before(run.site, run.log, facts), force=force)


def case_before(site: Site, log: RunLog, facts: SiteFacts) -> Case:
    """Return the case of a release that is rebuilt, before anything is built."""
    work = workspace_of(site, log, facts)
    return Case(work=work, lock=facts.lock, may_wait=False, is_repair=is_repair(work.live))


def changes_lock(work: Workspace) -> bool:
    """True if a run may start from another lock than that of the checkout or commit."""
    return any(start.applies(work) for start in make("starting_locks"))


def starting_lock(work: Workspace, lock: LockFile) -> KeptVersions:
    """Return the lock to start from: `lock`, unless a capability changes it. Raises ResolutionError."""
    kept = KeptVersions(lock=lock)
    for start in make("starting_locks"):
        if start.applies(work):
            made = start.make(work, kept.lock)
            kept = KeptVersions(lock=made.lock, findings=(*kept.findings, *made.findings))
    return kept


def workspace_of(site: Site, log: RunLog, facts: SiteFacts) -> Workspace:
    """Return a workspace for the code of `site`, which may be a staging tree."""
    return Workspace(
        site=site,
        log=log,
        facts=facts,
        before=facts,
        live=store_of(site).live(),
        examine_lock=_examine_lock,
    )


def _examine_lock(work: Workspace, lock: LockFile) -> Mapping[str, object]:
    from releaser.gates import examine

    return examine("locked", Case(work=work, lock=lock))


@contextlib.contextmanager
def open_aside(site: Site, log: RunLog, facts: SiteFacts) -> Iterator[Workspace]:
    """Yield a workspace with the code that is checked out, in a temporary directory."""
    with temporary_tree() as base:
        target = as_checked_out(take_snapshot(site, records=False))
        yield workspace_aside(see_aside(site, base), log, facts, target)


def workspace_aside(seen: Site, log: RunLog, facts: SiteFacts, target: Target) -> Workspace:
    """Return a workspace next to the repository of `see_aside`. Raises BuildError and PreflightError."""
    return _workspace_in(stage_aside(seen, log, target, whole=target.moves), log, facts, aside=True)


def _workspace_in(tree: Site, log: RunLog, facts: SiteFacts, *, aside: bool = False) -> Workspace:
    for prepare in gather("preparers"):
        prepare(tree, log, aside=aside)
    return workspace_of(tree, log, replace(facts, uv=replace(facts.uv, lock_builds=confinement().lock_builds(tree))))


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


class Built(Frozen):
    """A release from the lock of the checkout."""

    deployment: Deployment
    #: The checkout before the build, to compare.
    snapshot: CheckoutSnapshot
    #: The answer of a gate that keeps it from going live now; None if it may.
    wait: Wait | None


def build_from_checkout(run: Run, facts: SiteFacts, *, force: bool, goes_live: bool = True) -> Built:
    """Build, test and seal a release from the lock of the checkout, or take the one that a person had tested.

    Unless it `goes_live`, a failure of its tests makes no update skip it. Raises BuildError, TestsFailedError,
    MigrationsError and PreflightError.
    """
    from releaser.gates import ask

    site, log, snapshot = run.site, run.log, take_snapshot(run.site)
    run.find_changes = partial(find_changes, site, snapshot)
    target = as_checked_out(snapshot)
    with note_refusals(site.state_dir, log.failures), open_workspace(site, log, facts, target) as work:
        trial = None if goes_live else _trial_words(work)
        work = replace(work, configuration=snapshot.configuration, trial=trial, fresh=True)
        release, case = build_as_locked(work, force=force)
        wait = ask("ready", case, force=force)
        if wait is not None and wait.error is not None:
            request = wait.request or (release.lifecycle.request if release.lifecycle is not None else "")
            store_of(site).record_waiting(release, wait.reason, request=request)  # its error says what to do
            raise wait.error
    return Built(deployment=Deployment(release=release, target=target), snapshot=snapshot, wait=wait)


def build_as_locked(work: Workspace, *, force: bool) -> tuple[Release, Case]:
    """Build, test and seal a release from the lock of the staging tree; return it with its case for the gates.

    A ready release that waits for the request of a person is taken instead, if it is the same. No version is skipped.
    A capability may change the lock, such as to keep versions on another Python. Raises BuildError, which names the
    packages without a build for this Python, PreflightError and ResolutionError.
    """
    from releaser.gates import examine
    from releaser.locks.installed import find_unbuildable

    kept = starting_lock(work, read_made_lock(work.site.project.root))
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
    if (ready := find_requested(work.site, work.facts, resolution.lock, work.configuration)) is not None:
        return take_ready(work, ready), replace(case, venv=ready.venv)
    snapshot = store_of(work.site).snapshot()
    ready = snapshot.find_requestable()
    if ready is not None and ready.key.python == python and (why := explain_unfit(work, resolution, ready, snapshot)):
        work.log.say(f"{why}.")
    from releaser.candidate.build import seal  # slow to import, for an update without news
    from releaser.candidate.testing import build, run_tests

    try:
        candidate = build(work, resolution)
    except BuildError as error:
        if failed := uninstallable_packages(error.output):
            raise _unbuildable(failed, python, output=error.output) from error
        raise
    run_tests(work, candidate)
    case = replace(case, venv=candidate.venv)
    return seal(work, candidate, tests="passed", facts=examine("tested", case, force=force)), case


def _trial_words(work: Workspace) -> FailureWords:
    """Return the words for failed tests of a release that would not have gone live."""
    stay = f"the site stays on Python {work.live.manifest.python}" if work.live is not None else "the site stays"
    return FailureWords(
        news=f"with Python {work.facts.choice.version}",
        before="before",
        verdict="",
        again=f"{stay}, nothing is on hold, and updates continue as before.",
        then=" first.",
    )


def _unbuildable(packages: tuple[str, ...], python: str, *, output: str = "") -> BuildError:
    count = "1 package has" if len(packages) == 1 else f"{len(packages)} packages have"
    message = f"{count} no build for Python {python}: {', '.join(packages)}"
    advice = "Run `releaser update` first: newer versions may have a build. Or stay on the present Python."
    return BuildError(message, advice, output=output)


def describe_python(choice: Choice) -> list[Finding]:
    """Return findings if the Python of the site is gone, or the requested one is not installed."""
    problems = []
    if choice.instead_of:
        message = (
            f"Python {minor(choice.instead_of)} is no longer installed. The site now runs on Python {choice.version},"
            " with which its tests pass"
        )
        advice = "The site stays on that version. To change it, run `releaser rebuild --python VERSION`."
        problems.append(Finding("python-gone", message, advice))
    if request := choice.against:
        source = f"{request.source} is {request.version!r}"
        message = f"{source}, which is not installed; the site now runs on Python {choice.version}"
        advice = f"Set it to {minor(choice.version)!r}, or remove it. Until then, updates are refused."
        problems.append(Finding("python-not-installed", message, advice))
    return problems


def explain_rebuild(site: Site, live: Release, found: Damage | None) -> str:
    """Explain why the live release, with the damage `found`, has to be rebuilt; empty if it need not be."""
    if reason := explain_need_to_rebuild(live, found):
        return reason
    # Only the setting counts: releaser's own choice may change with the disk.
    wanted, built_with = site.settings.link_mode, VenvFacts.of(live.manifest).link_mode
    if wanted is None or not built_with or wanted == built_with:
        return ""
    return f"`link_mode` is {wanted}, but it was built with {built_with}"
