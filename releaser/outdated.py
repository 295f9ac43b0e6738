"""What is newer than what is locked, and what keeps it from coming in; nothing of the site is written."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.errors import PreflightError, Unfit
from releaser.locking.demands import Demand, demands, project_demands
from releaser.locking.graph import Graph
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.locking.policy import is_newer
from releaser.locking.question import newest_of
from releaser.locking.uploads import Uploads, times_of
from releaser.project.pythons import choose
from releaser.releases.installed import requirements_in
from releaser.releases.store import ReleaseStore
from releaser.report.text import why_held
from releaser.steps.judging import gates_of, objections, undecided
from releaser.steps.newest import Market, locked_in, without_restraint
from releaser.steps.resolve import lock_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.locking.gates import Gates
    from releaser.locking.question import Available
    from releaser.project.pythons import Choice
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.tools.uv import Uv


@dataclass(frozen=True, kw_only=True)
class Keeper:
    """What keeps a version out: `by` names the kind, as of what is held back, or `python` or `constraint`."""

    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Newer:
    """A package of which there is a newer version; what nothing keeps comes with the next update."""

    name: str
    locked: str
    latest: str
    kept_by: tuple[Keeper, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """All that is newer, by name; the index was not asked about `elsewhere`, and knows nothing of `unknown`."""

    newer: tuple[Newer, ...]
    elsewhere: tuple[str, ...]
    unknown: tuple[str, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return what `outdated --json` prints."""
        return [asdict(one) for one in self.newer]


def outdated(site: Site) -> Outlook:
    """Ask the index for what is newer than the lock of the live release, or of the checkout if there is none.

    Raises PreflightError, and ResolutionError when the index cannot be reached.
    """
    live = ReleaseStore(state_dir=site.project.state_dir, link=site.project.venv).live()
    lock = _lock(site, live)
    graph = Graph.of(lock)
    uv = site.uv()
    choice = _choose_python(site, uv)
    python, version = choice.python, choice.version
    with tempfile.TemporaryDirectory(prefix="releaser-outdated-") as place:
        locked = {name: newest_of(lock.versions[name].split(", ")) for name in sorted(graph.from_index)}
        market = Market(site=site, uv=uv, place=Path(place), python=python, version=version)
        available = market.available(locked)
    behind = [name for name, found in available.items() if is_newer(found.newest, locked[name])]
    now = datetime.now(UTC)
    checkout = locked_in(site)
    view = _View(
        gates=gates_of(site, checkout, lock_of(live), python=version, now=now),
        uploads=_uploads(available, behind),
        python=version,
        locked=locked,
        available=available,
        reachable=without_restraint(site, uv, checkout, python=python) if behind else None,
        demands=tuple(_demands(site, live, graph, version)) if behind else (),
        undecided=undecided(site.project.state_dir),
    )
    return Outlook(
        newer=tuple(
            Newer(
                name=name,
                locked=lock.versions[name],
                latest=available[name].newest,
                kept_by=tuple(view.keepers(name)),
            )
            for name in sorted(behind)
        ),
        elsewhere=tuple(sorted(lock.versions.keys() - graph.from_index - graph.own)),
        unknown=tuple(name for name in locked if name not in available),
    )


def _lock(site: Site, live: Release | None) -> LockFile:
    if live is not None and (lock := lock_of(live)).data:
        return lock
    path = site.project.lock
    try:
        return LockFile.read(path)
    except (OSError, InvalidLockError) as error:
        message = f"{path} is not a lock that can be read: {error}"
        raise PreflightError((Unfit(message, advice="Make one: `uv lock`; `releaser check` tells more."),)) from error


def _choose_python(site: Site, uv: Uv) -> Choice:
    """Choose the interpreter that the next update builds with."""
    try:
        return choose(site, uv)
    except Unfit as error:
        raise PreflightError((error,)) from error


def _demands(site: Site, live: Release | None, graph: Graph, python: str) -> Iterator[Demand]:
    yield from project_demands(site.pyproject.content, python=python)
    venv = live.venv if live is not None else site.project.venv
    for package in requirements_in(venv):
        if package.name not in graph.own:
            extras = graph.extras.get(package.name, frozenset())
            asker = f"{package.name} {package.version}"
            yield from demands(asker, package.requires, python=python, extras=extras)


def _uploads(available: Mapping[str, Available], names: Iterable[str]) -> Uploads:
    """Return when the versions that are newer were uploaded."""
    return Uploads(times=times_of(entry for name in names for entry in available[name].entries))


@dataclass(frozen=True, kw_only=True)
class _View:
    """All that is known: the gates, what is locked, what there is, who asks for what, what uv would lock if free to.

    `reachable`, the last of these, is None where the dependencies of the project have no solution.
    """

    gates: Gates
    uploads: Uploads
    python: str
    locked: Mapping[str, str]
    available: Mapping[str, Available]
    reachable: Mapping[str, str] | None
    demands: tuple[Demand, ...]
    #: Why nobody knows of some versions whether they work.
    undecided: Mapping[tuple[str, str], str]

    def keepers(self, name: str) -> Iterator[Keeper]:
        """Yield what keeps the newest version of a package out."""
        latest = self.available[name].newest
        fitting = self.available[name].fitting or self.locked[name]
        comes_closer = is_newer(fitting, self.locked[name])
        if is_newer(latest, fitting):
            closest = f"; {fitting} is the newest for it" if comes_closer else ""
            yield Keeper(by="python", reason=f"{latest} needs a newer Python than {self.python}{closest}")
        if comes_closer:
            yield from self._constraints(name, fitting)
            if (name, fitting) in self.undecided:
                yield Keeper(by="undecided", reason=self.undecided[name, fitting])
            for kept in objections(self.gates, name, fitting, self.uploads):
                yield Keeper(by=kept.by, reason=why_held(kept.reason, by=kept.by, since=kept.since))

    def _constraints(self, name: str, wanted: str) -> Iterator[Keeper]:
        excluding = [str(one) for one in self.demands if one.excludes(name, wanted)]
        if self.reachable is None:
            yield from (Keeper(by="constraint", reason=reason) for reason in excluding)
        elif name not in self.reachable:
            yield Keeper(by="constraint", reason="it goes with the next update, as nothing asks for it any more")
        elif is_newer(wanted, reached := newest_of(self.reachable[name].split(", "))):
            reasons = excluding or [
                f"what the project and its packages ask for, taken together, admits {reached} at most"
            ]
            yield from (Keeper(by="constraint", reason=reason) for reason in dict.fromkeys(reasons))
