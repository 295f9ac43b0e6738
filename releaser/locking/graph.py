"""Who asks for which package, and when each version was uploaded, as a lock tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
    project first. `uploaded` is when the first file of a version came to the index, as ISO 8601, by name and version,
    where the index tells. `from_index` are the packages that come from an index, and not from a repository, a URL or a
    directory; `extras` are those that are asked of a package.
    """

    needs: Mapping[str, frozenset[str]]
    own: frozenset[str]
    direct: frozenset[str]
    askers: Mapping[str, tuple[str, ...]]
    uploaded: Mapping[tuple[str, str], str]
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
            uploaded=dict(_upload_times(packages)),
            from_index=frozenset(one["name"] for one in packages if "registry" in _table(one.get("source"))),
            extras=_extras(packages),
        )

    def released(self, name: str, versions: str) -> str | None:
        """Return when the youngest of these versions, comma-separated, was uploaded; None if that is not known."""
        times = [self.uploaded.get((name, version)) for version in versions.split(", ")]
        return max((time for time in times if time), default=None)


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


def _upload_times(packages: list[Table]) -> Iterator[tuple[tuple[str, str], str]]:
    for package in packages:
        files = [_table(package.get("sdist")), *_tables(package.get("wheels"), named=False)]
        times = [time for file in files if (time := _moment(file.get("upload-time")))]
        if times:
            yield (package["name"], str(package.get("version"))), min(times)


def _moment(value: Any) -> str | None:
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return found.astimezone(UTC).isoformat(timespec="seconds")
    except (OverflowError, TypeError, ValueError):
        return None


def _table(value: Any) -> Table:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any, *, named: bool = True) -> Iterator[Table]:
    """Pass over what is no table, or has no name where it ought to have one: a lock may be from a newer uv."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping) and (not named or isinstance(entry.get("name"), str)):
            yield entry
