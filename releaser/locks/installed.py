"""What of a uv.lock is installed here, and which of it a given Python could not install."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from releaser.locks.lock import is_local, is_root
from releaser.locks.sameness import fits, lock_the_same, tags_of

if TYPE_CHECKING:
    from packaging.tags import Tag

    from releaser.locks.lock import LockFile, Package
    from releaser.locks.sameness import Table


class Pin(NamedTuple):
    """One package in one version."""

    name: str
    version: str


def list_installed(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[Pin, ...]:
    """List what `uv sync --group` takes from a lock: third-party packages that have a version, on this platform.

    `default_groups` are installed too; None stands for all groups. `python` is the version of the interpreter. Where it
    cannot be told whether a package is among them, it is: an extra that depends on another one, or a lock without a
    project of its own.
    """
    found = _reach(lock, group=group, default_groups=default_groups, python=python)
    third_party = (one for one in found if not is_local(one) and "version" in one)
    return tuple(sorted({Pin(one["name"], one["version"]) for one in third_party}))


def installs_the_same(
    one: LockFile, other: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> bool:
    """Whether two locks differ only in packages that `list_installed` leaves out, if at all."""
    groups = None if default_groups is None else tuple(default_groups)

    def part(lock: LockFile) -> Table:
        found = _reach(lock, group=group, default_groups=groups, python=python)
        names = {(package["name"], package.get("version")) for package in found}
        wanted = (one for one in lock.packages if is_local(one) or (one["name"], one.get("version")) in names)
        return {**lock.content, "package": list(wanted)}

    return lock_the_same(part(one), part(other), tags_of(python))


def groups_in(lock: LockFile) -> frozenset[str]:
    """Name the dependency groups that the project of a lock has, in normalized form."""
    from packaging.utils import canonicalize_name

    root = next((one for one in lock.packages if is_root(one)), None)
    if root is None:
        return frozenset()
    empty = root.get("metadata", {}).get("requires-dev", ())
    return frozenset(canonicalize_name(name) for name in (*root.get("dev-dependencies", ()), *empty))


def _reach(lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str) -> list[Package]:
    """Return the packages of a lock that are installed, but for the project itself; all where that is not known."""
    root = next((one for one in lock.packages if is_root(one)), None)
    if root is None:
        return list(lock.packages)
    known = root.get("dev-dependencies", {})
    groups = set(known) if default_groups is None else {*default_groups, *([group] if group else [])}
    by_name: dict[str, list[Package]] = {}
    for package in lock.packages:
        by_name.setdefault(package["name"], []).append(package)
    environment = _environment(python)
    waiting = [*root.get("dependencies", ()), *(entry for name in groups & known.keys() for entry in known[name])]
    found: list[Package] = []
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


def find_unbuildable(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[str, ...]:
    """Return the packages that would be installed, each with its version, and that have no build for this Python.

    A package from git or a URL counts as one that has: that depends on what is there.
    """
    tags = tags_of(python)
    if not tags:
        return ()
    pins = list_installed(lock, group=group, default_groups=default_groups, python=python)
    buildable = {(one["name"], one.get("version")) for one in lock.packages if has_build(one, tags)}
    return tuple(f"{pin.name} {pin.version}" for pin in pins if (pin.name, pin.version) not in buildable)


def has_build(package: Package, tags: frozenset[Tag]) -> bool:
    """Whether a package of a lock has a source, or a wheel with one of `tags`."""
    wheels = package.get("wheels", ())
    return "sdist" in package or not wheels or any(fits(wheel, tags) for wheel in wheels)
