"""The packages of a uv.lock that are installed here, a key for comparing locks, and packages without a build."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from releaser.locks.lock import LockFile, Package, is_local, version_shown
from releaser.locks.versions import files_of
from releaser.system.digests import hex_digest

if TYPE_CHECKING:
    from packaging.tags import Tag

    Table = Mapping[str, Any]


class Pin(NamedTuple):
    """One package in one version."""

    name: str
    version: str


class IndexFile(NamedTuple):
    """A file of a package from an index, with its digest in the lock."""

    registry: str
    name: str
    version: str
    file: str
    #: As hexadecimal digits; `algorithm:digits` for another algorithm, empty without a digest.
    sha256: str


def list_installed(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[Pin, ...]:
    """Return the packages that `uv sync --group` installs from a lock: third-party, with a version, for this platform.

    `default_groups` are installed too; None stands for all groups. `python` is the version of the interpreter. Doubtful
    packages are included: those behind an extra that depends on another, and all of a lock without a project.
    """
    found = _reach(lock, group=group, default_groups=default_groups, python=python)
    third_party = (package for package in found if not is_local(package) and "version" in package)
    return tuple(sorted({Pin(package["name"], package["version"]) for package in third_party}))


def versions_for(lock: LockFile, python: str) -> Mapping[str, str]:
    """Return the versions in a lock by name; of a package in several versions only those for this Python, if any."""
    if not any(", " in version for version in lock.versions.values()):
        return lock.versions
    found: dict[str, set[str]] = {}
    for package in _reach(lock, group=None, default_groups=None, python=python):
        found.setdefault(package["name"], set()).add(version_shown(package))
    return {name: ", ".join(sorted(found.get(name, [version]))) for name, version in lock.versions.items()}


def index_files(
    lock: LockFile,
    *,
    group: str | None,
    default_groups: Iterable[str] | None,
    python: str,
    built: Collection[str] = (),
) -> tuple[IndexFile, ...]:
    """Return the files from remote indexes that could be installed here: wheels for this Python, else sources.

    For packages that are always `built`, return their sources.
    """
    tags, found = tags_of(python), dict[IndexFile, None]()
    for package in _reach(lock, group=group, default_groups=default_groups, python=python):
        registry = str(package.get("source", {}).get("registry", ""))
        files = files_of(package) if "://" in registry and "version" in package else ()
        sources = [file for file in files if package["name"] in built and not _name(file).endswith(".whl")]
        for file, digest in _choose_files(sources or files, tags):
            found[IndexFile(registry, package["name"], package["version"], file, digest.removeprefix("sha256:"))] = None
    return tuple(found)


def installed_key(
    lock: LockFile, *, python: str, group: str | None = None, default_groups: Iterable[str] | None = None
) -> str:
    """Return a digest that two locks share if they install the same packages here; empty for an empty lock.

    `python` and the groups are as for `list_installed`. The digest covers the name, version and source of each package,
    and the hashes of the files that could be installed: wheels for this Python, else the source. If all files of a
    package have hashes, its index or URL does not count, nor does the URL of a repository with a known commit: the
    contents are the same. The rest of the lock does not count.
    """
    if not lock.data:
        return ""
    root = lock.root
    found = (*([root] if root else []), *_reach(lock, group=group, default_groups=default_groups, python=python))
    entries = {entry for entry, *_ in _describe(lock, found, python)}
    return hex_digest("\n".join(sorted(entries)).encode())


def _describe(
    lock: LockFile, packages: Iterable[Package], python: str
) -> Iterator[tuple[str, Sequence[Table], list[list[str]]]]:
    """Yield for each package an entry that two locks share if they install the same here, its files, and the chosen."""
    tags, by_package = tags_of(python), dict[int, list["Table"]]()
    for package, file in lock.files:
        by_package.setdefault(id(package), []).append(file)
    for one in packages:
        files = by_package.get(id(one), [])
        chosen = _choose_files(files, tags)
        parts = [one["name"], one.get("version"), _source(one, files), chosen]
        yield json.dumps(parts, sort_keys=True), files, chosen


class FromWheel(NamedTuple):
    """A package that is installed from a wheel of an index."""

    #: Two locks share it if they install the same wheel.
    entry: str
    #: The wheels that uv chooses from, by their file names.
    wheels: tuple[str, ...]


def list_wheels(
    lock: LockFile, *, python: str, group: str | None, default_groups: Iterable[str] | None
) -> dict[str, FromWheel]:
    """Return the packages that have a suitable wheel, by name; those in several versions are skipped.

    `python` and the groups are as for `list_installed`. Skips packages without hashes, except those in directories.
    """
    reached = _reach(lock, group=group, default_groups=default_groups, python=python)
    packages = [one for one in reached if "registry" in one.get("source", {})]
    counts, found = Counter(one["name"] for one in reached), dict[str, FromWheel]()
    for package, (entry, files, chosen) in zip(packages, _describe(lock, packages, python), strict=True):
        names = tuple(name for name, _ in chosen)
        in_directory = "://" not in str(package["source"]["registry"])
        is_known = in_directory or all("hash" in file for file in files)
        if counts[package["name"]] == 1 and is_known and names and all(name.endswith(".whl") for name in names):
            found[package["name"]] = FromWheel(entry, names)
    return found


def groups_in(lock: LockFile) -> frozenset[str]:
    """Return the dependency groups of the project of a lock, normalized."""
    from packaging.utils import canonicalize_name

    root = lock.root
    if root is None:
        return frozenset()
    empty = root.get("metadata", {}).get("requires-dev", ())
    return frozenset(canonicalize_name(name) for name in (*root.get("dev-dependencies", ()), *empty))


def _reach(lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str) -> list[Package]:
    known = lock.root.get("dev-dependencies", {}) if lock.root is not None else {}
    groups = set(known) if default_groups is None else {*default_groups, *([group] if group else [])}
    return reach(lock, groups, environment_of(python))


def reach(lock: LockFile, groups: Collection[str], environment: dict[str, str]) -> list[Package]:
    """Return the packages of a lock that are installed with some of its groups, except for the project itself.

    Markers are evaluated for `environment`. Returns all packages of a lock without a project.
    """
    root = lock.root
    if root is None:
        return list(lock.packages)
    known = root.get("dev-dependencies", {})
    by_name: dict[str, list[Package]] = {}
    for package in lock.packages:
        by_name.setdefault(package["name"], []).append(package)
    waiting = [*root.get("dependencies", ()), *(entry for name in known.keys() & groups for entry in known[name])]
    found: list[Package] = []
    seen: set[tuple[int, str]] = set()
    while waiting:
        entry = waiting.pop()
        if not _applies(entry.get("marker"), environment):
            continue
        for package in by_name.get(entry["name"], ()):
            if any(entry.get(key) not in (None, package.get(key)) for key in ("version", "source")):
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


def environment_of(python: str) -> dict[str, str]:
    """Return the environment for markers: this machine, with this version of Python."""
    from packaging.markers import default_environment  # here, as many commands read a lock but no markers

    here = {name: str(value) for name, value in default_environment().items()}
    return {**here, "extra": "", "python_full_version": python, "python_version": ".".join(python.split(".")[:2])}


def _applies(marker: str | None, environment: dict[str, str]) -> bool:
    from packaging.markers import Marker

    if marker is None or "extra" in marker:
        return True
    try:
        return Marker(marker).evaluate(environment)
    except ValueError:  # an invalid marker, or a Python of unknown version
        return True


def find_unbuildable(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[str, ...]:
    """Return the packages of `list_unbuildable` as text, such as `alpha 1.0.0`."""
    pins = list_unbuildable(lock, group=group, default_groups=default_groups, python=python)
    return tuple(f"{pin.name} {pin.version}" for pin in pins)


def list_unbuildable(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[Pin, ...]:
    """Return the packages that would be installed, and that have no build for this Python.

    A package from git or a URL counts as buildable, as only its contents could show the opposite.
    """
    tags = tags_of(python)
    if not tags:
        return ()
    pins = list_installed(lock, group=group, default_groups=default_groups, python=python)
    buildable = {(package["name"], package.get("version")) for package in lock.packages if has_build(package, tags)}
    return tuple(pin for pin in pins if (pin.name, pin.version) not in buildable)


def has_build(package: Package, tags: frozenset[Tag]) -> bool:
    """True if a package of a lock has a source, or a wheel with one of `tags`."""
    wheels = package.get("wheels", ())
    return "sdist" in package or not wheels or any(fits(wheel, tags) for wheel in wheels)


# Sources and files


def _source(package: Table, files: Sequence[Table]) -> Any:
    """Return the kind of a source, and its place unless hashes or a commit identify the contents."""
    source = package.get("source", {})
    git = source.get("git")
    if isinstance(git, str) and (parts := urlsplit(git)).fragment:
        asked = [pair for pair in parse_qsl(parts.query) if pair[0] not in ("rev", "tag", "branch")]
        return {**source, "git": [parts.fragment, *asked]}
    if not files or not all(isinstance(file.get("hash"), str) for file in files):
        return source
    return {key: "" if key in ("registry", "url", "path") else value for key, value in source.items()}


def _choose_files(files: Sequence[Table], tags: frozenset[Tag]) -> list[list[str]]:
    """Return the files of a package that could be installed, each with its hash, or without a hash its place."""
    sources = [file for file in files if not _name(file).endswith(".whl")]
    found = [file for file in files if file not in sources and fits(file, tags)] or sources
    return sorted([_name(package), str(package.get("hash") or _place(package))] for package in found)


def _place(entry: Table) -> str:
    """Return the place of a file, from one of three fields; empty without any of these."""
    return str(next((entry[key] for key in ("filename", "url", "path") if key in entry), ""))


def _name(entry: Table) -> str:
    return unquote(_place(entry).partition("#")[0].partition("?")[0].rpartition("/")[2])


def fits(wheel: Table, tags: frozenset[Tag]) -> bool:
    """True if a wheel of a lock has one of `tags`; without tags, whether it is for this system.

    True if its name cannot be parsed: uv may know better.
    """
    from packaging.tags import platform_tags  # here, as most comparisons need no tags
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        found = parse_wheel_filename(_name(wheel))[3]
    except InvalidWheelFilename:
        return True
    if tags:
        return not tags.isdisjoint(found)
    places = {"any", *platform_tags()}
    return any(tag.platform in places for tag in found)


def tags_of(python: str, *, platforms: Iterable[str] | None = None) -> frozenset[Tag]:
    """Return the tags of the wheels that this version of CPython installs, on this machine or on `platforms`."""
    return frozenset(ordered_tags(python, platforms=platforms))


def ordered_tags(python: str, *, platforms: Iterable[str] | None = None) -> Mapping[Tag, int]:
    """Return the same tags with their ranks: of several wheels, the one with the lowest rank is installed."""
    from packaging.tags import platform_tags

    found = re.match(r"(\d+)\.(\d+)", python)
    if found is None:
        return {}
    return _tags((int(found.group(1)), int(found.group(2))), tuple(platforms or platform_tags()))


@cache
def _tags(version: tuple[int, int], places: tuple[str, ...]) -> Mapping[Tag, int]:
    from packaging.tags import compatible_tags, cpython_tags

    name = f"cp{version[0]}{version[1]}"
    own = cpython_tags(python_version=version, abis=[name], platforms=places)
    others = compatible_tags(python_version=version, interpreter=name, platforms=places)
    return {tag: rank for rank, tag in reversed([*enumerate((*own, *others))])}
