"""Locks between what is locked and what a full upgrade brings: some of the upgrades, each in its full version."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from releaser.errors import ResolutionError, ToolError
from releaser.locking.culprits import Search
from releaser.locking.diff import LockDiff
from releaser.locking.graph import Graph
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.locking.policy import is_older
from releaser.steps.resolve import lock_of
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.resolve import Resolution
    from releaser.tools.uv import Uv


@dataclass(kw_only=True)
class SubLocks:
    """Makes them in the staging tree `tree`, from the lock of the commit, `committed`, and the `full` one.

    `live` are the versions of the live release, `bad` those that failed before, by package.

    uv must not choose anything else meanwhile: held back one by one, upgrades have moved other packages to versions
    that are in neither lock. So each upgrade is asked for in exactly its version.
    """

    uv: Uv
    python: Path
    tree: Path
    committed: LockFile
    full: LockFile
    live: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _known: dict[tuple[frozenset[str], frozenset[str]], LockFile | None] = field(default_factory=dict)
    _base: LockFile | None = None

    @property
    def base(self) -> LockFile:
        """The lock with none of the upgrades; not quite that of the checkout, if the project asks for something else.

        Raises ResolutionError.
        """
        if self._base is None:
            self._base = self._lowest()
        if self._base is None:
            message = "the dependencies of the project have no solution with what is locked"
            raise ResolutionError(message, advice="Correct the dependencies in pyproject.toml.")
        return self._base

    def _lowest(self) -> LockFile | None:
        """Lock with no upgrade, but with what is no matter of choice: `full` is what the gates have let in.

        What the checkout does not lock yet, uv would take in its newest version; what it locks may have failed before,
        and the full resolution then leads back to what is live.
        """
        locked = self.committed.versions
        pins: dict[str, str] = {}
        lock = self._locked(pins)
        while lock is not None and (more := self._foregone(lock, locked).items() - pins.items()):
            pins |= dict(more)
            lock = self._locked(pins)
        return lock

    def _foregone(self, lock: LockFile, locked: Mapping[str, str]) -> dict[str, str]:
        full, local = self.full.versions, self.full.local | lock.local
        return {
            name: _pin(full[name])
            for name, version in lock.versions.items()
            if name in full and name not in local and version != full[name]
            if version != locked.get(name)
            or full[name] == self.live.get(name)
            or is_older(full[name], version)
            or version in self.bad.get(name, ())
        }

    def upgrades(self) -> tuple[str, ...]:
        """Return what can be upgraded or left as it is, and what others need before these. Raises ResolutionError."""
        changes = LockDiff.between(self.base, self.full)
        local = self.base.local | self.full.local
        names = [one.name for one in changes if one.name not in local and one.old and one.new]
        return tuple(in_order_of_need(names, Graph.of(self.full).needs))

    def with_upgrades(self, names: Sequence[str], *, without: Sequence[str]) -> LockFile:
        """Lock as many of the upgrades as can be had without others, which stay as they are. Raises ResolutionError."""

        def fits(part: Sequence[str]) -> bool:
            return self._with(part, without) is not None

        kept: Sequence[str] = names
        if not fits(names):
            search = Search(items=names, passes=fits, whole=fits)
            kept = search.kept if search.find() else ()
        return self._with(kept, without) or self.base

    def _with(self, names: Sequence[str], without: Sequence[str]) -> LockFile | None:
        key = (frozenset(names), frozenset(without))
        if key not in self._known:
            pins = {name: _pin(self.full.versions[name]) for name in names}
            held = {name: pin for name in without if (pin := _pin(self.base.versions[name]))}
            self._known[key] = self._without_strays({**pins, **held}) if pins else self.base
        return self._known[key]

    def _without_strays(self, pins: dict[str, str]) -> LockFile | None:
        """Lock so that every package is in one of its two versions; None if that cannot be."""
        lock = self._locked(pins)
        strays = {} if lock is None else self._strays(lock)
        if strays:
            lock = self._locked({**pins, **strays})
        return None if lock is None or self._strays(lock) else lock

    def _strays(self, lock: LockFile) -> dict[str, str]:
        versions = lock.versions.items()
        return {
            name: _pin(self.full.versions[name])
            for name, version in versions
            if version not in (self.base.versions.get(name), self.full.versions.get(name)) and name in self.full.names
        }

    def _locked(self, pins: dict[str, str]) -> LockFile | None:
        """Lock with exact versions of some packages; None if there is no solution. Raises ResolutionError."""
        lock = self.tree / "uv.lock"
        lock.write_bytes(self.committed.data)
        try:
            self.uv.lock_pinned(self.tree, python=self.python, pins=pins)
        except ToolError as error:
            if error.returncode == NO_SOLUTION:
                return None
            message = f"a part of the upgrades could not be locked: {error.message}"
            advice = "Check the network and the index; raise `uv_timeout` if they need longer."
            raise ResolutionError(message, advice=advice, output=error.output) from error
        return self._read(lock)

    def _read(self, path: Path) -> LockFile:
        try:
            return LockFile.read(path)
        except (OSError, InvalidLockError) as error:
            message = f"uv left a lock that cannot be read: {error}"
            raise ResolutionError(message, advice="Check that `uv` is a working uv: `uv lock`.") from error


def sub_locks(run: Run, fitness: Fitness, resolution: Resolution) -> SubLocks:
    """Prepare to lock a part of what a resolution brings."""
    failed = {(one.name, one.version) for one in run.quarantine().versions}
    failed |= {(one.name, one.version) for one in run.holds().entries if one.by == "tests"}
    return SubLocks(
        uv=fitness.uv,
        python=fitness.python,
        tree=resolution.tree,
        committed=fitness.lock,
        full=resolution.lock,
        live=lock_of(run.store.live()).versions,
        bad={name: frozenset(bad for other, bad in failed if other == name) for name, _ in failed},
    )


def in_order_of_need(names: Sequence[str], needs: Mapping[str, frozenset[str]]) -> list[str]:
    """Put what others need, directly or not, before these; what needs each other stays in its order."""
    ordered: dict[str, None] = {}
    visited: set[str] = set()
    wanted = set(names)

    def visit(start: str) -> None:
        stack = [(start, iter(sorted(needs.get(start, ()))))]
        visited.add(start)
        while stack:
            name, below = stack[-1]
            following = next((one for one in below if one not in visited), None)
            if following is None:
                stack.pop()
                if name in wanted:
                    ordered[name] = None
            else:
                visited.add(following)
                stack.append((following, iter(sorted(needs.get(following, ())))))

    for name in names:
        if name not in visited:
            visit(name)
    return list(ordered)


def those_that_need(
    wanted: Collection[str], names: Collection[str], needs: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """Return those of `names` that are among the wanted, or need one of these, directly or not."""
    found: set[str] = set()
    more = set(wanted)
    while more:
        found |= more
        more = {name for name, below in needs.items() if not below.isdisjoint(more)} - found
    return frozenset(found & set(names))


def _pin(version: str) -> str:
    """Return the version to ask for; nothing of what an index does not have: a commit, or several versions at once."""
    try:
        Version(version)
    except InvalidVersion:
        return ""
    return version
