"""Holding back what failed, and the newest lower versions that work."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.candidate.build import Unbuildable
from releaser.candidate.test_output import failing_tests
from releaser.candidate.testing import first_failure, steady_failure
from releaser.errors import ReleaserError
from releaser.locks.changes import LockDiff
from releaser.locks.versions import is_newer
from releaser.releases.quarantine import Constraints, Hold, change_holds, read_holds
from releaser.releases.store import store_of
from releaser.resolution.failing_code import code_digest, named_files
from releaser.resolution.resolve import lock_of
from releaser.resolution.rules import Lower, describe_holds, list_failed
from releaser.system.words import timestamp, truncate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.candidate.build import Candidate
    from releaser.candidate.build_and_test import Builder
    from releaser.candidate.testing import Tried
    from releaser.locks.lock import LockFile
    from releaser.locks.rules import Withheld
    from releaser.releases.quarantine import CandidateKey
    from releaser.resolution.resolve import Resolution
    from releaser.site.site import Site


_LONGEST_OUTPUT = 20_000  # characters of a test's output that a hold keeps


@dataclass(frozen=True, kw_only=True)
class Fault:
    """How a part of the upgrades failed."""

    #: In a few words.
    words: str
    #: All that was printed.
    output: str
    #: What comes only together with the package that is to blame, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()


def hold_back(site: Site, lock: LockFile, key: CandidateKey, faults: Mapping[str, Fault], *, release: str = "") -> None:
    """Hold back the versions in a lock of the packages that have a fault; `release` is the one whose tests failed."""
    known, root, now = read_holds(site.state_dir), site.project.root, timestamp()
    code, live = code_digest(site), lock_of(store_of(site).live()).versions
    holds = []
    for name, fault in faults.items():
        version = lock.versions[name]
        before = next((one for one in known.of_tests(name) if one.version == version), None)
        holds.append(
            Hold(
                name=name,
                by="tests",
                version=version,
                reason=fault.words,
                at=before.at if before else now,
                release=release,
                python=key.python,
                output=truncate(fault.output, max_chars=_LONGEST_OUTPUT),
                tests=failing_tests(fault.output),
                together=fault.together,
                files=named_files(fault.output, root),
                code=code,
                live=live.get(name, ""),
                tried_at=now if known.is_try(name, version) else "",
            )
        )
    change_holds(site.state_dir, lambda holds_before: holds_before.adding(holds))


def hold_again(site: Site, candidate: Candidate, names: Sequence[str], fault: Fault) -> None:
    """Note that what was known to fail was tried again with a candidate, and what is left passes without it.

    Of several that were tried together, nobody knows which it was: only those of which this very version had failed
    before are noted.
    """
    lock, now = candidate.resolution.lock, timestamp()
    if len(names) == 1:
        hold_back(site, lock, candidate.key, dict.fromkeys(names, fault), release=candidate.id)
        return
    tried = {(name, lock.versions[name]) for name in names}
    again = [
        replace(one, tried_at=now)
        for one in read_holds(site.state_dir).entries
        if one.by == "tests" and (one.name, one.version) in tried
    ]
    change_holds(site.state_dir, lambda holds: holds.adding(again))


def hold_undecided(site: Site, versions: Mapping[str, str], reason: str) -> None:
    """Say of these versions that nobody knows yet whether they fail, in place of what was not known before."""
    now = timestamp()
    undecided = [
        Hold(name=name, by="undecided", version=version, reason=reason, at=now)
        for name, version in sorted(versions.items())
    ]
    if undecided or any(one.by == "undecided" for one in read_holds(site.state_dir).entries):
        change_holds(site.state_dir, lambda known: known.deciding(undecided))


def list_held(site: Site, resolution: Resolution, lock: LockFile) -> tuple[Withheld, ...]:
    """Return what a resolution left out, and what has failed and is newer than this lock, whoever found that out."""
    holds = read_holds(site.state_dir)
    known = {(one.name, one.version) for one in holds.entries if one.by != "person"}
    others = tuple(
        one
        for one in resolution.held_back
        if (one.name, one.version) not in known and one.version != lock.versions.get(one.name)
    )
    return others + list_failed(holds, lock)


def standing_holds(site: Site) -> tuple[Withheld, ...]:
    """Return what is held, by whom and since when, but for versions that something newer has replaced."""
    try:
        holds = Constraints.read(site.state_dir).holds
    except OSError:  # which is said elsewhere
        return ()
    live = lock_of(store_of(site).live()).versions
    return tuple(describe_holds(holds.without_older(live).entries, live))


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
            fault = Fault(words=failed.fault, output=failed.output)
            hold_back(site, candidate.resolution.lock, candidate.key, dict.fromkeys(news, fault))
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

    def _test(self, candidate: Candidate) -> tuple[Tried | None, bool]:
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


def _is_known(site: Site, failed: Tried) -> bool:
    """Whether another version has failed so: in the same tests, with the same words but for numbers."""
    known = {(one.tests, _strip_numbers(one.reason)) for one in read_holds(site.state_dir).entries if one.by == "tests"}
    return (failing_tests(failed.output), _strip_numbers(failed.fault)) in known


def _strip_numbers(words: str) -> str:
    return re.sub(r"[\d.]+", "", words)
