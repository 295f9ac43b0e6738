"""Keeping backed-out package versions out of a resolution, whatever else is newer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from releaser.errors import ToolError
from releaser.releases.quarantine import bounds
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from releaser.releases.quarantine import Quarantine
    from releaser.tools.uv import Bounds

    Resolve = Callable[[Bounds], Mapping[str, str]]


def resolve_without(resolve: Resolve, quarantine: Quarantine, live: Mapping[str, str]) -> Mapping[str, str]:
    """Resolve so that no backed-out version comes in; return the versions by package.

    `resolve` takes what versions must satisfy and returns what came out; `live` are the versions of the live release.
    The first resolution is free: it tells for which packages there is something newer than what was backed out. The
    others stay at what is live: an older version that has never been live is no substitute. Only if that has no
    solution, as the project asks for something else, any version but the bad ones may come in. Raises ToolError.
    """
    versions = resolve({})
    holds = held(quarantine, live, versions)
    if not holds:
        return versions
    attempts: list[Bounds] = [{**bounds(quarantine, live), **holds}, bounds(quarantine, live), bounds(quarantine, {})]
    for attempt in attempts[:-1]:
        try:
            return resolve(attempt)
        except ToolError as error:
            if error.returncode != NO_SOLUTION:
                raise
    return resolve(attempts[-1])


def held(quarantine: Quarantine, live: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str | None]:
    """Say how to hold the packages that a free resolution (`found`) does not take beyond their bad versions.

    `==version` holds a package at what is live, None leaves it as it is locked. A package that is not live cannot be
    held; it is bounded by what is bad alone.
    """
    weak = bounds(quarantine, {})
    holds: dict[str, str | None] = {}
    for name in sorted({entry.name for entry in quarantine.versions} & found.keys()):
        bad = quarantine.bad_versions(name)
        if found[name] == live.get(name) or all(is_newer(found[name], version) for version in bad):
            continue
        if name not in live:
            holds[name] = weak.get(name)
        else:
            holds[name] = f"=={live[name]}" if _is_plain(live[name]) and _is_plain(found[name]) else None
    return holds


def is_newer(version: str, than: str) -> bool:
    """Whether a version is newer; of what is no version, whether it differs."""
    try:
        return Version(version) > Version(than)
    except InvalidVersion:
        return version != than


def _is_plain(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True
