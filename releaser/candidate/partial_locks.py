"""Makes locks with a part of the upgrades, and tests them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.candidate.install import install
from releaser.candidate.output import complaint
from releaser.candidate.results import Fault
from releaser.candidate.trials import fail_if_touched, list_trials, run_trial, safe_link_mode
from releaser.checkout.leftovers import mark_tried, renew_tree
from releaser.errors import ResolutionError, ToolError, how_to_set
from releaser.locks.bisect import find_culprits
from releaser.locks.changes import changes_between
from releaser.locks.lock import Graph, LockFile
from releaser.locks.versions import is_older, parse_version
from releaser.releases.blocks import read_blocks
from releaser.releases.release import lock_of
from releaser.releases.touched import note_installed
from releaser.resolution.resolve import read_made_lock
from releaser.system.files import clear_name, write_new_file
from releaser.system.frozen import Frozen, Mutable, field, replace
from releaser.tools.uv import NoSolution
from releaser.tools.uv_arguments import pinned_lock_arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from releaser.core.run import Workspace
    from releaser.core.source import Resolution
    from releaser.locks.bisect import Part, SearchResult
    from releaser.locks.changes import Change
    from releaser.releases.release import Release
    from releaser.releases.touched import Installed
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.uv import Uv


_VENV = ".releaser-search"  # in the staging tree, and deleted with it


class TrialInstall(Frozen):
    """Installs locks in the staging tree, one after the other, and tests each."""

    site: Site
    facts: SiteFacts
    locks: PartialLocks
    #: The live release, if packages may come from it.
    reusable: Release | None = None

    def find_fault(self, lock: LockFile) -> Fault | None:
        """Test a lock in a temporary venv without compiled modules; None if it passes.

        Raises ResolutionError if not even `base` can be installed, and BuildError if the test packages cannot be.
        """
        venv = self.site.project.root / _VENV
        try:
            find_touched = self._install(lock).find_touched
            for trial in list_trials(self.site, self.facts):
                result = fail_if_touched(run_trial(self.site, trial, venv, self.site.project.lock), find_touched)
                if not result.passed:
                    return Fault.of(result)
        except ToolError as error:  # a lock that cannot be installed cannot go live
            self._refuse_if_nothing_can_be_installed(error)
            output = error.output or error.message
            return Fault(words=f"it cannot be installed{complaint(output)}", output=output)
        finally:
            with contextlib.suppress(OSError):  # the next step makes a new tree
                clear_name(venv, of_directory=True)
        return None

    def _install(self, lock: LockFile) -> Installed:
        project = self.site.project
        renew_tree(self.site)
        mark_tried(self.site)  # `renew_tree` then deletes the venv, too, however the installation ends
        write_new_file(project.lock, lock.data)
        mode = safe_link_mode(project.root)
        install(self.site, self.facts, project.root / _VENV, live=self.reusable, link_mode=mode, compiled=False)
        return note_installed(project.root / _VENV)

    def _refuse_if_nothing_can_be_installed(self, failure: ToolError) -> None:
        """Raise ResolutionError if not even `base` can be installed, for example without space or network."""
        try:
            self._install(self.locks.base)
        except ToolError as error:
            message = f"no part of the upgrades can be installed to be tested: {failure.message}"
            advice = error.advice or "See uv's message; the next update searches again."
            raise ResolutionError(message, advice, output=failure.output) from error


class PartialLocks(Mutable):
    """Makes locks with some of the upgrades.

    uv must not choose other versions: when upgrades were excluded one by one, uv moved other packages to versions that
    were in neither lock. So each upgrade is requested in its exact version.
    """

    uv: Uv
    python: Path
    #: The staging tree, in which the locks are made.
    tree: Path
    #: Makes a new staging tree after tests ran in it.
    clean: Callable[[], object] = list
    #: The lock of the commit.
    committed: LockFile
    full: LockFile
    #: The versions of the live release, by package.
    live: Mapping[str, str] = field(default_factory=dict)
    #: The versions that failed before, by package.
    bad: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _known: dict[tuple[frozenset[str], frozenset[str]], LockFile | None] = field(default_factory=dict)
    _base: LockFile | None = None

    @property
    def base(self) -> LockFile:
        """The lock without upgrades, but with versions of `full` for packages that cannot keep the committed version.

        These are packages that are not locked yet, for which uv would choose the newest version, and packages whose
        committed version failed before, is newer than in `full`, or is not live while `full` has the live version.
        Raises ResolutionError.
        """
        if self._base is not None:
            return self._base
        pins: dict[str, str] = {}
        self._base = self._lock(pins)
        while self._base is not None and (more := self._moves_anyway(self._base).items() - pins.items()):
            pins |= dict(more)
            self._base = self._lock(pins)
        if self._base is None:
            message = "the dependencies of the project have no solution with the locked versions"
            raise ResolutionError(message, "Correct the dependencies in pyproject.toml.")
        return self._base

    def _moves_anyway(self, lock: LockFile) -> dict[str, str]:
        locked, full, local = self.committed.versions, self.full.versions, self.full.local | lock.local
        return {
            name: _pin(full[name])
            for name, version in lock.versions.items()
            if name in full and name not in local and version != full[name]
            if version != locked.get(name)
            or full[name] == self.live.get(name)
            or is_older(full[name], version)
            or version in self.bad.get(name, ())
        }

    def upgrades(self) -> Part:
        """Return the packages that can be upgraded or kept, each after its requirements. Raises ResolutionError."""
        local, needs = self.base.local | self.full.local, Graph.of(self.full).needs
        changes = changes_between(self.base.versions, self.full.versions)
        names = [change.name for change in changes if change.name not in local and change.old and change.new]
        # A package has all requirements of the packages that it requires, and these packages in addition.
        return tuple(sorted(names, key=lambda name: len(find_all_needs(name, needs))))

    def with_upgrades(self, names: Part, *, without: Part) -> LockFile:
        """Lock as many upgrades as possible; packages in `without` keep their versions. Raises ResolutionError."""
        kept = names
        if not self.have_solution(names, without=without):
            result = find_culprits(_Solutions(locks=self, without=without), names)
            kept = result.kept if result.kind == "found" else ()
        return self.find_lock(kept, without) or self.base

    def find_together(self, result: SearchResult) -> dict[str, Part]:
        """Map each culprit to the upgrades that are impossible without it, such as `celery 5.6.0`."""
        needs = Graph.of(self.full).needs
        found: dict[str, Part] = {}
        rest = self.with_upgrades(result.kept, without=result.culprits)
        for change in changes_between(rest.versions, self.full.versions) if result.culprits else ():
            if change.old and change.new and change.name not in result.culprits:
                below = find_all_needs(change.name, needs)
                culprit = next((name for name in result.culprits if name in below), None)
                culprit = culprit or next(
                    (name for name in result.culprits if change.name in find_all_needs(name, needs)), None
                )
                culprit = culprit or result.culprits[0]
                found[culprit] = (*found.get(culprit, ()), f"{change.name} {change.new}")
        return found

    def record_dependents(self, changes: tuple[Change, ...], part: Part) -> tuple[Change, ...]:
        """Record in each change outside of a part which upgrades of the part need it."""
        needs = Graph.of(self.full).needs
        return tuple(
            change
            if change.name in part or change.new is None
            else replace(change, dragged_by=tuple(name for name in part if change.name in needs.get(name, ())))
            for change in changes
        )

    def have_solution(self, names: Part, *, without: Part) -> bool:
        """True if a lock with these upgrades, and without others, exists. Raises ResolutionError."""
        return self.find_lock(names, without) is not None

    def find_lock(self, names: Part, without: Part) -> LockFile | None:
        """Lock these upgrades, and keep the versions of `base` for `without`; None if that is impossible.

        Every package has its version of `base` or of `full`. Raises ResolutionError.
        """
        key = (frozenset(names), frozenset(without))
        if key not in self._known:
            pins = {name: _pin(self.full.versions[name]) for name in names}
            pins |= {name: pin for name in without if (pin := _pin(self.base.versions[name]))}
            lock = self._lock(pins) if pins else self.base
            if lock is not None and (strays := self._find_strays(lock)):
                lock = self._lock({**pins, **strays})
            self._known[key] = None if lock is None or self._find_strays(lock) else lock
        return self._known[key]

    def _find_strays(self, lock: LockFile) -> dict[str, str]:
        return {
            name: _pin(self.full.versions[name])
            for name, version in lock.versions.items()
            if version not in (self.base.versions.get(name), self.full.versions.get(name)) and name in self.full.names
        }

    def _lock(self, pins: dict[str, str]) -> LockFile | None:
        """Lock with exact versions of some packages; None if there is no solution. Raises ResolutionError."""
        self.clean()
        write_new_file(self.tree / "uv.lock", self.committed.data)
        try:
            locked = self.uv.lock(self.tree, pinned_lock_arguments(pins), python=self.python)
            return None if isinstance(locked, NoSolution) else read_made_lock(self.tree)
        except ToolError as error:
            message = f"a part of the upgrades could not be locked: {error.message}"
            advice = (
                error.advice
                or f"Check the network and the index. If they need longer, {how_to_set('uv_timeout', '1h')}."
            )
            raise ResolutionError(message, advice, output=error.output) from error


class _Solutions(Frozen):
    """Trials that only check whether parts of the upgrades have a solution."""

    locks: PartialLocks
    without: Part

    def passes(self, part: Part, *, without: Part = ()) -> bool:  # noqa: ARG002 - those are left to uv
        return self.locks.have_solution(part, without=self.without)

    def passes_whole(self, part: Part, *, without: Part) -> bool:
        return self.passes(part, without=without)

    def passes_again(self, part: Part, *, without: Part) -> bool:
        return self.passes(part, without=without)


def partial_locks(work: Workspace, resolution: Resolution) -> PartialLocks:
    """Prepare locks with a part of the upgrades of a resolution."""
    site = work.site
    failed = {(hold.name, hold.version) for hold in read_blocks(site.state_dir).failed}
    return PartialLocks(
        uv=work.facts.uv,
        python=work.facts.python,
        tree=site.project.root,
        clean=lambda: renew_tree(site),
        committed=work.facts.lock,
        full=resolution.lock,
        live=lock_of(work.live).versions,
        bad={name: frozenset(bad for other, bad in failed if other == name) for name, _ in failed},
    )


def find_all_needs(name: str, needs: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Return a package with all its requirements, direct and indirect."""
    found: set[str] = set()
    more = {name}
    while more:
        found |= more
        more = {below for package in more for below in needs.get(package, ())} - found
    return frozenset(found)


def _pin(version: str) -> str:
    """Return the version to request; empty if it is not a single version of an index, such as a commit."""
    return version if parse_version(version) is not None else ""
