"""How large the packages of a lock are, as far as it says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from releaser.locking.lockfile import packages_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from releaser.locking.lockfile import LockFile


def download_bytes(lock: LockFile, names: Collection[str] | None = None) -> int:
    """Return how much there is to download for these packages, or for all; at the most, as that hangs on the platform.

    What the lock gives no size for counts nothing. Raises InvalidLockError.
    """
    return sum(_size(package) for package in packages_of(lock) if names is None or package["name"] in names)


def _size(package: Mapping[str, Any]) -> int:
    wheels = package.get("wheels")
    found = [wheel for wheel in (wheels if isinstance(wheels, list) else ()) if isinstance(wheel, Mapping)]
    source = package.get("sdist")
    if not found and isinstance(source, Mapping):
        found = [source]
    return max((size for one in found if isinstance(size := one.get("size"), int)), default=0)
