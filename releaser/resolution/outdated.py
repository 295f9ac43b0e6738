"""Lists the versions that are newer than the locked ones, and the blocks against them, without changing the site.

`uv tree --outdated` does not suffice: its newest versions are those for the oldest Python that the project admits,
without upload times; it ignores directories of files (`find-links`), and older uvs have no JSON for it. So uv resolves
a project that requires the newest version of each package, even if they conflict. A resolution by the steps of an
update then shows which of them the next update installs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.answers import Blocker, OutdatedPackage
from releaser.errors import refuse
from releaser.locks.installed import versions_for
from releaser.locks.lock import EMPTY, Graph, InvalidLockError, LockFile
from releaser.locks.rules import Rules, explain
from releaser.locks.versions import Uploads, is_newer, newest
from releaser.releases.blocks import read_blocks
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.foreseen import Foreseen, Outlook, read_base
from releaser.resolution.newest import (
    AvailableVersions,
    ask_newest,
    find_excluding,
    requirements_for,
    settings_of_uv,
    uploads_within_limits,
)
from releaser.resolution.resolve import live_lock
from releaser.resolution.rules import rules_for, select_blocks
from releaser.site.pythons import choose, find_newer_python
from releaser.system.frozen import Frozen
from releaser.system.words import why_held

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from releaser.site.site import Site
    from releaser.tools.uv import LockBuilds


class OutdatedReport(Frozen):
    """The packages with newer versions, and those without an answer."""

    packages: tuple[OutdatedPackage, ...]
    #: Packages that are not from an index.
    elsewhere: tuple[str, ...]
    #: Packages without any version on the index.
    unknown: tuple[str, ...]
    #: As in `Status`.
    newer_python: str | None


def find_outdated(
    site: Site, builds: LockBuilds | None, *, find_fixes: Callable[[], Mapping[str, str]] = dict
) -> OutdatedReport:
    """Ask the index for versions newer than the lock of the live release, or, without one, of the checkout.

    `builds` says how uv builds packages to learn their requirements; `find_fixes` maps packages to the versions that
    fix a vulnerability.

    Raises PreflightError, and ResolutionError if the index cannot be reached.
    """
    settings_of_uv(site)
    live, checkout = store_of(site).live(), EMPTY
    with contextlib.suppress(OSError, InvalidLockError):
        checkout = LockFile.read(site.project.lock)
    running = lock_of(live)
    lock = running if running.data else checkout
    if not lock.data:
        message = f"{site.project.lock} is not a valid lock"
        refuse("lock-unreadable", message, "Run `uv lock` to make a new one. Run `releaser check` for details.")
    graph = Graph.of(lock)
    uv = replace(site.uv, lock_builds=builds)
    choice = choose(site, uv)
    versions = versions_for(lock, live.manifest.python if running.data and live else choice.version)
    locked = {name: newest(versions[name].split(", ")) for name in sorted(graph.from_index)}
    available = ask_newest(site, uv, locked, choice)
    behind = sorted(name for name, found in available.items() if is_newer(found.newest, locked[name]))
    blocks, now = read_blocks(site.state_dir).without_held(), datetime.now(UTC)
    counting = select_blocks(site, blocks, python=choice.version, now=now)
    is_foreseen = bool(behind) or _may_move_unseen(lock)
    base = read_base(site, checkout, live) if is_foreseen else checkout
    before = live_lock(live, base.versions)
    rules = rules_for(site, base, before, counting, python=choice.version, now=now)
    times = {key: time for name in behind for key, time in available[name].times.items()}
    foreseen = Foreseen()
    if is_foreseen:
        foreseen = Outlook(
            site=site,
            uv=uv,
            choice=choice,
            live=live,
            base=base,
            blocks=blocks,
            rules=rules,
            available=available,
            find_fixes=find_fixes,
        ).foresee()
    known = _KnownVersions(
        rules=rules,
        uploads=Uploads(times=times).merge(uploads_within_limits(site, base, now)),
        python=choice.version,
        locked=locked,
        available=available,
        foreseen=foreseen,
        takes=site.supply.takes,
        requirements=tuple(requirements_for(site, live, graph, choice.version, behind)),
    )
    packages = [known.describe(name, versions[name]) for name in behind]
    packages += known.unseen({name: one for name, one in versions.items() if name not in {*behind, *graph.own}})
    seen = {package.name for package in packages}
    return OutdatedReport(
        packages=tuple(sorted(packages, key=lambda package: package.name)),
        elsewhere=tuple(sorted(lock.versions.keys() - graph.from_index - graph.own - seen)),
        unknown=tuple(name for name in locked if name not in available),
        newer_python=find_newer_python(site, uv, choice.version),
    )


def _may_move_unseen(lock: LockFile) -> bool:
    """True if an update may install something that is not an index's newest version: from git, or a second version."""
    return any("git" in package.get("source", {}) for package in lock.packages) or any(
        ", " in version for version in lock.versions.values()
    )


# The blocks


class _KnownVersions(Frozen):
    """The facts that decide what blocks a version."""

    rules: Rules
    uploads: Uploads
    python: str
    locked: Mapping[str, str]
    available: Mapping[str, AvailableVersions]
    #: The packages that the next update would install; empty if nothing may be newer.
    foreseen: Foreseen
    #: The name of the lock that goes live unchanged; empty if the rules choose the versions.
    takes: str
    #: The requirements, each with the project or package that has it.
    requirements: tuple[tuple[str, Requirement], ...]

    def describe(self, name: str, locked: str) -> OutdatedPackage:
        """Describe a package with a newer version on the index than the `locked` one."""
        latest, coming = self.available[name].newest, self._find_next(name, locked)
        comes = coming is not None and latest in coming.split(", ")
        blocked_by = () if comes else tuple(self._blockers(name, coming))
        return OutdatedPackage(name=name, locked=locked, latest=latest, next=coming, blocked_by=blocked_by)

    def unseen(self, locked: Mapping[str, str]) -> Iterator[OutdatedPackage]:
        """Describe updates to something that is not an index's newest version, such as a commit."""
        for name, version in locked.items():
            reached = (self.foreseen.versions or {}).get(name, version)
            if is_newer(newest(reached.split(", ")), newest(version.split(", "))) or (
                reached != version and ", " in version
            ):
                coming = self._find_next(name, version)
                blocked_by = () if coming is not None else tuple(self._refusals())
                yield OutdatedPackage(name=name, locked=version, latest=reached, next=coming, blocked_by=blocked_by)

    def _find_next(self, name: str, locked: str) -> str | None:
        """Return the version of a package that the next update installs; None if it stays."""
        reached = (self.foreseen.versions or {}).get(name)
        return None if self.foreseen.refused or reached == locked else reached

    def _blockers(self, name: str, coming: str | None) -> Iterator[Blocker]:
        """Yield the blocks against the newest version of a package."""
        latest = self.available[name].newest
        fitting = self.available[name].fitting or self.locked[name]
        comes_closer = is_newer(fitting, self.locked[name])
        if is_newer(latest, fitting):
            closest = f"; {fitting} is the newest for it" if comes_closer else ""
            yield Blocker(by="python", reason=f"{latest} needs a newer Python than {self.python}{closest}")
        if not comes_closer or (coming is not None and fitting in coming.split(", ")):
            return
        if self.takes:
            yield Blocker(by="policy", reason=f"this site takes {self.takes}")
        holds = list(explain(self.rules, name, fitting, self.uploads))
        constraints = [*self._constraints(name, fitting, is_on_hold=bool(holds or self.takes))]
        for reason in constraints:
            yield Blocker(by="constraint", reason=reason)
        for hold in holds:
            yield Blocker(by=hold.by, reason=why_held(hold.reason, by=hold.by, since=hold.since))
        if self._is_reached(name, fitting) or not (constraints or holds or self.takes):
            yield from self._refusals()

    def _refusals(self) -> Iterator[Blocker]:
        if self.foreseen.refused:
            yield Blocker(by=self.foreseen.by, reason=self.foreseen.refused)

    def _is_reached(self, name: str, wanted: str) -> bool:
        return wanted in (self.foreseen.versions or {}).get(name, "").split(", ")

    def _constraints(self, name: str, wanted: str, *, is_on_hold: bool) -> Iterable[str]:
        against, versions = find_excluding(self.requirements, name, wanted), self.foreseen.versions
        if versions is None:
            return against
        if name not in versions:
            return ["the next update removes it, as nothing requires it"]
        if self._is_reached(name, wanted):
            return []
        if is_on_hold:  # only requirements of the project, and of packages that stay, block it in addition
            stay = {f"{one} {version}" for one, version in versions.items()}
            return [text for text, asker in against.items() if asker.startswith("the project") or asker in stay]
        if limit := self._own_limit(name, wanted):
            return [limit]
        reached = newest(versions[name].split(", "))
        return against or [f"the requirements of the project and its packages, taken together, allow {reached} at most"]

    def _own_limit(self, name: str, version: str) -> str:
        """Say that a time limit in uv's settings blocks a version; empty if none does."""
        limit, times = self.uploads.own_limit(name), self.uploads.times_of(name, version)
        if limit is None or not any(time is None or time >= limit for time in times):
            return ""
        key = "exclude-newer-package" if name in self.uploads.limits else "exclude-newer"
        return f"`{key}` of uv excludes files uploaded after {limit:%Y-%m-%d %H:%M} UTC"
