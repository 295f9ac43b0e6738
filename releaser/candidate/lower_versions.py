"""The newest lower versions of what failed, as far as they work."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.candidate.build import Unbuildable
from releaser.candidate.mark import Fault, hold_back
from releaser.candidate.test_output import failing_tests
from releaser.candidate.testing import first_failure, steady_failure
from releaser.errors import ReleaserError
from releaser.locks.changes import LockDiff
from releaser.locks.versions import is_newer
from releaser.releases.quarantine import read_holds
from releaser.resolution.rules import Lower

if TYPE_CHECKING:
    from releaser.candidate.build import Candidate
    from releaser.candidate.build_and_test import Builder
    from releaser.candidate.trials import TrialResult
    from releaser.locks.lock import LockFile
    from releaser.resolution.resolve import Resolution
    from releaser.site.site import Site


logger = logging.getLogger(__name__)


def add_lower_versions(builder: Builder, passing: Candidate | None) -> Candidate | None:
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
            builder.log.failed(error, follow_up=False)
        logger.warning("no further lower versions can be tried: %s", error)
        builder.discard_all_but(descent.passing)
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
            near = self._those_that_stay(group) if comes_near else frozenset()
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
            hold_back(site, candidate.resolution.lock, candidate.key, dict.fromkeys(news, Fault.of(failed)))
        return frozenset()

    @property
    def _base(self) -> LockFile:
        return self.passing.resolution.lock if self.passing is not None else self.builder.live

    def _those_that_stay(self, group: frozenset[str]) -> frozenset[str]:
        """Name the packages of which nothing newer than what is live has passed, and which may still come nearer."""
        holds, base = read_holds(self.builder.site.state_dir), self._base.versions
        return frozenset(name for name, version in base.items() if name in group and holds.may_come_near(name, version))

    def _resolve(self, lower: Lower, group: frozenset[str]) -> Resolution | None:
        """Resolve; what would come in beside the group stays where it is, if that can be."""
        resolution, base = self.builder.resolve_again("out", lower), self._base
        if resolution is None:
            return None
        changes = LockDiff.between(base, resolution.lock)
        stay = {one.name: one.old for one in changes if one.old and one.new and one.name not in group}
        return (stay and self.builder.resolve_again("out", replace(lower, stay=stay))) or resolution

    def _newer_in(self, lock: LockFile) -> frozenset[str]:
        """Name what is newer than what passes."""
        changes = LockDiff.between(self._base, lock)
        return frozenset(one.name for one in changes if one.old and one.new and is_newer(one.new, one.old))

    def _test(self, candidate: Candidate) -> tuple[TrialResult | None, bool]:
        """Test a candidate; return what failed, and whether that says something of the versions in it.

        A failure of another kind than those that are known is repeated, if there is a run left for that.
        """
        site, log, facts, budget = self.builder.site, self.builder.log, self.builder.facts, self.builder.budget
        failed = first_failure(site, log, facts, candidate)
        if failed is None or _is_known(site, failed):
            return failed, True
        if not budget.allows():
            return failed, False
        budget.spent += 1
        return steady_failure(site, log, facts, candidate, failed), True


def _is_known(site: Site, failed: TrialResult) -> bool:
    """Whether another version has failed so: in the same tests, with the same words but for numbers."""
    known = {(one.tests, _strip_numbers(one.reason)) for one in read_holds(site.state_dir).entries if one.by == "tests"}
    return (failing_tests(failed.output), _strip_numbers(failed.fault)) in known


def _strip_numbers(words: str) -> str:
    return re.sub(r"[\d.]+", "", words)
