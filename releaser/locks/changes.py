"""The differences of two locks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from releaser.locks.versions import parse_version
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Change(Frozen):
    """One package that differs between two locks, with known details."""

    name: str
    #: None when it was added.
    old: str | None
    #: None when it was removed.
    new: str | None
    #: `major`, `minor`, `patch`, `other`, `added` or `removed`.
    bump: str
    #: True if the project itself asks for the package; None if that is not known.
    direct: bool | None = None
    #: The packages that ask for it.
    through: tuple[str, ...] = ()
    #: When the new version was uploaded, as ISO 8601.
    released: str | None = None
    #: A link to more information.
    link: str | None = None
    #: The vulnerabilities of the old version that the new version fixes.
    fixes: tuple[str, ...] = ()
    #: The upgrades that made this one necessary.
    dragged_by: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """True if the package is neither added nor removed."""
        return self.old is not None and self.new is not None

    @property
    def introduced(self) -> str:
        """The new versions, comma-separated; empty without any."""
        before = (self.old or "").split(", ")
        return ", ".join(version for version in (self.new or "").split(", ") if version not in before)


def changes_between(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the differences between two mappings of packages to versions, such as of two locks, by name."""
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name), bump=bump_size(old.get(name), new.get(name)))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def list_introduced(changes: Iterable[Change]) -> dict[str, str]:
    """Return the new versions in the changes, by package."""
    return {change.name: change.introduced for change in changes if change.introduced}


def bump_size(old: str | None, new: str | None) -> str:
    """Return the name of the first part of the version that differs.

    A change after the third part, or of anything but a version, is `other`.
    """
    if old is None:
        return "added"
    if new is None:
        return "removed"
    before, after = _first_parts(old), _first_parts(new)
    if before is None or after is None:
        return "other"
    sizes = zip(("other", "major", "minor", "patch"), before, after, strict=True)
    return next((size for size, one, other in sizes if one != other), "other")


def _first_parts(version: str) -> tuple[int, int, int, int] | None:
    """Return the epoch and the first three parts of a version; None if it is not a version."""
    if re.fullmatch(r"(?a)\d+(\.\d+)*", version):  # as most are; for others, `packaging` is imported
        major, minor, micro, *_ = *map(int, version.split(".")), 0, 0
        return 0, major, minor, micro
    parsed = parse_version(version)
    return (parsed.epoch, parsed.major, parsed.minor, parsed.micro) if parsed is not None else None
