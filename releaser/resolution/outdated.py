"""What is newer than what is locked, and what blocks it; nothing of the site is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from releaser.answers import Blocker, OutdatedPackage
from releaser.errors import Finding, PreflightError, ToolError
from releaser.locks.changes import parse_changes
from releaser.locks.lock import EMPTY, Graph, InvalidLockError, LockFile
from releaser.locks.rules import explain
from releaser.locks.versions import Uploads, is_newer
from releaser.releases.metadata import requirements_in
from releaser.releases.quarantine import Constraints
from releaser.releases.store import store_of
from releaser.resolution.available import ask_index, environment_of, newest_of, unanswered
from releaser.resolution.resolve import lock_of
from releaser.resolution.rules import rules_for, select_holds
from releaser.site.pythons import choose, find_newer_python
from releaser.system.words import why_held
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.locks.rules import Rules
    from releaser.releases.release import Release
    from releaser.resolution.available import AvailableVersions
    from releaser.site.site import Site
    from releaser.tools.uv import Uv


@dataclass(frozen=True, kw_only=True)
class OutdatedReport:
    """All that is newer."""

    packages: tuple[OutdatedPackage, ...]
    #: Packages that come from no index, so that none was asked.
    elsewhere: tuple[str, ...]
    #: Packages of which the index has no version.
    unknown: tuple[str, ...]
    #: As in `Status`.
    newer_python: str | None


def find_outdated(site: Site) -> OutdatedReport:
    """Ask the index for what is newer than the lock of the live release, or of the checkout if there is none.

    Raises PreflightError, and ResolutionError when the index cannot be reached.
    """
    live = store_of(site).live()
    lock = _lock(site, live)
    graph = Graph.of(lock)
    uv = site.uv()
    choice = choose(site, uv)
    locked = {name: newest_of(lock.versions[name].split(", ")) for name in sorted(graph.from_index)}
    available = ask_index(site, uv, locked, python=choice.python, version=choice.version)
    behind = sorted(name for name, found in available.items() if is_newer(found.newest, locked[name]))
    checkout, constraints = _lock_of_checkout(site), Constraints.read(site.state_dir)
    now = datetime.now(UTC)
    holds = select_holds(site, constraints.holds, python=choice.version, now=now)
    known = _Known(
        rules=rules_for(site, checkout, lock_of(live), replace(constraints, holds=holds), now=now),
        uploads=Uploads(times={key: time for name in behind for key, time in available[name].times.items()}),
        python=choice.version,
        locked=locked,
        available=available,
        reachable=_resolve_freely(site, uv, checkout, python=choice.python) if behind else None,
        requirements=tuple(_requirements(site, live, graph, choice.version)) if behind else (),
        undecided={(one.name, one.version): one.reason for one in constraints.holds.entries if one.by == "undecided"},
    )
    return OutdatedReport(
        packages=tuple(
            OutdatedPackage(
                name=name,
                locked=lock.versions[name],
                latest=available[name].newest,
                kept_by=tuple(known.blockers(name)),
            )
            for name in behind
        ),
        elsewhere=tuple(sorted(lock.versions.keys() - graph.from_index - graph.own)),
        unknown=tuple(name for name in locked if name not in available),
        newer_python=find_newer_python(site, uv, choice.version),
    )


def _lock(site: Site, live: Release | None) -> LockFile:
    if live is not None and (lock := lock_of(live)).data:
        return lock
    try:
        return LockFile.read(site.project.lock)
    except (OSError, InvalidLockError) as error:
        message = f"{site.project.lock} is not a lock that can be read: {error}"
        raise PreflightError(Finding(message, advice="Make one: `uv lock`; `releaser check` tells more.")) from error


def _lock_of_checkout(site: Site) -> LockFile:
    try:
        return LockFile.read(site.project.lock)
    except (OSError, InvalidLockError):
        return EMPTY


# What blocks them


def _resolve_freely(site: Site, uv: Uv, locked: LockFile, *, python: Path) -> Mapping[str, str] | None:
    """Return what uv would lock if releaser kept nothing out; None if what the project asks for has no solution.

    `locked` is the lock of the checkout. Raises ResolutionError.
    """
    try:
        done = uv.lock(site.project.root, ["lock", "--upgrade", "--dry-run"], python=python)
    except ToolError as error:
        what = "could not determine what an update would bring"
        raise unanswered(error.output or error.message, what=what, advice=error.advice) from error
    if isinstance(done, NoSolution):
        return None
    changes = {change.name: change.new for change in parse_changes(done.output)}
    versions: dict[str, str | None] = {**locked.versions, **changes}
    return {name: version for name, version in versions.items() if version is not None}


def _requirements(site: Site, live: Release | None, graph: Graph, python: str) -> Iterator[tuple[str, Requirement]]:
    """Yield who asks for what: the project in all its extras and groups, and the installed packages in those in use."""
    project, uv = site.pyproject.table("project"), site.pyproject.table("tool", "uv")
    asked = [("the project", project.get("dependencies"))]
    for kind, table in (
        ("extra", site.pyproject.table("project", "optional-dependencies")),
        ("group", site.pyproject.groups),
    ):
        asked += [(f"the project ({kind} {name})", texts) for name, texts in table.items()]
    for key in ("constraint-dependencies", "override-dependencies", "dev-dependencies"):
        asked.append((f"the project ({key})", uv.get(key)))
    environment = environment_of(python)
    for asker, texts in asked:
        for requirement in _applying(texts if isinstance(texts, list) else (), environment, extras=()):
            yield asker, requirement
    for package in requirements_in(live.venv if live is not None else site.project.venv):
        if package.name not in graph.own:
            extras = graph.extras.get(package.name, frozenset())
            for requirement in _applying(package.requires, environment, extras=extras):
                yield f"{package.name} {package.version}", requirement


def _applying(
    texts: Iterable[object], environment: Mapping[str, str], *, extras: Iterable[str]
) -> Iterator[Requirement]:
    """Yield the requirements that apply there, and if these extras are wanted; what cannot be read is passed over."""
    for text in texts:
        try:
            wanted = Requirement(str(text))
            marker = wanted.marker
            if marker is None or any(marker.evaluate({**environment, "extra": one}) for one in ("", *extras)):
                yield wanted
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue


@dataclass(frozen=True, kw_only=True)
class _Known:
    """All that decides what blocks a version."""

    rules: Rules
    uploads: Uploads
    python: str
    locked: Mapping[str, str]
    available: Mapping[str, AvailableVersions]
    #: What uv would lock if free to; None where the dependencies of the project have no solution.
    reachable: Mapping[str, str] | None
    #: Who asks for what.
    requirements: tuple[tuple[str, Requirement], ...]
    #: Why nobody knows of some versions whether they work.
    undecided: Mapping[tuple[str, str], str]

    def blockers(self, name: str) -> Iterator[Blocker]:
        """Yield what keeps the newest version of a package out."""
        latest = self.available[name].newest
        fitting = self.available[name].fitting or self.locked[name]
        comes_closer = is_newer(fitting, self.locked[name])
        if is_newer(latest, fitting):
            closest = f"; {fitting} is the newest for it" if comes_closer else ""
            yield Blocker(by="python", reason=f"{latest} needs a newer Python than {self.python}{closest}")
        if comes_closer:
            yield from (Blocker(by="constraint", reason=reason) for reason in self._constraints(name, fitting))
            if (name, fitting) in self.undecided:
                yield Blocker(by="undecided", reason=self.undecided[name, fitting])
            for one in explain(self.rules, name, fitting, self.uploads):
                yield Blocker(by=one.by, reason=why_held(one.reason, by=one.by, since=one.since))

    def _constraints(self, name: str, wanted: str) -> Iterable[str]:
        excluding = dict.fromkeys(
            f"{asker} asks for {one.name}{one.specifier}"
            for asker, one in self.requirements
            if canonicalize_name(one.name) == name and not one.specifier.contains(wanted, prereleases=True)
        )
        if self.reachable is None:
            return excluding
        if name not in self.reachable:
            return ["the next update removes it, as nothing requires it"]
        reached = newest_of(self.reachable[name].split(", "))
        if not is_newer(wanted, reached):
            return []
        return excluding or [f"what the project and its packages ask for, taken together, admits {reached} at most"]
