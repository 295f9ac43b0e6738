"""A candidate that works: upgrades that cannot be built or that break the tests are held back, the others come in."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.candidate.build import Unbuildable, describe_changes_of, try_to_build
from releaser.candidate.culprits import CulpritSearch
from releaser.candidate.output import complaint, failing_tests
from releaser.candidate.partial_locks import partial_locks, trial_installs
from releaser.candidate.results import Fault, hold_again, hold_back, list_held
from releaser.candidate.testing import Failed, find_blame, first_failure, note_failure, reject, steady_failure
from releaser.candidate.trials import install_test_packages
from releaser.checkout.leftovers import renew_tree
from releaser.checkout.staging import prepare_tree
from releaser.errors import BuildError, ReleaserError, ResolutionError, os_reason
from releaser.locks.bisect import Budget
from releaser.locks.lock import changes_between
from releaser.locks.versions import is_newer, normalize_name
from releaser.releases.quarantine import change_holds, read_holds
from releaser.releases.release import lock_of
from releaser.releases.retention import remove_unsealed
from releaser.releases.store import store_of
from releaser.resolution.resolve import diff_to, is_as_live
from releaser.resolution.rules import Lower
from releaser.run import Workspace
from releaser.system.files import write_new_file
from releaser.tools.uv import unbuildable_packages

if TYPE_CHECKING:
    from releaser.candidate.build import Candidate
    from releaser.candidate.trials import TrialResult
    from releaser.locks.lock import LockFile
    from releaser.resolution.resolve import Resolution, ResolveAgain
    from releaser.resolution.rules import FailedVersions


logger = logging.getLogger(__name__)


class Builder(Workspace):
    """Builds the candidates of one update, all with the same code, Python and group."""

    budget: Budget
    #: Resolves once more, with what is held by then; None where the lock is given.
    again: ResolveAgain | None

    @property
    def holds_back(self) -> bool:
        """Whether what breaks the tests is to be held back, and the rest to go live."""
        return self.again is not None and self.site.settings.culprits == "hold"

    @property
    def live_lock(self) -> LockFile:
        """The lock of the live release."""
        return lock_of(self.live)

    def build(self, resolution: Resolution) -> Candidate | Unbuildable:
        """Build a candidate, without the upgrades that cannot be built, if something new is left. Raises BuildError."""
        while True:
            built = try_to_build(self, resolution)
            if not isinstance(built, Unbuildable):
                try:
                    with install_test_packages(self.site, built.venv, built.lock):
                        pass  # what only the tests need can be built as well
                except BuildError as error:
                    built = Unbuildable(
                        candidate=built, message=error.message, advice=error.advice, output=error.output
                    )
                else:
                    return describe_changes_of(self, built)
            self.discard(built.candidate)
            rest = self._without_unbuildable(resolution, built)
            if rest is None:
                return built
            resolution = rest

    def _without_unbuildable(self, resolution: Resolution, built: Unbuildable) -> Resolution | None:
        """Hold back what cannot be built; None if nothing new is left, or if that is not the cause."""
        versions = resolution.lock.versions
        found = ((normalize_name(name), version) for name, version in unbuildable_packages(built.output))
        failed = frozenset(name for name, version in found if versions.get(name) == version)
        if self.site.settings.culprits != "hold" or self.site.settings.follows or not failed:
            return None
        locks = partial_locks(self, resolution)
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
        hold_back(self, resolution.lock, dict.fromkeys(sorted(failed), fault))
        if self.would_be_live(lesser):
            return None
        write_new_file(self.site.project.lock, lesser.data)
        return replace(resolution, lock=lesser, diff=diff_to(self.live, lesser, python=self.facts.choice.version))

    def resolve_again(self, failed: FailedVersions, lower: Lower | None) -> Resolution | None:
        """Resolve once more, with what is held by now; None if there is no solution, or nobody can tell."""
        try:
            renew_tree(self.site)
            return self.again(failed, lower) if self.again is not None else None
        except ResolutionError:
            return None

    def would_be_live(self, lock: LockFile) -> bool:
        """Whether a release of a lock would be the live one once more."""
        return self.live is not None and self.site.pulled is None and is_as_live(self.site, lock, self.live)

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


def build_and_test(work: Workspace, resolution: Resolution, again: ResolveAgain | None) -> Candidate:
    """Return a candidate that passes its tests, without the upgrades that break them or cannot be built.

    `again` resolves once more with what is held by then. Raises TestsFailedError or BuildError when nothing newer than
    what is live passes.
    """
    site, log, held_before = work.site, work.log, read_holds(work.site.state_dir)
    budget = Budget(runs=site.settings.culprit_runs, seconds=site.settings.culprit_minutes * 60)
    builder = Builder(**vars(work), budget=budget, again=again)
    prepare_tree(site, log)
    result = _build_without_culprits(builder, resolution)
    passing = None if isinstance(result, Failed | Unbuildable) else result
    if passing is not None:  # of which nobody can say that the tests fail with it
        versions = passing.resolution.lock.versions
        change_holds(site.state_dir, lambda holds: holds.without_live(versions))
    if again is not None and read_holds(site.state_dir) != held_before:
        passing = _add_lower_versions(builder, passing)
        if isinstance(result, Failed | Unbuildable):
            passing = builder.unless_live(passing)
    held = list_held(site, resolution, builder.live_lock if passing is None else passing.resolution.lock)
    log.learn(held_back=held)
    if passing is not None:
        renew_tree(site)  # what failed has been there, too, and what is to go live works in it
        log.learn(blame="")
        _report_on(builder, passing)
        return replace(passing, resolution=replace(passing.resolution, held_back=held))
    if isinstance(result, Failed):
        _report_on(builder, result.candidate)
        raise result.error()
    assert isinstance(result, Unbuildable)  # noqa: S101 - what has passed is only replaced by something newer
    log.learn(changes=resolution.diff)
    raise result.error()


def _build_without_culprits(builder: Builder, resolution: Resolution) -> Candidate | Failed | Unbuildable:
    """Build and test; if it fails with what is known to fail, the others go live without a search."""
    candidate = builder.build(resolution)
    if isinstance(candidate, Unbuildable):
        return candidate
    _report_on(builder, candidate)
    versions, live = candidate.resolution.lock.versions, builder.live_lock.versions
    tries = read_holds(builder.site.state_dir).tries_in(versions, live)
    failed = first_failure(builder, candidate)
    if not builder.holds_back or not tries:
        return _test(builder, candidate, failed)
    builder.budget.spent += 1
    if failed is None:
        return candidate
    rest = builder.resolve_again("rest", Lower(stay={name: live[name] for name in tries if name in live}))
    if rest is None or builder.would_be_live(rest.lock):
        return _test(builder, candidate, failed)
    others = builder.build(rest)
    if isinstance(others, Unbuildable):
        builder.discard(candidate)
        return others
    _report_on(builder, others)
    result = _test(builder, others, first_failure(builder, others))
    is_ill = isinstance(result, Failed) and result.blame != "update"
    reject(builder, candidate, failed, "before" if is_ill else "update")
    if result is others:  # else what failed may have been what was found to break the others
        hold_again(builder, candidate, tries, Fault.of(failed))
        builder.log.found_culprits(f"{name} {versions[name]}" for name in tries)
    return result


def _test(builder: Builder, candidate: Candidate, failed: TrialResult | None) -> Candidate | Failed:
    """Return a candidate that has not failed, or one without the upgrades that break the tests."""
    site = builder.site
    if failed is None:
        return candidate
    blame = find_blame(builder, failed)
    may_search = blame == "update" and not site.settings.follows  # else all of it goes live, or nothing
    searches = may_search and site.settings.culprits != "off" and bool(candidate.resolution.diff)
    if searches:
        failed = steady_failure(builder, candidate, failed)
        if failed is None:
            return candidate
    failure = note_failure(builder, candidate, failed, blame, unfinished=searches)
    if not may_search or not (searches or site.pulled):
        return failure
    builder.budget.begin()
    builder.budget.spent = max(builder.budget.spent, 1)  # the run that was repeated
    locks = partial_locks(builder, candidate.resolution)
    with trial_installs(builder, locks) as installs:
        return CulpritSearch(builder=builder, failure=failure, locks=locks, installs=installs).search()


def _report_on(work: Workspace, candidate: Candidate) -> None:
    """Make the report about a candidate."""
    work.log.about(candidate, work.live)
    work.log.learn(changes=candidate.resolution.diff)


# The newest lower versions of what failed, as far as they work


def _add_lower_versions(builder: Builder, passing: Candidate | None) -> Candidate | None:
    """Add to what passes, None for what is live, lower versions of what was found to fail, as long as these pass.

    Of each package the newest of the next lower series is tried, and of the live one at last; then what is just older
    than what failed. Returns what is to go live; None if nothing but what is live passes.
    """
    builder.budget.begin()
    descent = _Descent(builder=builder, passing=passing)
    every = frozenset(one.name for one in read_holds(builder.site.state_dir).entries if one.by == "tests")
    try:
        for name in sorted(descent.descend(every)):
            descent.descend(frozenset({name}))
    except (ReleaserError, OSError) as error:  # what has passed is not lost by that
        if isinstance(error, ReleaserError):
            builder.log.note_failure(error, follow_up=False)
        logger.warning("no further lower versions can be tried: %s", error)
        kept = descent.passing.directory if descent.passing else None
        for place in set(store_of(builder.site).incomplete()) - {kept}:
            remove_unsealed(builder.site, builder.log, place)
    return descent.passing


@dataclass(kw_only=True)
class _Descent:
    """The tries, one after the other, each on top of what `passing` has."""

    builder: Builder
    passing: Candidate | None

    def descend(self, group: frozenset[str]) -> frozenset[str]:
        """Go down with a group of packages, while all others stay; return those of which several failed together."""
        site, budget = self.builder.site, self.builder.budget
        comes_near = False
        while budget.allows():
            # Those of which nothing newer than what is live has passed, and which may still come nearer.
            holds, base = read_holds(site.state_dir), self._base.versions
            close = (name for name in group & base.keys() if holds.may_come_near(name, base[name]))
            near = frozenset(close) if comes_near else frozenset()
            patched = frozenset() if budget.allows(2) else group
            resolution = self._resolve(Lower(patched=patched, near=near), group)
            if resolution is None:
                break
            if not self._newer_in(resolution.lock) & group:
                if comes_near:
                    break
                comes_near = True
                continue
            held = read_holds(site.state_dir)
            budget.spent += 1
            candidate = self.builder.build(resolution)
            if isinstance(candidate, Unbuildable):
                if read_holds(site.state_dir) == held:
                    break
                continue
            news = self._newer_in(candidate.resolution.lock)
            failed, is_steady = self._test(candidate)
            if failed is None:
                self.builder.discard(self.passing)
                self.passing = candidate
                continue
            self.builder.discard(candidate)
            if len(news & group) > 1:
                return news & group
            if news != news & group or not is_steady:  # nobody knows which of them it is
                break
            hold_back(self.builder, candidate.resolution.lock, dict.fromkeys(news, Fault.of(failed)))
        return frozenset()

    @property
    def _base(self) -> LockFile:
        return self.passing.resolution.lock if self.passing is not None else self.builder.live_lock

    def _resolve(self, lower: Lower, group: frozenset[str]) -> Resolution | None:
        """Resolve; what would come in beside the group stays where it is, if that can be."""
        resolution, base = self.builder.resolve_again("out", lower), self._base
        if resolution is None:
            return None
        changes = changes_between(base.versions, resolution.lock.versions)
        stay = {one.name: one.old for one in changes if one.old and one.new and one.name not in group}
        return (stay and self.builder.resolve_again("out", replace(lower, stay=stay))) or resolution

    def _newer_in(self, lock: LockFile) -> frozenset[str]:
        """Name what is newer than what passes."""
        changes = changes_between(self._base.versions, lock.versions)
        return frozenset(one.name for one in changes if one.old and one.new and is_newer(one.new, one.old))

    def _test(self, candidate: Candidate) -> tuple[TrialResult | None, bool]:
        """Test a candidate; return what failed, and whether that says something of the versions in it.

        A failure of another kind than those that are known, in other tests or with other words except for numbers, is
        repeated, if there is a run left for that.
        """
        budget = self.builder.budget
        failed = first_failure(self.builder, candidate)
        if failed is None:
            return None, True
        entries = read_holds(self.builder.site.state_dir).entries
        known = {(one.tests, _strip_numbers(one.reason)) for one in entries if one.by == "tests"}
        if (failing_tests(failed.output), _strip_numbers(failed.fault)) in known:
            return failed, True
        if not budget.allows():
            return failed, False
        budget.spent += 1
        return steady_failure(self.builder, candidate, failed), True


def _strip_numbers(words: str) -> str:
    return re.sub(r"[\d.]+", "", words)
