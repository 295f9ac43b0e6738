"""Builds a release from a lock, in a staging tree."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.candidate.build import build, seal
from releaser.candidate.lock_builds import lock_builds
from releaser.candidate.migrations import look_at_migrations
from releaser.candidate.testing import run_tests
from releaser.checkout.checks import take_snapshot
from releaser.checkout.pull import as_checked_out
from releaser.checkout.staging import staging_tree
from releaser.deployment.activate import Deployment
from releaser.deployment.post_flip import check_before_flip
from releaser.errors import BuildError
from releaser.locks.installed import find_unbuildable
from releaser.pipelines.recovery import undo_on_failure
from releaser.releases.acceptance import note_refusals
from releaser.releases.store import store_of
from releaser.reporting.hooks import ask_before_live
from releaser.resolution.resolve import resolve_as_locked
from releaser.resolution.sources import mirror_sources
from releaser.run import Workspace
from releaser.site.conventions import default_groups
from releaser.tools.uv import uninstallable_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.checkout.checks import CheckoutSnapshot
    from releaser.checkout.pull import Target
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


@contextlib.contextmanager
def open_workspace(site: Site, log: RunLog, facts: SiteFacts, target: Target) -> Iterator[Workspace]:
    """Yield what candidates are built with, in a staging tree of a commit; a failure undoes what the run began."""
    tree = staging_tree(site, log, target.commit, pulled=target.pulled)
    with undo_on_failure(site, log), tree as inside:
        mirror_sources(inside, log)
        facts = replace(facts, uv=replace(facts.uv, lock_builds=lock_builds(inside)))
        yield Workspace(site=inside, log=log, facts=facts, before=facts, live=store_of(site).live())


def build_from_checkout(site: Site, log: RunLog, facts: SiteFacts) -> tuple[Deployment, CheckoutSnapshot]:
    """Build what is locked in the checkout, test it and seal it; return what is to go live, unless somebody changes it.

    Raises BuildError, TestsFailedError, MigrationsError and PreflightError.
    """
    snapshot, target = take_snapshot(site), as_checked_out(facts)
    with note_refusals(site.state_dir, log.failures), open_workspace(site, log, facts, target) as work:
        release = build_as_locked(work)
        check_before_flip(work.site, release.venv)
        ask_before_live(work.site, log, release.venv)
    return Deployment(release=release, target=target), snapshot


def build_as_locked(work: Workspace) -> Release:
    """Build what is locked in the staging tree, test it and seal it.

    Nothing is left out. Raises BuildError, which names what has no build for this Python, and PreflightError.
    """
    resolution = resolve_as_locked(work, None)
    work.log.learn(changes=resolution.diff)
    groups, python = default_groups(work.site), work.facts.choice.version
    if missing := find_unbuildable(resolution.lock, group=work.facts.group, default_groups=groups, python=python):
        raise _unbuildable(missing, python)
    try:
        candidate = build(work, resolution)
    except BuildError as error:
        if failed := uninstallable_packages(error.output):
            raise _unbuildable(failed, python, output=error.output) from error
        raise
    run_tests(work, candidate)
    return seal(work, look_at_migrations(work, candidate), tests="passed")


def _unbuildable(packages: tuple[str, ...], python: str, *, output: str = "") -> BuildError:
    count = "1 package has" if len(packages) == 1 else f"{len(packages)} packages have"
    message = f"{count} no build for Python {python}: {', '.join(packages)}"
    advice = (
        "Run `releaser update` first, which may bring versions that have one, or stay on the Python that they support."
    )
    return BuildError(message, advice=advice, output=output)
