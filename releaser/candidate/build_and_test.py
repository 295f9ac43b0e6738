"""A candidate that works: upgrades that cannot be built or that break the tests are held back, the others come in."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.candidate.build import Unbuildable, describe_changes_of, try_to_build
from releaser.candidate.culprits import CulpritSearch
from releaser.candidate.lower_versions import add_lower_versions
from releaser.candidate.mark import Fault, hold_again, hold_back, list_held
from releaser.candidate.partial_locks import TrialInstall, partial_locks
from releaser.candidate.test_output import complaint
from releaser.candidate.testing import Failed, find_blame, first_failure, note_failure, reject, steady_failure
from releaser.candidate.trials import install_test_packages
from releaser.checkout.staging import staging_tree
from releaser.errors import BuildError, ResolutionError, os_reason
from releaser.locks.bisect import Budget
from releaser.locks.changes import LockDiff
from releaser.locks.versions import normalize_name
from releaser.releases.pruning import remove_unsealed
from releaser.releases.quarantine import change_holds, read_holds
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key, is_as_live, lock_of
from releaser.resolution.rules import Lower
from releaser.tools.uv import unbuildable_packages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.candidate.build import Candidate
    from releaser.candidate.trials import TrialResult
    from releaser.locks.lock import LockFile
    from releaser.releases.quarantine import CandidateKey
    from releaser.report import RunLog
    from releaser.resolution.resolve import FailedVersions, Resolution, ResolveAgain
    from releaser.site.site import Site, SiteFacts


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds the candidates of one update, all with the same code, Python and group."""

    site: Site
    log: RunLog
    facts: SiteFacts
    #: How fit the project was before new commits came in, to try what is live with.
    before: SiteFacts
    #: What tells the first candidate from others; the others differ in their locks alone.
    key: CandidateKey
    budget: Budget
    #: Resolves once more, with what is held by then; None where the lock is given.
    again: ResolveAgain | None

    @property
    def holds_back(self) -> bool:
        """Whether what breaks the tests is to be held back, and the rest to go live."""
        return self.again is not None and self.site.settings.culprits == "hold"

    @property
    def live(self) -> LockFile:
        """The lock of the live release."""
        return lock_of(store_of(self.site).live())

    def build(self, resolution: Resolution) -> Candidate | Unbuildable:
        """Build a candidate, without the upgrades that cannot be built, if something new is left. Raises BuildError."""
        while True:
            built = self._build(resolution)
            if not isinstance(built, Unbuildable):
                return describe_changes_of(self.log, built)
            self.discard(built.candidate)
            rest = self._without_unbuildable(resolution, built)
            if rest is None:
                return built
            resolution = rest

    def _build(self, resolution: Resolution) -> Candidate | Unbuildable:
        key = replace(self.key, lock_sha256=resolution.lock.key)
        built = try_to_build(self.site, self.log, self.facts, resolution, key)
        if isinstance(built, Unbuildable):
            return built
        try:
            with install_test_packages(self.site, built.venv, built.lock):
                return built  # what only the tests need can be built as well
        except BuildError as error:
            return Unbuildable(candidate=built, message=error.message, advice=error.advice, output=error.output)

    def _without_unbuildable(self, resolution: Resolution, built: Unbuildable) -> Resolution | None:
        """Hold back what cannot be built; None if nothing new is left, or if that is not the cause."""
        site, live, versions = self.site, self.live, resolution.lock.versions
        found = ((normalize_name(name), version) for name, version in unbuildable_packages(built.output))
        failed = frozenset(name for name, version in found if versions.get(name) == version)
        if site.settings.culprits != "hold" or not failed:
            return None
        locks = partial_locks(site, self.facts, resolution)
        try:
            upgrades = locks.upgrades()
            kept = tuple(name for name in upgrades if name not in failed)
            lesser = locks.with_upgrades(kept, without=tuple(sorted(failed)))
        except ResolutionError:  # the build has failed anyway, which says more
            return None
        if not failed <= {*upgrades} or any(lesser.versions[name] == versions[name] for name in failed):
            return None
        printed = "\n".join(line.strip() for line in built.output.splitlines())  # uv indents what the build has printed
        fault = Fault(words=f"it cannot be built{complaint(printed)}", output=built.output)
        hold_back(site, resolution.lock, self.key, dict.fromkeys(sorted(failed), fault))
        if self.would_be_live(lesser):
            return None
        (resolution.tree / "uv.lock").write_bytes(lesser.data)
        diff = LockDiff.between(live, lesser) if live.data else LockDiff(changes=())
        return replace(resolution, lock=lesser, diff=diff)

    def resolve_again(self, failed: FailedVersions, lower: Lower | None) -> Resolution | None:
        """Resolve once more, with what is held by now; None if there is no solution, or nobody can tell."""
        try:
            return self.again(failed, lower) if self.again is not None else None
        except ResolutionError:
            return None

    def would_be_live(self, lock: LockFile) -> bool:
        """Whether a release of a lock would be the live one once more."""
        live = store_of(self.site).live()
        return live is not None and self.site.pulled is None and is_as_live(self.site, lock, live)

    def unless_live(self, candidate: Candidate | None) -> Candidate | None:
        """Return a candidate, or delete it if all that is new in it does not go live."""
        if candidate is None or not self.would_be_live(candidate.resolution.lock):
            return candidate
        self.discard(candidate)
        return None

    def discard(self, candidate: Candidate | None) -> None:
        """Delete a candidate that neither goes live nor tells anything; what cannot be deleted is noted for the end."""
        if candidate is None:
            return
        try:
            remove_unsealed(self.site, self.log, candidate.directory)
        except OSError as error:  # it must not hide why the candidate is no good
            self.log.undeletable(candidate.directory.name, os_reason(error))

    def discard_all_but(self, kept: Candidate | None) -> None:
        """Delete what an error has left of other candidates. Raises OSError."""
        for place in store_of(self.site).incomplete():
            if kept is None or place != kept.directory:
                remove_unsealed(self.site, self.log, place)


def build_and_test(
    site: Site,
    log: RunLog,
    facts: SiteFacts,
    resolution: Resolution,
    *,
    before: SiteFacts,
    again: ResolveAgain | None,
) -> Candidate:
    """Return a candidate that passes its tests, without the upgrades that break them or cannot be built.

    `again` resolves once more with what is held by then. Raises TestsFailedError or BuildError when nothing newer than
    what is live passes.
    """
    settings, held_before = site.settings, read_holds(site.state_dir)
    key = candidate_key(site, facts, resolution.lock)
    budget = Budget(runs=settings.culprit_runs, seconds=settings.culprit_minutes * 60)
    builder = Builder(site=site, log=log, facts=facts, before=before, key=key, budget=budget, again=again)
    result = _build_without_culprits(builder, resolution)
    passing = None if isinstance(result, Failed | Unbuildable) else result
    if passing is not None:  # of which nobody can say that the tests fail with it
        versions = passing.resolution.lock.versions
        change_holds(site.state_dir, lambda holds: holds.without_live(versions))
    if again is not None and read_holds(site.state_dir) != held_before:
        passing = add_lower_versions(builder, passing)
        if isinstance(result, Failed | Unbuildable):
            passing = builder.unless_live(passing)
    held = list_held(site, resolution, builder.live if passing is None else passing.resolution.lock)
    log.learn(held_back=held)
    if passing is not None:
        passing = replace(passing, resolution=replace(passing.resolution, held_back=held))
        log.learn(blame="")
        _report_on(site, log, passing)
        return passing
    if isinstance(result, Failed):
        _report_on(site, log, result.candidate)
        raise result.error()
    assert isinstance(result, Unbuildable)  # noqa: S101 - what has passed is only replaced by something newer
    log.learn(changes=resolution.diff.changes)
    raise result.error()


def _build_without_culprits(builder: Builder, resolution: Resolution) -> Candidate | Failed | Unbuildable:
    """Build and test; if it fails with what is known to fail, the others go live without a search."""
    site, log = builder.site, builder.log
    candidate = builder.build(resolution)
    if isinstance(candidate, Unbuildable):
        return candidate
    _report_on(site, log, candidate)
    versions, live = candidate.resolution.lock.versions, builder.live.versions
    tries = read_holds(site.state_dir).tries_in(versions, live)
    if not builder.holds_back or not tries:
        return _test(builder, candidate, first_failure(site, log, builder.facts, candidate))
    builder.budget.spent += 1
    failed = first_failure(site, log, builder.facts, candidate)
    if failed is None:
        return candidate
    rest = builder.resolve_again("rest", Lower(stay={name: live[name] for name in tries if name in live}))
    if rest is None or builder.would_be_live(rest.lock):
        return _test(builder, candidate, failed)
    others = builder.build(rest)
    if isinstance(others, Unbuildable):
        builder.discard(candidate)
        return others
    _report_on(site, log, others)
    result = _test(builder, others, first_failure(site, log, builder.facts, others))
    is_ill = isinstance(result, Failed) and result.blame != "update"
    reject(site, log, candidate, failed, "before" if is_ill else "update")
    if result is others:  # else what failed may have been what was found to break the others
        hold_again(site, candidate, tries, Fault.of(failed))
        log.found_culprits(f"{name} {versions[name]}" for name in tries)
    return result


def _test(builder: Builder, candidate: Candidate, failed: TrialResult | None) -> Candidate | Failed:
    """Return a candidate that has not failed, or one without the upgrades that break the tests."""
    site, log, settings = builder.site, builder.log, builder.site.settings
    if failed is None:
        return candidate
    blame = find_blame(site, log, builder.before, failed)
    searches = blame == "update" and settings.culprits != "off" and bool(candidate.resolution.diff)
    if searches:
        failed = steady_failure(site, log, builder.facts, candidate, failed)
        if failed is None:
            return candidate
    failure = note_failure(site, log, candidate, failed, blame, unfinished=searches)
    if blame != "update" or not (searches or site.pulled):
        return failure
    builder.budget.begin()
    builder.budget.spent = max(builder.budget.spent, 1)  # the run that was repeated
    with _tree_beside(site, log) as beside:
        locks = partial_locks(site, builder.facts, candidate.resolution)
        trees = [site] if beside is None else [site, beside]
        installs = [TrialInstall(site=one, facts=builder.facts, locks=locks) for one in trees]
        return CulpritSearch(builder=builder, failure=failure, locks=locks, installs=installs).search()


@contextlib.contextmanager
def _tree_beside(site: Site, log: RunLog) -> Iterator[Site | None]:
    """Yield the site in another staging tree, if tests may run side by side; None if not, or if there is no room."""
    with contextlib.ExitStack() as stack:
        beside = None
        if site.settings.test_jobs > 1 and site.staged is not None:
            tree = staging_tree(site.outside, log, site.staged.commit, stage="stage beside", pulled=site.pulled)
            try:
                beside = stack.enter_context(tree)
            except BuildError as error:
                log.failed(error, follow_up=False)
        yield beside


def _report_on(site: Site, log: RunLog, candidate: Candidate) -> None:
    """Make the report about a candidate."""
    live = store_of(site).live()
    log.learn(release=candidate.id, previous=live.id if live else None)
    log.learn(changes=candidate.resolution.diff.changes)
