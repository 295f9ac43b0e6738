"""Which packages of a lock have nothing that a given Python could install: no wheel for it, and no source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from packaging.tags import compatible_tags, cpython_tags, platform_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from releaser.locking.lockfile import packages_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.tags import Tag

    from releaser.locking.installed import Pin
    from releaser.locking.lockfile import LockFile

_VERSION = re.compile(r"(\d+)\.(\d+)")
# As uv 0.13 says that a build has failed, and that there is nothing to be installed.
_FAILED = re.compile(r"Failed to (?:download and )?build `([^`=\s]+)==([^`\s]+)`")
_NOTHING = re.compile(r"Distribution `([^`=\s]+)==([^`\s@]+)[^`]*` can't be installed")


def tags_of(python: str, *, platforms: Iterable[str] | None = None) -> frozenset[Tag]:
    """Return the tags of the wheels that CPython in this version takes, on this machine or on `platforms`."""
    found = _VERSION.match(python)
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


def without_a_build(lock: LockFile, pins: Iterable[Pin], tags: frozenset[Tag]) -> tuple[Pin, ...]:
    """Return those of `pins`, packages of the lock, of which it has no source, and no wheel with one of `tags`.

    A package from git or a URL counts as one that can be had: that is a matter of what lies there. Raises
    InvalidLockError.
    """
    there = {(one["name"], one.get("version")) for one in packages_of(lock) if _can_be_had(one, tags)}
    return tuple(pin for pin in pins if (pin.name, pin.version) not in there)


def named_as_unbuilt(output: str) -> tuple[str, ...]:
    """Return the packages, each with its version, that uv says it can neither build nor find a wheel of."""
    found = (*_FAILED.findall(output), *_NOTHING.findall(output))
    return tuple(dict.fromkeys(f"{name} {version}" for name, version in found))


def _can_be_had(package: Mapping[str, Any], tags: frozenset[Tag]) -> bool:
    wheels = package.get("wheels")
    if "sdist" in package or not isinstance(wheels, list) or not wheels:
        return True
    return any(fits(wheel, tags) for wheel in wheels if isinstance(wheel, dict) and any(_names(wheel)))


def fits(wheel: Mapping[str, Any], tags: frozenset[Tag]) -> bool:
    """Whether a wheel of a lock has one of `tags`; where there are none, or it has no name to tell by, it counts."""
    return not tags or all(_fits(name, tags) for name in _names(wheel))


def _names(wheel: Any) -> Iterator[str]:
    """Yield the file name of a wheel, which stands in one of three places."""
    if not isinstance(wheel, dict):
        return
    for key in ("filename", "url", "path"):
        if isinstance(wheel.get(key), str):
            yield unquote(wheel[key].partition("#")[0].rpartition("/")[2])
            return


def _fits(name: str, tags: frozenset[Tag]) -> bool:
    try:
        return not tags.isdisjoint(parse_wheel_filename(name)[3])
    except InvalidWheelFilename:
        return True  # uv may know better
