"""Whether two locks lock the same: what in a uv.lock decides what is installed here, and what does not."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag

    Table = Mapping[str, Any]


_FORM = frozenset({"revision"})  # of the whole file
_LIMITS = frozenset({"exclude-newer", "exclude-newer-span", "exclude-newer-package"})  # of `options`
_DERIVED = frozenset({"provides-extras"})  # of `metadata`
_FILES = frozenset({"sdist", "wheels"})  # of a package, compared by themselves
_ASKED_FOR = frozenset({"rev", "tag", "branch"})  # in the URL of a repository, whose commit stands behind it


def lock_the_same(one: Table, other: Table, tags: frozenset[Tag] = frozenset()) -> bool:
    """Whether the same is installed from two parsed locks, field by field (uv 0.13: `version = 1`, `revision = 5`).

    These decide, and any difference counts: `version` (of the format), `requires-python`, `resolution-markers`,
    `supported-markers`, `required-markers`, `conflicts`, and the modes in `options`; of each package `name`,
    `version`, `resolution-markers`, `dependencies`, `optional-dependencies` and `dev-dependencies` with their extras
    and markers, the kind of its `source`, and the hashes of its files. So do `manifest` and `metadata`, which say
    what the lock was made for: uv locks again where pyproject.toml says otherwise. A field that is not known counts.

    These do not: the order of anything, `revision`, the limits of age in `options` (`exclude-newer`), `provides-extras`
    in `metadata`, which not every uv writes, and of a file its `size`, its `upload-time`, and all but the last part of
    its `url` or `path`. Where all files of a package have
    hashes, the place of its registry or its URL does not count either, nor does that of a repository of which the
    commit is known: what comes from there is the same. Where a hash is missing, or two registries offer the same
    version of a package, the place counts.

    A file of the same name with another hash is always a difference. One that only one of the locks has is a
    difference if it could be what is installed here: a wheel with one of `tags` (without any: of this system, for
    whatever Python), or a source, unless both have such a wheel. A wheel for another system decides nothing.
    """
    if _without_files(one) != _without_files(other):
        return False
    mine, theirs = _files_by_package(one), _files_by_package(other)
    return all(_same_files(mine[name], theirs[name], tags) for name in mine)


def key_of_lock(lock: Table) -> str:
    """Return a digest that two parsed locks share if the same is installed from them here, whatever the Python."""
    files = {name: _here(found) for name, found in _files_by_package(lock).items()}
    return hashlib.sha256(_text([_without_files(lock), files]).encode()).hexdigest()


def _here(files: Mapping[str, str]) -> dict[str, str]:
    """Return those files of a package that could be installed here: its wheels, its source only if it has none."""
    wheels = {name: place for name, place in files.items() if _is_wheel(name) and _fits(name, frozenset())}
    return wheels or {name: place for name, place in files.items() if not _is_wheel(name)}


def _without_files(lock: Table) -> Any:
    """Return all that counts in a lock but the files, in one order."""
    placed = _placed(lock)
    content = {key: value for key, value in lock.items() if key not in _FORM | {"options", "package"}}
    content["options"] = {key: value for key, value in lock.get("options", {}).items() if key not in _LIMITS}
    content["package"] = [_package(package, placed) for package in lock.get("package", ())]
    return _ordered(content)


def _package(package: Table, placed: frozenset[str]) -> dict[str, Any]:
    found = {key: value for key, value in package.items() if key not in _FILES}
    found["source"] = _source(package, placed)
    found["metadata"] = {key: one for key, one in package.get("metadata", {}).items() if key not in _DERIVED}
    for key in ("dependencies", "optional-dependencies", "dev-dependencies"):
        found[key] = _references(package.get(key), placed)
    return found


def _references(value: Any, placed: frozenset[str]) -> Any:
    """Return dependencies as they count: uv names the source of one where there are several of that name."""
    if isinstance(value, list):
        return [_references(one, placed) for one in value]
    if not isinstance(value, Mapping):
        return value
    if "source" in value and "name" in value:
        return {**value, "source": _source(value, placed)}
    return {key: _references(one, placed) for key, one in value.items()}


def _source(package: Table, placed: frozenset[str]) -> Any:
    """Return the kind of a source, and the place if that counts."""
    source = package.get("source", {})
    git = source.get("git")
    if isinstance(git, str) and (parts := urlsplit(git)).fragment:
        asked = [pair for pair in parse_qsl(parts.query) if pair[0] not in _ASKED_FOR]
        return {**source, "git": [parts.fragment, *asked]}
    if package.get("name") in placed:
        return source
    return {key: "" if key in ("registry", "url", "path") else value for key, value in source.items()}


def _placed(lock: Table) -> frozenset[str]:
    """Return the packages whose place counts: without a hash, nothing else tells what comes from there."""
    packages = lock.get("package", ())
    several = Counter((str(one.get("name")), str(one.get("version"))) for one in packages)
    twice = {name for (name, _), count in several.items() if count > 1}
    return frozenset(twice | {str(one.get("name")) for one in packages if not _has_hashes(one)})


def _has_hashes(package: Table) -> bool:
    entries = [*_entries(package)]
    return bool(entries) and all(isinstance(entry.get("hash"), str) for entry in entries)


def _files_by_package(lock: Table) -> dict[str, dict[str, str]]:
    """Return the files of each package, whose name, version and source are the key, as in `_files`."""
    placed = _placed(lock)
    found: dict[str, dict[str, str]] = {}
    for package in lock.get("package", ()):
        key = [package.get("name"), package.get("version"), _source(package, placed)]
        found.setdefault(_text(_ordered(key)), {}).update(_files(package))
    return found


def _files(package: Table) -> dict[str, str]:
    """Return the hashes of the files of a package by their names; of one without a hash the place."""
    return {_name(entry): str(entry.get("hash") or _place(entry)) for entry in _entries(package)}


def _entries(package: Table) -> list[Table]:
    return [*([package["sdist"]] if "sdist" in package else []), *package.get("wheels", ())]


def _place(entry: Table) -> str:
    """Return where a file is, which stands in one of three fields; empty for what needs no name of its own."""
    return str(next((entry[key] for key in ("filename", "url", "path") if key in entry), ""))


def _name(entry: Table) -> str:
    return unquote(_place(entry).partition("#")[0].partition("?")[0].rpartition("/")[2])


def _same_files(mine: Mapping[str, str], theirs: Mapping[str, str], tags: frozenset[Tag]) -> bool:
    common = mine.keys() & theirs.keys()
    if any(mine[name] != theirs[name] for name in common):
        return False
    from_wheel = any(_is_wheel(name) and _fits(name, tags) for name in common)
    single = mine.keys() ^ theirs.keys()
    return not any(_fits(name, tags) if _is_wheel(name) else not from_wheel for name in single)


def _is_wheel(name: str) -> bool:
    return name.endswith(".whl")


def fits(wheel: Table, tags: frozenset[Tag]) -> bool:
    """Whether a wheel of a lock has one of `tags`; where there are none, whether it is for this system.

    One whose name says nothing counts: uv may know better.
    """
    return _fits(_name(wheel), tags)


def _fits(name: str, tags: frozenset[Tag]) -> bool:
    from packaging.tags import platform_tags  # which most comparisons need not wait for
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        found = parse_wheel_filename(name)[3]
    except InvalidWheelFilename:
        return True
    if tags:
        return not tags.isdisjoint(found)
    places = {"any", *platform_tags()}
    return any(tag.platform in places for tag in found)


def tags_of(python: str, *, platforms: Iterable[str] | None = None) -> frozenset[Tag]:
    """Return the tags of the wheels that CPython in this version takes, on this machine or on `platforms`."""
    from packaging.tags import compatible_tags, cpython_tags, platform_tags

    found = re.match(r"(\d+)\.(\d+)", python)
    if found is None:
        return frozenset()
    version, places = (int(found.group(1)), int(found.group(2))), [*(platforms or platform_tags())]
    name = f"cp{version[0]}{version[1]}"
    return frozenset(
        [
            *cpython_tags(python_version=version, abis=[name], platforms=places),
            *compatible_tags(python_version=version, interpreter=name, platforms=places),
        ]
    )


def _ordered(value: Any) -> Any:
    """Return a value with all of its lists in one order, and without what is empty, which is as good as not there."""
    if isinstance(value, Mapping):
        found = {key: _ordered(one) for key, one in value.items()}
        return {key: one for key, one in found.items() if one not in ({}, [], None)}
    if isinstance(value, list):
        return sorted((_ordered(one) for one in value), key=_text)
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
