"""Whether a release is as the rules have it: the versions that its lock names, the group and the mode of its files.

Pure: it compares what has been read.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from releaser.releases.finding import Finding
from releaser.releases.permissions import wanted_mode

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from releaser.locking.installed import Pin


def package_findings(
    pins: Iterable[Pin], found: Mapping[str, str], sealed: Mapping[str, str], *, locked: Collection[str]
) -> Iterator[Finding]:
    """Yield the packages that are not there in the version that the lock names, or that it does not name at all.

    `found` are the packages of a venv, by name, and `sealed` those that it had when it was sealed; `locked` are all
    names in the lock. What has never been installed is not missed: a marker may keep it out.
    """
    wanted: dict[str, list[str]] = {}
    for pin in pins:
        wanted.setdefault(canonicalize_name(pin.name), []).append(pin.version)
    for name, versions in sorted(wanted.items()):
        said = " or ".join(versions)
        if name in found:
            if not any(_is_same(found[name], version) for version in versions):
                yield Finding(kind="package", package=name, message=f"it is {found[name]}, and the lock says {said}")
        elif name in sealed or not sealed:
            yield Finding(kind="package", package=name, message=f"it is not installed, and the lock says {said}")
    for name in sorted(found.keys() - set(map(canonicalize_name, locked)) - sealed.keys()):
        yield Finding(kind="package", package=name, message=f"{found[name]} is installed, and it is not in the lock")


def adopted_findings(found: Mapping[str, str], sealed: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the packages of an adopted release that are not what it was adopted with, whatever its lock says."""
    for name in sorted(found.keys() | sealed.keys()):
        now, before = found.get(name, "not installed"), sealed.get(name, "not installed")
        if now != before:
            yield Finding(kind="package", package=name, message=f"it is {now}, and was {before} when it was adopted")


def _is_same(found: str, locked: str) -> bool:
    try:
        return Version(found) == Version(locked)
    except InvalidVersion:
        return found == locked


def permission_findings(there: Mapping[str, os.stat_result], *, group: int, others: bool) -> Iterator[Finding]:
    """Yield the files that are not of `group`, or have not the mode that releaser gives to all in a release."""
    for path, status in sorted(there.items()):
        if status.st_gid != group:
            message = f"it belongs to group {status.st_gid}, and not to {group}"
            yield Finding(kind="permissions", path=path, message=message)
        mode, wanted = stat.S_IMODE(status.st_mode), wanted_mode(status.st_mode, others=others)
        if mode != wanted and stat.S_ISREG(status.st_mode):
            yield Finding(kind="permissions", path=path, message=f"its mode is {mode:o}, and should be {wanted:o}")
