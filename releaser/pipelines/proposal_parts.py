"""Divides an upgrade into parts that are proposed separately: packages and groups, together with those they need."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.partial_locks import partial_locks
from releaser.locks.lock import Graph
from releaser.releases.proposal_settings import ProposalSettings
from releaser.resolution.resolve import resolve_as_locked
from releaser.sources.upgrade import Upgrade
from releaser.system.files import write_new_file
from releaser.system.frozen import Frozen, Mutable, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from releaser.candidate.partial_locks import PartialLocks
    from releaser.core.run import Workspace
    from releaser.core.source import FailedVersions, Resolution, ResolveAgain, Source, Wanted
    from releaser.locks.lock import LockFile
    from releaser.pipelines.decide import Goal


class Part(Frozen):
    """Upgrades that are proposed together."""

    #: The package or the group; empty for all upgrades.
    name: str = ""
    source: Source


def list_parts(goal: Goal) -> tuple[Part, ...]:
    """Divide an upgrade as the settings say. Fixes of known vulnerabilities come first, then direct dependencies.

    Raises ResolutionError.
    """
    settings = ProposalSettings.of(goal.work.site)
    if not goal.is_new:
        return ()
    if settings.propose == "all":
        return (Part(source=goal.source),)
    locks = partial_locks(goal.work, goal.resolution)
    if not locks.upgrades():  # packages only come or go, as nothing requires them any more
        return (Part(source=goal.source),)
    named = [name for name, _ in settings.propose_groups]
    fixed, direct = frozenset(Upgrade().find_fixes(goal.work)), Graph.of(locks.full).direct

    def by_urgency(group: Group) -> tuple[bool, bool, str]:
        return fixed.isdisjoint(group.packages), direct.isdisjoint(group.packages), group.name

    groups = sorted(split(locks, settings.group_of, named=named), key=by_urgency)
    return tuple(Part(name=one.name, source=PartOfUpgrade(one, goal.resolution)) for one in groups)


class Group(Frozen):
    """Upgrades that need no others, and the lock that has them alone."""

    name: str
    packages: frozenset[str]
    lock: LockFile


class _Open(Mutable):
    """Upgrades that may need others."""

    names: set[str]
    packages: set[str]


def split(locks: PartialLocks, group_of: Callable[[str], str], *, named: Collection[str] = ()) -> tuple[Group, ...]:
    """Divide upgrades into groups that can be installed without each other, by name.

    Groups of which one has no solution without the other become one. It gets the name of the first that is `named`,
    else of the first package that the project requires itself. Raises ResolutionError.
    """
    upgrades, direct = locks.upgrades(), Graph.of(locks.full).direct
    by_name: dict[str, _Open] = {}
    for name in sorted(upgrades):
        by_name.setdefault(group_of(name), _Open(names={group_of(name)}, packages=set())).packages.add(name)
    waiting = list(by_name.values())
    done: list[tuple[_Open, LockFile]] = []
    while waiting:
        one = waiting.pop(0)
        own = tuple(name for name in upgrades if name in one.packages)
        others = tuple(name for name in upgrades if name not in one.packages)
        lock = locks.find_lock(own, others) if others else locks.full
        if lock is not None:
            done.append((one, lock))
            continue
        needed = _find_needed(locks, own)
        for other in [*waiting, *(group for group, _ in done)]:
            if other.packages & needed:
                one.names |= other.names
                one.packages |= other.packages
        waiting = [other for other in waiting if not other.packages <= one.packages]
        done = [(other, lock) for other, lock in done if not other.packages <= one.packages]
        waiting.insert(0, one)
    rank = {name: (name not in named, name not in direct, name) for one, _ in done for name in one.names}
    groups = (
        Group(name=min(one.names, key=rank.__getitem__), packages=frozenset(one.packages), lock=lock)
        for one, lock in done
    )
    return tuple(sorted(groups, key=lambda group: group.name))


def _find_needed(locks: PartialLocks, own: tuple[str, ...]) -> frozenset[str]:
    """Return other upgrades that these need; all others, if that is unknown. Raises ResolutionError."""
    lock, base, full = locks.find_lock(own, ()), locks.base.versions, locks.full.versions
    others = frozenset(locks.upgrades()).difference(own)
    moved = {name for name in others if lock is not None and lock.versions.get(name) == full[name] != base[name]}
    return frozenset(moved) or others


class PartOfUpgrade(Upgrade):
    """Takes a part of an upgrade. If its tests fail, releaser skips the culprits in it, as in any upgrade."""

    def __init__(self, part: Group, full: Resolution) -> None:
        self.part, self.full = part, full

    def resolve(self, wanted: Wanted) -> Resolution:
        """Return the resolution with the lock of the part."""
        found = resolve_as_locked(wanted.work, self.part.lock)
        return replace(found, on_hold=self.full.on_hold)

    def search(self, wanted: Wanted) -> ResolveAgain:
        """Return a function that resolves its packages without the versions that failed."""
        return partial(self._resolve_part, wanted)

    def _resolve_part(self, wanted: Wanted, failed: FailedVersions) -> Resolution:
        full = self._resolve(wanted, failed)
        return _take_part(wanted.work, full, self.part.packages)


def _take_part(work: Workspace, full: Resolution, packages: frozenset[str]) -> Resolution:
    """Return the part of a resolution that upgrades these packages, as far as possible without others."""
    locks = partial_locks(work, full)
    upgrades = locks.upgrades()
    own, others = (tuple(name for name in upgrades if (name in packages) == is_own) for is_own in (True, False))
    lock = locks.with_upgrades(own, without=others)
    write_new_file(work.site.project.lock, lock.data)
    found = resolve_as_locked(work, lock)
    return replace(found, on_hold=full.on_hold)
