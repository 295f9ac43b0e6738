"""The difference of two locks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from releaser.durable import check_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.locking.lockfile import LockFile


@dataclass(frozen=True, kw_only=True)
class Change:
    """One package that differs; `old` is None when it was added, `new` is None when it was removed.

    `bump` is `major`, `minor`, `patch`, `other`, `added` or `removed`. What else there is to tell is found out later:
    `direct` tells whether the project itself asks for the package (None: not known), `through` which packages do,
    `released` when the new version was uploaded, as ISO 8601, `link` where to read about it, `fixes` which
    vulnerabilities of the old version it has no more, `dragged_by` which upgrades made this one necessary.
    """

    name: str
    old: str | None
    new: str | None
    bump: str
    direct: bool | None = None
    through: tuple[str, ...] = ()
    released: str | None = None
    link: str | None = None
    fixes: tuple[str, ...] = ()
    dragged_by: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Change:
        """Make one of what a manifest holds, which a newer releaser may have written; TypeError when that is none."""
        check_types({"change": content}, {"change": dict})
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in dict(content).items()
            if name in cls.__dataclass_fields__
        }
        return cls(**fields)

    @property
    def brought(self) -> str:
        """The versions that were not there before, comma-separated; empty if there are none."""
        before = (self.old or "").split(", ")
        return ", ".join(version for version in (self.new or "").split(", ") if version not in before)


@dataclass(frozen=True, kw_only=True)
class LockDiff:
    """What lies between two locks, by package name."""

    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    @property
    def brought(self) -> dict[str, str]:
        """The versions that came in, by package."""
        return {change.name: change.brought for change in self.changes if change.brought}

    @classmethod
    def between(cls, old: LockFile, new: LockFile) -> LockDiff:
        """Compare two parsed locks; only versions count, not the text."""
        return cls(changes=tuple(version_changes(old.versions, new.versions)))


def version_changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    """Yield what differs between two sets of packages with their versions, by name."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            yield Change(name=name, old=before, new=after, bump=bump_size(before, after))


def bump_size(old: str | None, new: str | None) -> str:
    """Name the first part of the release number that differs.

    A step back, a change behind the third part, and anything that is not a version is `other`.
    """
    if old is None:
        return "added"
    if new is None:
        return "removed"
    try:
        before, after = Version(old), Version(new)
    except InvalidVersion:
        return "other"
    if after < before or after.epoch != before.epoch:
        return "other"
    for size, a, b in zip(("major", "minor", "patch"), _three(before), _three(after), strict=True):
        if a != b:
            return size
    return "other"


def _three(version: Version) -> tuple[int, int, int]:
    return version.major, version.minor, version.micro
