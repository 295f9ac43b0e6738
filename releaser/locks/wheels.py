"""Which packages of a lock a given Python could not install: no wheel fits, and there is no source."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from packaging.tags import compatible_tags, cpython_tags, platform_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from releaser.locks.lock import InvalidLockError, list_installed, packages_of
from releaser.tools import uv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from packaging.tags import Tag

    from releaser.locks.lock import LockFile


# As uv 0.13 says that there is nothing to be installed.
_NOTHING = re.compile(r"Distribution `([^`=\s]+)==([^`\s@]+)[^`]*` can't be installed")


def tags_of(python: str, *, platforms: Iterable[str] | None = None) -> frozenset[Tag]:
    """Return the tags of the wheels that CPython in this version takes, on this machine or on `platforms`."""
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


def find_unbuildable(
    lock: LockFile, *, group: str | None, default_groups: Iterable[str] | None, python: str
) -> tuple[str, ...]:
    """Return the packages that would be installed, each with its version, and that have no build for this Python.

    A package from git or a URL counts as one that has: that depends on what is there. Where the lock cannot tell, none
    is named, as uv says more.
    """
    tags = tags_of(python)
    if not tags:
        return ()
    try:
        pins = list_installed(lock, group=group, default_groups=default_groups, python=python)
        buildable = {(one["name"], one.get("version")) for one in packages_of(lock) if has_build(one, tags)}
    except InvalidLockError:
        return ()
    return tuple(f"{pin.name} {pin.version}" for pin in pins if (pin.name, pin.version) not in buildable)


def has_build(package: Mapping[str, Any], tags: frozenset[Tag]) -> bool:
    """Whether a package of a lock has a source, or a wheel with one of `tags`."""
    wheels = package.get("wheels")
    if "sdist" in package or not isinstance(wheels, list) or not wheels:
        return True
    return any(fits(wheel, tags) for wheel in wheels if isinstance(wheel, dict) and _file_name(wheel))


def fits(wheel: Mapping[str, Any], tags: frozenset[Tag]) -> bool:
    """Whether a wheel of a lock has one of `tags`; where there are none, or it has no name to tell by, it counts."""
    name = _file_name(wheel)
    if not tags or not name:
        return True
    try:
        return not tags.isdisjoint(parse_wheel_filename(name)[3])
    except InvalidWheelFilename:
        return True  # uv may know better


def _file_name(wheel: Mapping[str, Any]) -> str:
    """Return the file name of a wheel, which stands in one of three places; empty if it is in none."""
    for key in ("filename", "url", "path"):
        if isinstance(wheel.get(key), str):
            return unquote(wheel[key].partition("#")[0].rpartition("/")[2])
    return ""


def failed_builds(output: str) -> tuple[str, ...]:
    """Return the packages, each with its version, that uv says it can neither build nor find a wheel of."""
    found = (*uv.failed_builds(output), *_NOTHING.findall(output))
    return tuple(dict.fromkeys(f"{name} {version}" for name, version in found))
