"""Which third-party packages of a lock a release installs: those that the project and its groups lead to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName, default_environment
from packaging.utils import canonicalize_name

from releaser.locking.lockfile import is_local, packages_of
from releaser.locking.sameness import lock_the_same

if TYPE_CHECKING:
    from packaging.tags import Tag

    from releaser.locking.lockfile import LockFile


class Pin(NamedTuple):
    """One package in one version."""

    name: str
    version: str


def installed(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[Pin, ...]:
    """List what `uv sync --group` takes from a lock: third-party packages that have a version, on this platform.

    `default_groups` are installed too; None stands for all groups. `python` is the version of the interpreter. Where it
    cannot be told whether a package is among them, it is: an extra that depends on another one, or a lock without a
    project of its own. Raises InvalidLockError.
    """
    return _pins(_reached(lock, group=group, default_groups=default_groups, python=python))


def installs_the_same(
    one: LockFile,
    other: LockFile,
    *,
    group: str | None,
    default_groups: Iterable[str] | None,
    python: str,
    tags: frozenset[Tag],
) -> bool:
    """Whether two locks differ only in packages that are not installed, if at all; all else is as of `installed`.

    `tags` are those of the Python here, as of `lock_the_same`. Raises InvalidLockError.
    """
    groups = None if default_groups is None else tuple(default_groups)

    def part(lock: LockFile) -> Mapping[str, Any]:
        reached = _reached(lock, group=group, default_groups=groups, python=python)
        names = {(package["name"], package.get("version")) for package in reached}
        content = lock.content
        packages = [
            package
            for package in content.get("package", [])
            if is_local(package) or (package["name"], package.get("version")) in names
        ]
        return {**content, "package": packages}

    return lock_the_same(part(one), part(other), tags)


def _reached(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> list[Mapping[str, Any]]:
    """Return the packages of a lock that are installed, but for the project itself; all where that is not known."""
    packages = packages_of(lock)
    root = next((one for one in packages if _is_root(one)), None)
    if root is None:
        return packages
    known: Mapping[str, Any] = root.get("dev-dependencies", {})
    groups = set(known) if default_groups is None else {*default_groups, *([group] if group else [])}
    walk = _Walk(packages, _environment(python))
    walk.follow(root.get("dependencies", ()))
    for name in groups & known.keys():
        walk.follow(known[name])
    return walk.found


def groups_in(lock: LockFile) -> frozenset[str]:
    """Name the dependency groups that the project of a lock has, in normalized form. Raises InvalidLockError."""
    root = next((one for one in packages_of(lock) if _is_root(one)), {})
    asked, metadata = root.get("dev-dependencies", {}), root.get("metadata", {})
    empty = metadata.get("requires-dev", {}) if isinstance(metadata, Mapping) else {}
    return frozenset(canonicalize_name(name) for name in (*asked, *empty))


class _Walk:
    """A walk over the dependencies of a lock."""

    def __init__(self, packages: Iterable[Mapping[str, Any]], environment: dict[str, str]) -> None:
        self._by_name: dict[str, list[Mapping[str, Any]]] = {}
        for package in packages:
            self._by_name.setdefault(package["name"], []).append(package)
        self._environment = environment
        self._seen: set[tuple[int, str]] = set()
        self.found: list[Mapping[str, Any]] = []

    def follow(self, dependencies: Iterable[Mapping[str, Any]]) -> None:
        """Walk on from these entries, each of which names a package, perhaps a version, extras and a marker."""
        waiting = list(dependencies)
        while waiting:
            entry = waiting.pop()
            if not self._applies(entry.get("marker")):
                continue
            for package in self._by_name.get(entry["name"], ()):
                if entry.get("version") in (None, package.get("version")):
                    for extra in ("", *entry.get("extra", ())):
                        waiting += self._visit(package, extra)

    def _visit(self, package: Mapping[str, Any], extra: str) -> list[Mapping[str, Any]]:
        if (id(package), extra) in self._seen:
            return []
        self._seen.add((id(package), extra))
        if extra:
            return list(package.get("optional-dependencies", {}).get(extra, ()))
        self.found.append(package)
        return list(package.get("dependencies", ()))

    def _applies(self, marker: str | None) -> bool:
        if marker is None or "extra" in marker:
            return True
        try:
            return Marker(marker).evaluate(self._environment)
        except (InvalidMarker, UndefinedEnvironmentName):
            return True


def _environment(python: str) -> dict[str, str]:
    short = ".".join(python.split(".")[:2])
    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, "extra": "", "python_full_version": python, "python_version": short}


def _is_root(package: Mapping[str, Any]) -> bool:
    source = package.get("source", {})
    return any(source.get(kind) == "." for kind in ("editable", "virtual", "directory"))


def _pins(packages: Iterable[Mapping[str, Any]]) -> tuple[Pin, ...]:
    third_party = (one for one in packages if not is_local(one) and "version" in one)
    return tuple(sorted({Pin(one["name"], one["version"]) for one in third_party}))
