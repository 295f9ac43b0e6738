"""Builds a candidate that passes its tests, without the upgrades that break the tests or cannot be built."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from releaser.candidate.build import Unbuildable, describe_changes_of, try_to_build
from releaser.candidate.culprit_settings import CulpritSettings
from releaser.candidate.culprits import CulpritSearch
from releaser.candidate.output import complaint
from releaser.candidate.partial_locks import partial_locks
from releaser.candidate.results import Fault, put_on_hold
from releaser.candidate.testing import Failed, find_blame, first_failure, note_failure, steady_failure
from releaser.candidate.trials import install_test_packages
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.staging import prepare_tree
from releaser.errors import BuildError, Finding, ReleaserError, ResolutionError, os_reason
from releaser.locks.bisect import Budget
from releaser.locks.blocks import CulpritsSection
from releaser.locks.changes import changes_between
from releaser.locks.versions import is_newer, normalize_name
from releaser.releases.blocks import change_blocks, read_blocks
from releaser.releases.release import lock_of
from releaser.releases.retention import remove_unsealed
from releaser.releases.store import store_of
from releaser.resolution.resolve import diff_to, is_as_live
from releaser.resolution.rules import all_holds
from releaser.system.files import write_new_file
from releaser.system.frozen import Mutable, replace
from releaser.system.words import first_few
from releaser.tools.uv import unbuildable_packages

if TYPE_CHECKING:
    from releaser.candidate.build import Candidate
    from releaser.core.run import Workspace
    from releaser.core.source import FailedVersions, Resolution, ResolveAgain
    from releaser.locks.blocks import Block
    from releaser.locks.lock import LockFile


logger = logging.getLogger(__name__)


class Builder(Mutable):
    """Builds the candidates of one update, all with the same code, Python and group."""

    work: Workspace
    #: The limits of the search for culprits.
    budget: Budget
    #: Resolves once more, with the holds of that moment; None if the lock is given.
    again: ResolveAgain | None
    #: The upgrades that a search for culprits left undecided when its limits were reached.
    undecided: tuple[Block, ...] = ()

    @property
    def ships(self) -> bool:
        """True if the other upgrades go live without those that break the tests or cannot be built."""
        return self.again is not None and CulpritSettings.of(self.work.site).culprits == "hold"

    @property
    def live_lock(self) -> LockFile:
        """The lock of the live release."""
        return lock_of(self.work.live)

    def build(self, resolution: Resolution) -> Candidate | Unbuildable:
        """Build a candidate, if necessary without the upgrades that cannot be built. Raises BuildError.

        Returns Unbuildable if nothing new is left, or if the failure has another cause.
        """
        while True:
            built = try_to_build(self.work, resolution)
            if not isinstance(built, Unbuildable):
                try:
                    with install_test_packages(self.work.site, built.venv, built.lock):
                        pass  # the packages that only the tests need can be installed, too
                except BuildError as error:
                    built = Unbuildable(
                        candidate=built, message=error.message, advice=error.advice, output=error.output
                    )
                else:
                    return describe_changes_of(self.work, built)
            self.discard(built.candidate)
            rest = self._without_unbuildable(resolution, built)
            if rest is None:
                return built
            resolution = rest

    def _without_unbuildable(self, resolution: Resolution, built: Unbuildable) -> Resolution | None:
        """Put upgrades that cannot be built on hold; None if nothing new is left, or if no upgrade is the cause."""
        versions = resolution.lock.versions
        found = ((normalize_name(name), version) for name, version in unbuildable_packages(built.output))
        failed = frozenset(name for name, version in found if versions.get(name) == version)
        if not failed or not self.ships:
            return None
        locks = partial_locks(self.work, resolution)
        try:
            upgrades = locks.upgrades()
            kept = tuple(name for name in upgrades if name not in failed)
            lower = locks.with_upgrades(kept, without=tuple(sorted(failed)))
        except ResolutionError:  # the error of the build says more
            return None
        if not failed <= {*upgrades} or any(lower.versions[name] == versions[name] for name in failed):
            return None
        printed = "\n".join(line.strip() for line in built.output.splitlines())  # uv indents what the build has printed
        fault = Fault(words=f"it cannot be built{complaint(printed)}", output=built.output)
        put_on_hold(self.work, resolution.lock, dict.fromkeys(sorted(failed), fault))
        if self.equals_live(lower):
            return None
        write_new_file(self.work.site.project.lock, lower.data)
        diff = diff_to(self.work.live, lower, python=self.work.facts.choice.version)
        return replace(resolution, lock=lower, diff=diff)

    def resolve_again(self, failed: FailedVersions) -> Resolution | None:
        """Resolve again, with the present holds; None without a solution, or if the lock is given."""
        try:
            renew_tree(self.work.site)
            return self.again(failed) if self.again is not None else None
        except ResolutionError:
            return None

    def equals_live(self, lock: LockFile) -> bool:
        """True if a release from this lock would be the same as the live release."""
        site, live = self.work.site, self.work.live
        return live is not None and site.pulled is None and is_as_live(site, lock, live)

    def discard_if_live(self, candidate: Candidate | None) -> Candidate | None:
        """Return a candidate; if it is the same as the live release, delete it and return None."""
        if candidate is None or not self.equals_live(candidate.resolution.lock):
            return candidate
        self.discard(candidate)
        return None

    def discard(self, candidate: Candidate | None) -> None:
        """Delete a candidate that is of no further use; files that cannot be deleted are reported at the end."""
        if candidate is None:
            return
        try:
            remove_unsealed(self.work.site, self.work.log, candidate.directory)
        except OSError as error:  # it must not hide why the candidate failed
            self.work.log.undeletable(candidate.directory.name, os_reason(error))


def build_and_test(work: Workspace, resolution: Resolution, again: ResolveAgain | None) -> Candidate:
    """Return a candidate that passes its tests, without the upgrades that break them or cannot be built.

    `again` resolves again with the holds of that moment. Raises TestsFailedError or BuildError if nothing newer
    than the live release passes.
    """
    site, log, held_before = work.site, work.log, read_blocks(work.site.state_dir).by("tests")
    budget = Budget(runs=CulpritSettings.of(site).culprit_runs, seconds=CulpritSettings.of(site).culprit_minutes * 60)
    builder = Builder(work=work, budget=budget, again=again)
    prepare_tree(site, log)
    result = _build_without_culprits(builder, resolution)
    passing = None if isinstance(result, Failed | Unbuildable) else result
    if passing is not None:  # its versions need no hold any more
        versions = passing.resolution.lock.versions
        change_blocks(
            site.state_dir, lambda blocks: blocks.without(lambda block: block.by == "tests" and block.is_in(versions))
        )
    blocks = read_blocks(site.state_dir)
    is_held_now = not set(blocks.by("tests")) <= set(held_before)
    # Without culprits, a new commit may be the cause, and lower versions would not help.
    if is_held_now and not builder.undecided and (not isinstance(result, Failed) or CulpritsSection.of(log).culprits):
        passing = _with_lower_versions(builder, passing, base_passes=not isinstance(result, Unbuildable))
        blocks = read_blocks(site.state_dir)
    lock = builder.live_lock if passing is None else passing.resolution.lock
    held = (*all_holds(resolution.on_hold, blocks, lock), *builder.undecided)
    log.learn(on_hold=held)
    if passing is not None:
        renew_tree(site)  # failed candidates ran in it, too, and the release works in it until the flip
        log.learn(blame="")
        _report_on(work, passing)
        return replace(passing, resolution=replace(passing.resolution, on_hold=held))
    if isinstance(result, Failed):
        _report_on(work, result.candidate)
        raise result.error()
    assert isinstance(result, Unbuildable)  # noqa: S101 - a passing candidate is only replaced by a newer one
    log.learn(changes=resolution.diff)
    raise result.error()


def _build_without_culprits(builder: Builder, resolution: Resolution) -> Candidate | Failed | Unbuildable:
    """Build and test a candidate; if it fails, return one without the upgrades that break the tests."""
    work, site = builder.work, builder.work.site
    candidate = builder.build(resolution)
    if isinstance(candidate, Unbuildable):
        return candidate
    _report_on(work, candidate)
    failed = first_failure(work, candidate)
    if failed is None:
        return candidate
    blame = find_blame(work, failed)
    may_search = blame == "update" and builder.again is not None  # a lock that is given goes live unchanged, or not
    searches = may_search and CulpritSettings.of(site).culprits != "off" and bool(candidate.resolution.diff)
    if searches:
        failed = steady_failure(work, candidate, failed)
        if failed is None:
            return candidate
    searches = searches or (may_search and site.pulled is not None)
    failure = note_failure(work, candidate, failed, blame, blocks=not searches)
    if not searches:
        return failure
    builder.budget.begin()
    builder.budget.spent = 1  # the repeated run
    locks = partial_locks(work, candidate.resolution)
    return CulpritSearch(builder=builder, failure=failure, locks=locks).search()


def _report_on(work: Workspace, candidate: Candidate) -> None:
    """Record a candidate as the subject of the report."""
    work.log.set_releases(candidate, work.live)
    work.log.learn(changes=candidate.resolution.diff)


def _with_lower_versions(builder: Builder, passing: Candidate | None, *, base_passes: bool) -> Candidate | None:
    """Return a candidate that adds the next lower versions of failed packages, if its tests pass; else `passing`.

    They are tried once. If the tests fail with a single new version, but pass with the live release or `passing`, that
    version is put on hold, too. Of several new versions, the next update finds the culprit.
    """
    work, base = builder.work, builder.live_lock if passing is None else passing.resolution.lock
    resolution = builder.resolve_again("out") if builder.budget.in_time else None
    if resolution is None or builder.equals_live(resolution.lock) or not _list_newer(base, resolution.lock):
        return passing
    try:
        candidate = builder.build(resolution)
        if isinstance(candidate, Unbuildable):
            return passing
        failed = first_failure(work, candidate)
        failed = failed and steady_failure(work, candidate, failed)
    except (ReleaserError, OSError) as error:  # `passing` can still go live
        if isinstance(error, ReleaserError):
            work.log.note_failure(error, follow_up=False)
        logger.warning("the next lower versions cannot be tried: %s", error)
        kept = passing.directory if passing else None
        for place in set(store_of(work.site).incomplete()) - {kept}:
            remove_unsealed(work.site, work.log, place)
        return passing
    if failed is None:
        builder.discard(passing)
        return candidate
    builder.discard(candidate)
    news = _list_newer(base, candidate.resolution.lock)
    versions = candidate.resolution.lock.versions
    if base_passes and len(news) == 1:
        put_on_hold(work, candidate.resolution.lock, dict.fromkeys(news, Fault.of(failed)))
    else:
        message = f"{first_few(f'{name} {versions[name]}' for name in news)} break the tests as well: {failed.fault}"
        work.log.note(
            Finding(
                "culprits-with-others", message=message, advice="The next update searches for the culprit among them."
            )
        )
    return passing


def _list_newer(base: LockFile, lock: LockFile) -> list[str]:
    """Name the packages that are newer in a lock than in `base`."""
    changes = changes_between(base.versions, lock.versions)
    return [change.name for change in changes if change.old and change.new and is_newer(change.new, change.old)]
