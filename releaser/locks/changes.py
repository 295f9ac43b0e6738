"""The difference of two locks, and what uv says that it would change in one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from releaser.locks.versions import parse_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


# As uv 0.9 to 0.13 print them with --dry-run: "Update django v5.1 -> v5.2", "Add x v1", "Remove y v2".
_LINE = re.compile(r"^(Update|Add|Remove)d? (\S+) (.+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One package that differs; what else is known about it is added later."""

    name: str
    #: None when it was added.
    old: str | None
    #: None when it was removed.
    new: str | None
    #: `major`, `minor`, `patch`, `other`, `added` or `removed`.
    bump: str
    #: Whether the project itself asks for the package; None if that is not known.
    direct: bool | None = None
    #: The packages that ask for it.
    through: tuple[str, ...] = ()
    #: When the new version was uploaded, as ISO 8601.
    released: str | None = None
    #: Where to read about it.
    link: str | None = None
    #: The vulnerabilities of the old version that the new one has no more.
    fixes: tuple[str, ...] = ()
    #: The upgrades that made this one necessary.
    dragged_by: tuple[str, ...] = ()

    @property
    def brought(self) -> str:
        """The versions that were not there before, comma-separated; empty if there are none."""
        before = (self.old or "").split(", ")
        return ", ".join(version for version in (self.new or "").split(", ") if version not in before)


def changes_between(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """Return what differs between two sets of packages with their versions, such as those of two locks, by name."""
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name), bump=bump_size(old.get(name), new.get(name)))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def brought_in(changes: Iterable[Change]) -> dict[str, str]:
    """Return the versions that came in with changes, by package."""
    return {change.name: change.brought for change in changes if change.brought}


def bump_size(old: str | None, new: str | None) -> str:
    """Name the first part of the release number that differs.

    A step back, a change behind the third part, and anything that is not a version is `other`.
    """
    if old is None:
        return "added"
    if new is None:
        return "removed"
    before, after = parse_version(old), parse_version(new)
    if before is None or after is None:
        return "other"
    if after < before or after.epoch != before.epoch:
        return "other"
    parts = zip((after.major, after.minor, after.micro), (before.major, before.minor, before.micro), strict=True)
    return next((size for size, (a, b) in zip(("major", "minor", "patch"), parts, strict=True) if a != b), "other")


def parse_changes(text: str) -> tuple[Change, ...]:
    """Read the changes out of what `uv lock --dry-run` prints."""
    changes = []
    for verb, name, versions in _LINE.findall(text):
        before, _, after = re.sub(r"(^|, | -> )v", r"\1", versions).partition(" -> ")
        old, new = {"Update": (before, after), "Add": (None, before), "Remove": (before, None)}[verb]
        changes.append(Change(name=name, old=old, new=new, bump=bump_size(old, new)))
    return tuple(changes)
