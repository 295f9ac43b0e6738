"""Who asks for which package, as a lock tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.locking.lockfile import LockFile

Table = Mapping[str, Any]
_PLACES = ("virtual", "editable", "directory")


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The packages of a lock and what leads to them.

    `needs` are those that each asks for, its extras and groups included. `own` are the project and the members of its
    workspace, `direct` what these ask for. `askers` are the other packages that ask for one, those nearest to the
    project first. `from_index` are the packages that come from an index, and not from a repository, a URL or a
    directory; `extras` are those that are asked of a package.
    """

    needs: Mapping[str, frozenset[str]]
    own: frozenset[str]
    direct: frozenset[str]
    askers: Mapping[str, tuple[str, ...]]
    from_index: frozenset[str]
    extras: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, lock: LockFile) -> Graph:
        """Read the graph out of a lock. Raises InvalidLockError."""
        content = lock.content
        packages = list(_tables(content.get("package")))
        manifest = _table(content.get("manifest"))
        own = _own_names(packages, manifest)
        edges: dict[str, set[str]] = {}
        for package in packages:
            edges.setdefault(package["name"], set()).update(entry["name"] for entry in _asked_for(package))
        direct = {name for one in own for name in edges.get(one, ())} | {
            entry["name"] for entry in _of_groups(manifest, "dependency-groups")
        }
        return cls(
            needs={name: frozenset(found) for name, found in edges.items()},
            own=frozenset(own),
            direct=frozenset(direct - own),
            askers=_askers(edges, own, direct - own),
            from_index=frozenset(one["name"] for one in packages if "registry" in _table(one.get("source"))),
            extras=_extras(packages),
        )


def _own_names(packages: list[Table], manifest: Table) -> set[str]:
    """Return the project and the members of its workspace."""
    members = manifest.get("members")
    own = {member for member in members if isinstance(member, str)} if isinstance(members, list) else set()
    roots = (one["name"] for one in packages if any(_table(one.get("source")).get(kind) == "." for kind in _PLACES))
    return own.union(roots)


def _asked_for(package: Table) -> Iterator[Table]:
    yield from _tables(package.get("dependencies"))
    yield from _of_groups(package, "optional-dependencies")
    yield from _of_groups(package, "dev-dependencies")


def _of_groups(table: Table, kind: str) -> Iterator[Table]:
    for entries in _table(table.get(kind)).values():
        yield from _tables(entries)


def _extras(packages: list[Table]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for package in packages:
        for entry in _asked_for(package):
            if isinstance(extras := entry.get("extra"), list):
                found.setdefault(entry["name"], set()).update(map(str, extras))
    return {name: frozenset(extras) for name, extras in found.items()}


def _askers(edges: Mapping[str, set[str]], own: set[str], direct: set[str]) -> dict[str, tuple[str, ...]]:
    distances = _distances(edges, direct)
    askers: dict[str, list[str]] = {}
    for asker in sorted(edges.keys() - own, key=lambda name: (distances.get(name, len(edges)), name)):
        for name in edges[asker] - {asker}:  # by an extra, a package may ask for itself
            askers.setdefault(name, []).append(asker)
    return {name: tuple(found) for name, found in askers.items()}


def _distances(edges: Mapping[str, set[str]], direct: set[str]) -> dict[str, int]:
    """Return how many steps each package is away from the project."""
    distances: dict[str, int] = {}
    reached, steps = set(direct), 1
    while reached:
        distances |= dict.fromkeys(reached, steps)
        reached = {name for one in reached for name in edges.get(one, ())} - distances.keys()
        steps += 1
    return distances


def _table(value: Any) -> Table:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any) -> Iterator[Table]:
    """Pass over what is no table, or has no name: a lock may be from a newer uv."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            yield entry
