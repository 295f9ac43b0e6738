"""A parsed uv.lock: its packages and versions, and their dependents."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, Required, TypedDict

from releaser.errors import UsageError
from releaser.locks.versions import files_of, normalize_name
from releaser.system.files import read_file
from releaser.system.frozen import Frozen, field
from releaser.system.later import Later
from releaser.system.words import did_you_mean

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Mapping
    from pathlib import Path
else:
    hashlib = Later("hashlib")

_LOCAL = ("editable", "directory", "virtual")


class InvalidLockError(ValueError):
    """The text is not a uv.lock."""


# The parts of a uv.lock of uv 0.13 that releaser reads; other parts count only when locks are compared.


class Dependency(TypedDict, total=False):
    """A package that another package requires, perhaps in one of several versions, with extras, or by a marker."""

    name: Required[str]
    version: str
    source: dict[str, Any]
    extra: list[str]
    marker: str


Package = TypedDict(
    "Package",
    {
        "name": Required[str],
        "version": str,
        "source": dict[str, Any],
        "dependencies": list[Dependency],
        "optional-dependencies": dict[str, list[Dependency]],
        "dev-dependencies": dict[str, list[Dependency]],
        "metadata": dict[str, Any],
        "sdist": dict[str, Any],
        "wheels": list[dict[str, Any]],
    },
    total=False,
)
_Manifest = TypedDict(
    "_Manifest", {"members": list[str], "dependency-groups": dict[str, list[Dependency]]}, total=False
)


class _Lock(TypedDict, total=False):
    version: Required[int]
    package: list[Package]
    manifest: _Manifest
    options: dict[str, Any]


class LockFile(Frozen):
    """One uv.lock."""

    #: The text, as on disk.
    data: bytes
    #: The versions of its packages by name. Several versions of a package (for several platforms or Pythons) are
    #: comma-separated; a local package without a static version has `local`.
    versions: Mapping[str, str]
    #: The packages that are directories, with the project itself: the code decides their versions.
    local: frozenset[str] = frozenset()
    #: The parsed text, and its packages.
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    packages: tuple[Package, ...] = field(default=(), repr=False, compare=False)

    @functools.cached_property
    def files(self) -> tuple[tuple[Package, dict[str, Any]], ...]:
        """The entries of all sources and wheels, each with its package."""
        return tuple((package, file) for package in self.packages for file in files_of(package))

    @functools.cached_property
    def root(self) -> Package | None:
        """The package of the project itself; None in a lock of a workspace without one."""
        own = (
            package for package in self.packages if any(package.get("source", {}).get(kind) == "." for kind in _LOCAL)
        )
        return next(own, None)

    @property
    def sha256(self) -> str:
        """The digest of the text."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def names(self) -> frozenset[str]:
        """The names of all packages."""
        return frozenset(self.versions)

    @property
    def has_own(self) -> bool:
        """True if the lock may install a package of the project: not from an index, git or a URL."""
        elsewhere = {"registry", "git", "url", "virtual"}
        return any(elsewhere.isdisjoint(package.get("source", {})) for package in self.packages)

    @property
    def without_wheels(self) -> frozenset[str]:
        """The names of the packages of which some version has no wheels."""
        return frozenset(
            package["name"] for package in self.packages if not package.get("wheels") and not is_local(package)
        )

    @classmethod
    @functools.lru_cache(maxsize=4)  # one run parses the same few locks many times
    def parse(cls, data: bytes) -> LockFile:
        """Parse the text of a uv.lock. Raises InvalidLockError."""
        import tomli

        from releaser.system.exact import convert

        try:
            content = tomli.loads(data.decode("utf-8"))
            packages = convert(content, _Lock).get("package", [])
        except (ValueError, RecursionError) as error:  # also for too long numbers, too deep nesting
            raise InvalidLockError(str(error)) from error
        versions: dict[str, list[str]] = {}
        for package in packages:
            versions.setdefault(package["name"], []).append(version_shown(package))
        return cls(
            data=data,
            versions={name: ", ".join(sorted(found)) for name, found in versions.items()},
            local=frozenset(package["name"] for package in packages if is_local(package)),
            content=content,
            packages=tuple(content.get("package", ())),
        )

    @classmethod
    def read(cls, path: Path) -> LockFile:
        """Parse the uv.lock at `path`. Raises OSError and InvalidLockError."""
        return cls.parse(read_file(path))


EMPTY = LockFile(data=b"", versions={})


def is_local(package: Package) -> bool:
    """True if a package is a directory, such as the project itself."""
    return any(kind in package.get("source", {}) for kind in _LOCAL)


def version_shown(package: Package) -> str:
    """Return the version of a package as people see it: with a git commit, or `local` for a directory without one."""
    if is_local(package):
        return package.get("version", "local")
    version, source = package.get("version", "unknown"), package.get("source", {})
    return f"{version} ({str(source['git']).rpartition('#')[2][:9]})" if "git" in source else version


def find_locked(lock: LockFile, name: str) -> str:
    """Return the name of a package as in this lock. Raises UsageError if it is not locked, or is part of the code."""
    found = normalize_name(name)
    if found in lock.local:
        message = f"{found} is part of the checkout; the code decides its version"
        raise UsageError(message, "Name packages that come from elsewhere.")
    if found not in lock.names:
        meant = did_you_mean(found, sorted(lock.names - lock.local), most=3)
        advice = meant or "`uv tree` lists the packages of the project."
        message = f"{found or 'a package without a name'} is not in uv.lock"
        raise UsageError(message, advice)
    return found


# Dependents


class Graph(Frozen):
    """The packages of a lock and their dependencies."""

    #: The packages that each package requires, with its extras and groups.
    needs: Mapping[str, frozenset[str]]
    #: The project and the members of its workspace; and the packages that these require.
    own: frozenset[str]
    direct: frozenset[str]
    #: The other packages that require a package, nearest to the project first.
    askers: Mapping[str, tuple[str, ...]]
    #: The packages from an index, not from a repository, a URL or a directory.
    from_index: frozenset[str]
    #: The required extras of each package.
    extras: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, lock: LockFile) -> Graph:
        """Return the graph of a lock."""
        manifest: _Manifest = lock.content.get("manifest", {})
        root = lock.root
        own = {*manifest.get("members", ()), *([root["name"]] if root else [])}
        edges: dict[str, set[str]] = {}
        extras: dict[str, set[str]] = {}
        for package in lock.packages:
            needed = edges.setdefault(package["name"], set())
            kinds = (package.get("optional-dependencies", {}), package.get("dev-dependencies", {}))
            lists = (package.get("dependencies", []), *(entries for kind in kinds for entries in kind.values()))
            for entry in itertools.chain.from_iterable(lists):
                needed.add(entry["name"])
                if "extra" in entry:
                    extras.setdefault(entry["name"], set()).update(entry["extra"])
        direct = {name for one in own for name in edges.get(one, ())}
        direct |= {one["name"] for group in manifest.get("dependency-groups", {}).values() for one in group}
        return cls(
            needs={name: frozenset(found) for name, found in edges.items()},
            own=frozenset(own),
            direct=frozenset(direct - own),
            askers=_askers(edges, own, direct - own),
            from_index=frozenset(locked["name"] for locked in lock.packages if "registry" in locked.get("source", {})),
            extras={name: frozenset(found) for name, found in extras.items()},
        )


def _askers(edges: Mapping[str, set[str]], own: set[str], direct: set[str]) -> dict[str, tuple[str, ...]]:
    distances: dict[str, int] = {}  # steps from the project to each package
    reached, steps = set(direct), 1
    while reached:
        distances |= dict.fromkeys(reached, steps)
        reached = {name for package_name in reached for name in edges.get(package_name, ())} - distances.keys()
        steps += 1
    askers: dict[str, list[str]] = {}
    for asker in sorted(edges.keys() - own, key=lambda name: (distances.get(name, len(edges)), name)):
        for name in edges[asker] - {asker}:  # by an extra, a package may require itself
            askers.setdefault(name, []).append(asker)
    return {name: tuple(found) for name, found in askers.items()}


def asked_by_project(lock: LockFile) -> dict[str, tuple[str, ...]]:
    """Return where the project requires each package: `project` for its dependencies, `extra x` or `group x`."""
    manifest: _Manifest = lock.content.get("manifest", {})
    asked: dict[str, list[str]] = {}
    lists = [(f"group {name}", entries) for name, entries in manifest.get("dependency-groups", {}).items()]
    own = Graph.of(lock).own
    for package in lock.packages:
        if package["name"] in own:
            lists.append(("project", package.get("dependencies", [])))
            lists += [(f"extra {name}", entries) for name, entries in package.get("optional-dependencies", {}).items()]
            lists += [(f"group {name}", entries) for name, entries in package.get("dev-dependencies", {}).items()]
    for place, entries in lists:
        for name in dict.fromkeys(entry["name"] for entry in entries):
            asked.setdefault(name, []).append(place)
    return {name: tuple(dict.fromkeys(found)) for name, found in asked.items()}
