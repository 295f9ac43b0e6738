"""A parsed uv.lock: its packages and versions, who asks for which, and what of it is installed here."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from releaser.locks.sameness import key_of_lock, lock_the_same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from packaging.tags import Tag


Table = Mapping[str, Any]
_LOCAL = ("editable", "directory", "virtual")


class InvalidLockError(ValueError):
    """The text is not a uv.lock."""


class Pin(NamedTuple):
    """One package in one version."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class LockFile:
    """One lock."""

    #: Its text as it is on disk.
    data: bytes
    #: The versions of its packages by name. One that is locked in several (for several platforms or Pythons) shows
    #: them all, comma-separated; a local package without a static version shows `local`.
    versions: Mapping[str, str]
    #: The packages that are directories, the project itself among them: their versions are a matter of the code.
    local: frozenset[str] = frozenset()

    @property
    def sha256(self) -> str:
        """The digest of the text."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def key(self) -> str:
        """A digest of what is installed here, as `same_packages` compares it. Raises InvalidLockError."""
        return key_of_lock(self.content) if self.data else ""

    @property
    def names(self) -> frozenset[str]:
        """The names of all packages."""
        return frozenset(self.versions)

    @property
    def content(self) -> Table:
        """All that the text says, parsed again each time. Raises InvalidLockError."""
        return _parse(self.data)

    def same_packages(self, other: LockFile, *, tags: frozenset[Tag] = frozenset()) -> bool:
        """Whether the same is installed from both, as `lock_the_same` tells; `tags` are those of the Python here."""
        return self.data == other.data or lock_the_same(self.content, other.content, tags)

    @classmethod
    def parse(cls, data: bytes) -> LockFile:
        """Parse the text of a uv.lock; InvalidLockError when it is none."""
        packages = _packages(data)
        versions: dict[str, list[str]] = {}
        for package in packages:
            versions.setdefault(package["name"], []).append(_version(package))
        return cls(
            data=data,
            versions={name: ", ".join(sorted(found)) for name, found in versions.items()},
            local=frozenset(package["name"] for package in packages if is_local(package)),
        )

    @classmethod
    def read(cls, path: Path) -> LockFile:
        """Parse the uv.lock at `path`; OSError when it cannot be read, InvalidLockError when it is none."""
        return cls.parse(path.read_bytes())


EMPTY = LockFile(data=b"", versions={})


def packages_of(lock: LockFile) -> list[Table]:
    """Return the packages of a lock as they stand there; none of an empty one. Raises InvalidLockError."""
    return _packages(lock.data) if lock.data else []


def is_local(package: Table) -> bool:
    """Whether a package is a directory, such as the project itself."""
    return any(kind in package.get("source", {}) for kind in _LOCAL)


def _is_root(package: Table) -> bool:
    return any(package.get("source", {}).get(kind) == "." for kind in _LOCAL)


def _parse(data: bytes) -> Table:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # beside what TOML forbids: numbers too long, nesting too deep
        raise InvalidLockError(str(error)) from error


def _packages(data: bytes) -> list[Table]:
    content = _parse(data)
    packages = content.get("package", [])
    if "version" not in content or not isinstance(packages, list):
        message = "it has no version or no packages"
        raise InvalidLockError(message)
    for package in packages:
        if not isinstance(package, Mapping) or not isinstance(package.get("name"), str):
            message = "a [[package]] has no name"
        elif not isinstance(package.get("version", ""), str):
            message = f"the version of {package['name']} is not a string"
        elif not isinstance(package.get("source", {}), Mapping):
            message = f"the source of {package['name']} is not a table"
        else:
            continue
        raise InvalidLockError(message)
    return packages


def _version(package: Table) -> str:
    if is_local(package):
        return str(package.get("version", "local"))
    version, source = str(package.get("version", "unknown")), package.get("source", {})
    return f"{version} ({str(source['git']).rpartition('#')[2][:9]})" if "git" in source else version


# Who asks for which package


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The packages of a lock and what leads to them."""

    #: What each package asks for, its extras and groups included.
    needs: Mapping[str, frozenset[str]]
    #: The project and the members of its workspace, and what these ask for.
    own: frozenset[str]
    direct: frozenset[str]
    #: The other packages that ask for one, those nearest to the project first.
    askers: Mapping[str, tuple[str, ...]]
    #: The packages that come from an index, and not from a repository, a URL or a directory.
    from_index: frozenset[str]
    #: The extras that are asked of a package.
    extras: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, lock: LockFile) -> Graph:
        """Read the graph out of a lock. Raises InvalidLockError."""
        content = lock.content
        packages, manifest = list(_tables(content.get("package"))), _table(content.get("manifest"))
        members = manifest.get("members")
        own = {one for one in (members if isinstance(members, list) else ()) if isinstance(one, str)}
        own |= {one["name"] for one in packages if any(_table(one.get("source")).get(kind) == "." for kind in _LOCAL)}
        edges: dict[str, set[str]] = {}
        extras: dict[str, set[str]] = {}
        for package in packages:
            needed = edges.setdefault(package["name"], set())
            for entry in _asked_for(package):
                needed.add(entry["name"])
                if isinstance(found := entry.get("extra"), list):
                    extras.setdefault(entry["name"], set()).update(map(str, found))
        direct = {name for one in own for name in edges.get(one, ())}
        direct = (direct | {entry["name"] for entry in _of_groups(manifest, "dependency-groups")}) - own
        return cls(
            needs={name: frozenset(found) for name, found in edges.items()},
            own=frozenset(own),
            direct=frozenset(direct),
            askers=_askers(edges, own, direct),
            from_index=frozenset(one["name"] for one in packages if "registry" in _table(one.get("source"))),
            extras={name: frozenset(found) for name, found in extras.items()},
        )


def _asked_for(package: Table) -> Iterator[Table]:
    yield from _tables(package.get("dependencies"))
    yield from _of_groups(package, "optional-dependencies")
    yield from _of_groups(package, "dev-dependencies")


def _of_groups(table: Table, kind: str) -> Iterator[Table]:
    for entries in _table(table.get(kind)).values():
        yield from _tables(entries)


def _askers(edges: Mapping[str, set[str]], own: set[str], direct: set[str]) -> dict[str, tuple[str, ...]]:
    distances: dict[str, int] = {}  # how many steps each package is away from the project
    reached, steps = set(direct), 1
    while reached:
        distances |= dict.fromkeys(reached, steps)
        reached = {name for one in reached for name in edges.get(one, ())} - distances.keys()
        steps += 1
    askers: dict[str, list[str]] = {}
    for asker in sorted(edges.keys() - own, key=lambda name: (distances.get(name, len(edges)), name)):
        for name in edges[asker] - {asker}:  # by an extra, a package may ask for itself
            askers.setdefault(name, []).append(asker)
    return {name: tuple(found) for name, found in askers.items()}


def _table(value: Any) -> Table:
    return value if isinstance(value, Mapping) else {}


def _tables(value: Any) -> Iterator[Table]:
    """Pass over what is no table, or has no name: a lock may be from a newer uv."""
    for entry in value if isinstance(value, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            yield entry


# What is installed


def list_installed(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[Pin, ...]:
    """List what `uv sync --group` takes from a lock: third-party packages that have a version, on this platform.

    `default_groups` are installed too; None stands for all groups. `python` is the version of the interpreter. Where it
    cannot be told whether a package is among them, it is: an extra that depends on another one, or a lock without a
    project of its own. Raises InvalidLockError.
    """
    found = _reach(lock, group=group, default_groups=default_groups, python=python)
    third_party = (one for one in found if not is_local(one) and "version" in one)
    return tuple(sorted({Pin(one["name"], one["version"]) for one in third_party}))


def installs_the_same(
    one: LockFile,
    other: LockFile,
    *,
    group: str | None,
    default_groups: Iterable[str] | None,
    python: str,
    tags: frozenset[Tag],
) -> bool:
    """Whether two locks differ only in packages that are not installed, if at all; all else is as of `list_installed`.

    `tags` are those of the Python here, as of `lock_the_same`. Raises InvalidLockError.
    """
    groups = None if default_groups is None else tuple(default_groups)

    def part(lock: LockFile) -> Table:
        found = _reach(lock, group=group, default_groups=groups, python=python)
        names = {(package["name"], package.get("version")) for package in found}
        content = lock.content
        packages = [
            package
            for package in content.get("package", [])
            if is_local(package) or (package["name"], package.get("version")) in names
        ]
        return {**content, "package": packages}

    return lock_the_same(part(one), part(other), tags)


def groups_in(lock: LockFile) -> frozenset[str]:
    """Name the dependency groups that the project of a lock has, in normalized form. Raises InvalidLockError."""
    from packaging.utils import canonicalize_name

    root = next((one for one in packages_of(lock) if _is_root(one)), {})
    asked, metadata = root.get("dev-dependencies", {}), root.get("metadata", {})
    empty = metadata.get("requires-dev", {}) if isinstance(metadata, Mapping) else {}
    return frozenset(canonicalize_name(name) for name in (*asked, *empty))


def _reach(lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str) -> list[Table]:
    """Return the packages of a lock that are installed, but for the project itself; all where that is not known."""
    packages = packages_of(lock)
    root = next((one for one in packages if _is_root(one)), None)
    if root is None:
        return packages
    known: Table = root.get("dev-dependencies", {})
    groups = set(known) if default_groups is None else {*default_groups, *([group] if group else [])}
    by_name: dict[str, list[Table]] = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    environment = _environment(python)
    # Each entry names a package, perhaps a version, extras and a marker.
    waiting = [*root.get("dependencies", ()), *(entry for name in groups & known.keys() for entry in known[name])]
    found: list[Table] = []
    seen: set[tuple[int, str]] = set()
    while waiting:
        entry = waiting.pop()
        if not _applies(entry.get("marker"), environment):
            continue
        for package in by_name.get(entry["name"], ()):
            if entry.get("version") not in (None, package.get("version")):
                continue
            for extra in ("", *entry.get("extra", ())):
                if (id(package), extra) in seen:
                    continue
                seen.add((id(package), extra))
                if extra:
                    waiting += package.get("optional-dependencies", {}).get(extra, ())
                else:
                    found.append(package)
                    waiting += package.get("dependencies", ())
    return found


def _environment(python: str) -> dict[str, str]:
    from packaging.markers import default_environment  # here, as many commands read a lock and no marker

    short = ".".join(python.split(".")[:2])
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, "extra": "", "python_full_version": python, "python_version": short}


def _applies(marker: str | None, environment: dict[str, str]) -> bool:
    from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName

    if marker is None or "extra" in marker:
        return True
    try:
        return Marker(marker).evaluate(environment)
    except (InvalidMarker, UndefinedEnvironmentName):
        return True
