"""How large the packages of a lock are, as far as it says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from releaser.locking.builds import fits
from releaser.locking.lockfile import packages_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag

    from releaser.locking.installed import Pin
    from releaser.locking.lockfile import LockFile


def download_sizes(lock: LockFile, pins: Iterable[Pin], tags: frozenset[Tag]) -> dict[str, int]:
    """Return how many bytes there are to download at the most for each of `pins`, packages of the lock, by its name.

    Of the wheels, those count that have one of `tags`; without any tags, all do. What the lock gives no size for counts
    nothing. Raises InvalidLockError.
    """
    wanted = {(pin.name, pin.version) for pin in pins}
    found: dict[str, int] = {}
    for package in packages_of(lock):
        name = package["name"]
        if (name, package.get("version")) in wanted:
            found[name] = max(found.get(name, 0), _size(package, tags))
    return found


def _size(package: Mapping[str, Any], tags: frozenset[Tag]) -> int:
    wheels = package.get("wheels")
    found = [
        one for one in (wheels if isinstance(wheels, list) else ()) if isinstance(one, Mapping) and fits(one, tags)
    ]
    source = package.get("sdist")
    if not found and isinstance(source, Mapping):
        found = [source]
    return max((size for one in found if isinstance(size := one.get("size"), int)), default=0)
