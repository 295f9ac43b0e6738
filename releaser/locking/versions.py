"""Which of several versions is the newest, whatever some of them look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterable


def newest_of(versions: Iterable[str]) -> str:
    """Return the newest version; ValueError when there is none."""
    return max(versions, key=_key)


def is_newer(version: str, than: str) -> bool:
    """Whether a version is newer than another; what is no version is older than all."""
    return _key(version) > _key(than)


def _key(version: str) -> tuple[bool, Version]:
    try:
        return True, Version(version)
    except InvalidVersion:
        return False, Version("0")
