"""Lists the versions that are newer than the locked ones, and the blocks against them, without changing the site.

`uv tree --outdated` does not suffice: its newest versions are those for the oldest Python that the project admits,
without upload times; it ignores directories of files (`find-links`), and older uvs have no JSON for it. So uv resolves
a project that requires the newest version of each package, even if they conflict. A resolution by the steps of an
update then shows which of them the next update installs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from packaging.markers import Marker

from releaser.answers import Blocker, NewerVersion, OutdatedPackage, PackageAnswer
from releaser.core.due import find_package_waits
from releaser.errors import refuse
from releaser.locks.installed import environment_of, versions_for
from releaser.locks.lock import EMPTY, Graph, InvalidLockError, LockFile, find_locked
from releaser.locks.rules import Rules, explain, find_remedy
from releaser.locks.versions import Uploads, is_newer, newest
from releaser.releases.blocks import read_blocks
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.foreseen import Foreseen, Outlook, read_base
from releaser.resolution.newest import (
    AvailableVersions,
    Demand,
    ask_newest,
    find_line,
    list_between,
    requirements_for,
    settings_of_uv,
    uploads_within_limits,
)
from releaser.resolution.resolve import live_lock
from releaser.resolution.rules import rules_for, select_blocks
from releaser.site.project import read_pyproject
from releaser.site.pythons import choose, find_newer_python
from releaser.system.files import read_text
from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.site.pythons import Choice
    from releaser.site.site import Site
    from releaser.tools.uv import LockBuilds, Uv

_MOST = 25  # versions below the newest that are explained


class OutdatedReport(Frozen):
    """The packages with newer versions, and those without an answer."""

    packages: tuple[OutdatedPackage, ...]
    #: Packages that are not from an index.
    elsewhere: tuple[str, ...]
    #: Packages without any version on the index.
    unknown: tuple[str, ...]
    #: As in `Status`.
    newer_python: str | None


class Survey(Frozen):
    """The live packages of a site, their newest versions, and the facts that decide what blocks these."""

    site: Site
    uv: Uv
    choice: Choice
    lock: LockFile
    graph: Graph
    live: Release | None
    #: The versions of the lock for the Python of the site.
    versions: Mapping[str, str]
    #: The packages with newer versions on the index.
    behind: tuple[str, ...]
    known: KnownVersions

    def report(self) -> OutdatedReport:
        """Return all packages with newer versions."""
        versions, own = self.versions, self.graph.own
        packages = [self.known.describe(name, versions[name]) for name in self.behind]
        packages += self.known.unseen({name: one for name, one in versions.items() if name not in {*self.behind, *own}})
        seen = {package.name for package in packages}
        return OutdatedReport(
            packages=tuple(sorted(packages, key=lambda package: package.name)),
            elsewhere=tuple(sorted(self.lock.versions.keys() - self.graph.from_index - own - seen)),
            unknown=tuple(name for name in self.known.locked if name not in self.known.available),
            newer_python=self.known.newer_python,
        )

    def explain(self, name: str) -> PackageAnswer:
        """Return why each newer version of a package is not installed. Raises PreflightError."""
        known, version = self.known, self.versions[name]
        available, described = known.available.get(name), known.describe_any(name, version)
        coming, live = described.next if described else None, newest(version.split(", "))
        low = newest((coming or version).split(", "))
        steps = [available] if available is not None and name in self.behind else []
        if steps and is_newer(steps[0].newest, low):
            for step in list_between(self.site, self.uv, self.choice, name, low=live, high=steps[0].newest, most=_MOST):
                steps += [step] if coming or is_newer(step.newest, low) else []
                if not is_newer(step.newest, low):
                    break
        times = {key: time for step in steps for key, time in step.times.items()}
        known = replace(known, uploads=Uploads(times=times).merge(known.uploads))
        newer = [known.describe_version(name, step, coming) for step in steps]
        if described is not None and not steps:  # such as a commit
            newer = [NewerVersion(version=described.latest, blocked_by=described.blocked_by)]
        return PackageAnswer(
            name=name,
            version=version,
            release=self.live.id if self.live is not None else None,
            latest=available.newest if available is not None else None,
            next=coming,
            required_by=tuple(dict.fromkeys(str(one) for one in known.demands if one.is_for(name))),
            newer=tuple(newer),
            more=len(steps) > _MOST and is_newer(steps[-1].newest, low),
        )


def explain_package(
    site: Site, name: str, builds: LockBuilds | None, *, find_fixes: Callable[[], Mapping[str, str]] = dict
) -> PackageAnswer:
    """Return why each newer version of a package is not installed; the rest as in `survey`.

    Raises UsageError if it is not locked, or is part of the checkout.
    """
    found = find_locked(_read_lock(site, store_of(site).live()), name)
    return survey(site, builds, find_fixes=find_fixes, also=found).explain(found)


def _read_lock(site: Site, live: Release | None) -> LockFile:
    """Return the lock of the live release, or, without one, of the checkout. Raises PreflightError."""
    if (running := lock_of(live)).data:
        return running
    try:
        return LockFile.read(site.project.lock)
    except (OSError, InvalidLockError):
        message = f"{site.project.lock} is not a valid lock"
        refuse("lock-unreadable", message, "Run `uv lock` to make a new one. Run `releaser check` for details.")


def survey(
    site: Site, builds: LockBuilds | None, *, find_fixes: Callable[[], Mapping[str, str]] = dict, also: str = ""
) -> Survey:
    """Ask the index for versions newer than the lock of the live release, or, without one, of the checkout.

    `builds` says how uv builds packages to learn their requirements; `find_fixes` maps packages to the versions that
    fix a vulnerability. The requirements on the package `also` are known even if it has no newer version.

    Raises PreflightError, and ResolutionError if the index cannot be reached.
    """
    read_pyproject(site.project.pyproject)  # without it, uv would ask another index than the project names
    settings_of_uv(site)
    live, checkout = store_of(site).live(), EMPTY
    with contextlib.suppress(OSError, InvalidLockError):
        checkout = LockFile.read(site.project.lock)
    lock = _read_lock(site, live)
    graph = Graph.of(lock)
    uv = replace(site.uv, lock_builds=builds)
    choice = choose(site, uv)
    versions = versions_for(lock, live.manifest.python if live and lock_of(live).data else choice.version)
    locked = {name: newest(versions[name].split(", ")) for name in sorted(graph.from_index)}
    available = ask_newest(site, uv, locked, choice)
    behind = sorted(name for name, found in available.items() if is_newer(found.newest, locked[name]))
    blocks, now = read_blocks(site.state_dir).without_held(), datetime.now(UTC)
    counting = select_blocks(site, blocks, python=choice.version, now=now)
    is_foreseen = bool(behind) or _may_move_unseen(lock)
    base = read_base(site, checkout, live) if is_foreseen else checkout
    before = live_lock(live, base.versions)
    rules = rules_for(site, base, before, counting, python=choice.version, now=now)
    rules = replace(rules, waits=find_package_waits(site, now))
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
    known = KnownVersions(
        rules=rules,
        uploads=Uploads(times=times).merge(uploads_within_limits(site, base, now)),
        python=choice.version,
        newer_python=find_newer_python(site, uv, choice.version),
        locked=locked,
        available=available,
        foreseen=foreseen,
        takes=site.supply.takes,
        demands=tuple(requirements_for(site, live, graph, choice.version, [*behind, *filter(None, [also])])),
        project=site.project.pyproject,
    )
    return Survey(
        site=site,
        uv=uv,
        choice=choice,
        lock=lock,
        graph=graph,
        live=live,
        versions=versions,
        behind=tuple(behind),
        known=known,
    )


def _may_move_unseen(lock: LockFile) -> bool:
    """True if an update may install something that is not an index's newest version: from git, or a second version."""
    return any("git" in package.get("source", {}) for package in lock.packages) or any(
        ", " in version for version in lock.versions.values()
    )


# The blocks


class KnownVersions(Frozen):
    """The facts that decide what blocks a version."""

    rules: Rules
    uploads: Uploads
    python: str
    #: As in `Status`.
    newer_python: str | None
    locked: Mapping[str, str]
    available: Mapping[str, AvailableVersions]
    #: The packages that the next update would install; empty if nothing may be newer.
    foreseen: Foreseen
    #: The name of the lock that goes live unchanged; empty if the rules choose the versions.
    takes: str
    demands: tuple[Demand, ...]
    #: The pyproject.toml.
    project: Path

    def describe(self, name: str, locked: str) -> OutdatedPackage:
        """Describe a package with a newer version on the index than the `locked` one."""
        found, coming = self.available[name], self._find_next(name, locked)
        closest = found.fitting or self.locked[name]
        comes_closer = is_newer(closest, self.locked[name])
        blocked_by = self._explain_python(found, f"; {closest} is the newest for it" if comes_closer else "")
        if comes_closer:
            blocked_by += self._explain(name, closest, coming)
        comes = coming is not None and found.newest in coming.split(", ")
        return OutdatedPackage(
            name=name,
            locked=locked,
            latest=found.newest,
            next=coming,
            blocked_by=() if comes else tuple(blocked_by),
        )

    def describe_version(self, name: str, found: AvailableVersions, coming: str | None) -> NewerVersion:
        """Describe the newest version of these."""
        uploaded = self.uploads.times.get((name, found.newest))
        blocked_by = self._explain(name, found.newest, coming, self._explain_python(found))
        return NewerVersion(
            version=found.newest,
            uploaded=uploaded.isoformat(timespec="seconds") if uploaded else None,
            blocked_by=tuple(blocked_by),
        )

    def describe_any(self, name: str, locked: str) -> OutdatedPackage | None:
        """Describe a package; None if nothing is newer."""
        found = self.available.get(name)
        if found is not None and is_newer(found.newest, self.locked[name]):
            return self.describe(name, locked)
        return next(self.unseen({name: locked}), None)

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

    # The explanation of one version

    def _explain_python(self, found: AvailableVersions, note: str = "") -> list[Blocker]:
        """Return the block against the newest version of these, if the Python of the site is too old for it."""
        if found.newest == found.fitting:
            return []
        lowest, newer = re.search(r"python_full_version >= '(\d+\.\d+)", found.marker), self.newer_python
        remedy = f"install Python {lowest[1]}, then `releaser rebuild --python {lowest[1]}`" if lowest else ""
        if newer and found.marker and Marker(found.marker).evaluate(environment_of(newer)):
            remedy = f"`releaser rebuild --python {newer}`"
        reason = f"{found.newest} needs a newer Python than {self.python}{note}"
        return [Blocker(by="python", reason=reason, remedy=remedy)]

    def _explain(
        self, name: str, version: str, coming: str | None, by_python: Sequence[Blocker] = ()
    ) -> Iterator[Blocker]:
        """Yield the blocks against a version; none if it is coming."""
        if coming is not None and version in coming.split(", "):
            return
        yield from by_python
        if self.takes:
            remedy = f"`uv lock --upgrade-package {name}` on your own machine, then commit and push uv.lock"
            yield Blocker(by="policy", reason=f"this site takes {self.takes}", remedy=remedy)
        holds = list(explain(self.rules, name, version, self.uploads))
        is_on_hold = bool(holds or self.takes or by_python)
        constraints = [*self._constraints(name, version, is_on_hold=is_on_hold)]
        yield from (Blocker(by="constraint", reason=reason, remedy=remedy) for reason, remedy in constraints)
        for hold in holds:
            yield Blocker(by=hold.by, reason=hold.why, since=hold.since, remedy=find_remedy(hold.by, name))
        if self._is_reached(name, version) or not (constraints or is_on_hold):
            yield from self._refusals()

    def _refusals(self) -> Iterator[Blocker]:
        found = self.foreseen
        if found.refused:
            yield Blocker(by=found.by, reason=found.refused, since=found.since, remedy=found.remedy)

    def _is_reached(self, name: str, wanted: str) -> bool:
        return wanted in (self.foreseen.versions or {}).get(name, "").split(", ")

    def _constraints(self, name: str, wanted: str, *, is_on_hold: bool) -> Iterable[tuple[str, str]]:
        """Return the requirements and limits against a version, each with its remedy."""
        demands = [one for one in self.demands if one.excludes(name, wanted)]
        versions, against = self.foreseen.versions, {str(one): self._find_remedy(one) for one in demands}
        if versions is None:
            return against.items()
        if name not in versions:
            return [("the next update removes it, as nothing requires it", "")]
        if self._is_reached(name, wanted):
            return []
        if is_on_hold:  # only requirements of the project, and of packages that stay, block it in addition
            stay = {f"{one} {version}" for one, version in versions.items()}
            return {str(one): self._find_remedy(one) for one in demands if one.is_own or one.asker in stay}.items()
        if limit := self._own_limit(name, wanted):
            return [(limit, "change that setting")]
        reached = newest(versions[name].split(", "))
        together = f"the requirements of the project and its packages, taken together, allow {reached} at most"
        conflict = f"`uv lock --dry-run --upgrade-package {name}=={wanted}` names the conflict"
        return against.items() or [(together, conflict)]

    def _find_remedy(self, demand: Demand) -> str:
        """Report where a requirement can be changed, or which package has to be upgraded first."""
        if demand.is_own:
            line = find_line(read_text(self.project, errors="replace"), demand)
            return f"change it in pyproject.toml{f', line {line}' if line else ''}, run `uv lock`, and commit both"
        asker = demand.asker.partition(" ")[0]
        found = self.available.get(asker)
        if found is not None and is_newer(found.newest, self.locked[asker]):
            return f"a newer {asker}: `releaser why {asker}`"
        return f"no newer {asker} exists; `override-dependencies` of [tool.uv] overrules it"

    def _own_limit(self, name: str, version: str) -> str:
        """Report that a time limit in uv's settings blocks a version; empty if none does."""
        limit, times = self.uploads.own_limit(name), self.uploads.times_of(name, version)
        if limit is None or not any(time is None or time >= limit for time in times):
            return ""
        key = "exclude-newer-package" if name in self.uploads.limits else "exclude-newer"
        return f"`{key}` of uv excludes files uploaded after {limit:%Y-%m-%d %H:%M} UTC"
