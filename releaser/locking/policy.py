"""How far an upgrade may go: the bump policy, for versions of every kind.

Parts count by their place, whatever they mean to who chose them: the first is that of a major release, the second of a
minor one, and all that follow are a patch's. A calendar version is read like any other, as nothing tells one from the
rest. Below 1.0, where any release may break what was, the second part counts as the first. Another epoch is further
away than any part. Pre-, post-, development and local releases count by the release number that they belong to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.version import Version

Level = Literal["all", "minor", "patch"]
LEVELS: tuple[Level, ...] = ("all", "minor", "patch")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """The bump policy of a project: a level, and by pattern of names the levels of single packages."""

    level: Level = "all"
    packages: tuple[tuple[str, Level], ...] = ()

    def of(self, name: str) -> Level:
        """Return the level of a package."""
        return chosen(name, self.packages, self.level)


def normalized(name: str) -> str:
    """Return the one spelling of a package's name (PEP 503); of a pattern as well."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def chosen(name: str, table: Iterable[tuple[str, T]], default: T) -> T:
    """Return what a table says of a package: its own name counts before patterns, among these the first that fits."""
    fitting = [(pattern, value) for pattern, value in table if fnmatchcase(name, pattern)]
    return next((value for pattern, value in fitting if pattern == name), fitting[0][1] if fitting else default)


def parsed(version: str) -> Version | None:
    """Return a version as a lock shows it; None for several at once and for a commit."""
    from packaging.version import InvalidVersion, Version  # here, as every command reads settings by this module

    try:
        return Version(version)
    except InvalidVersion:
        return None


def versions_in(shown: str) -> tuple[Version, ...]:
    """Return the versions that a lock shows of one package, lowest first; none if one of them is a commit."""
    found = [parsed(one) for one in shown.split(", ")]
    return tuple(sorted(one for one in found if one is not None)) if all(found) else ()


def ceiling(locked: Version, level: Level) -> str | None:
    """Return the release that an upgrade has to stay below, its own pre-releases included; None if there is none."""
    if level == "all":
        return None
    epoch = f"{locked.epoch}!" if locked.epoch else ""
    if level == "minor" and locked.major:
        return f"{epoch}{locked.major + 1}"
    return f"{epoch}{locked.major}.{locked.minor + 1}"


def series_of(version: Version) -> tuple[int, int, int]:
    """Return the series that a version is a patch release of: the epoch and the first two parts."""
    return version.epoch, version.major, version.minor


def below_series(version: Version) -> str:
    """Return the release that everything below the series of a version has to stay below."""
    epoch = f"{version.epoch}!" if version.epoch else ""
    return f"{epoch}{version.major}.{version.minor}"


def permits(locked: str, version: str, level: Level) -> bool:
    """Whether a package may go from what is locked to another version.

    Of several locked versions, one has to be near enough. What is no version, a commit, is judged by the release that
    it shows.
    """
    if level == "all":
        return True
    return all(any(_near(old, new, level) for old in locked.split(", ")) for new in version.split(", "))


def _near(locked: str, version: str, level: Level) -> bool:
    old, new = parsed(locked.partition(" ")[0]), parsed(version.partition(" ")[0])
    if old is None or new is None:
        return locked == version
    if (old.epoch, old.major) != (new.epoch, new.major) or new < old:
        return False
    return (level == "minor" and old.major > 0) or old.minor == new.minor


def is_newer(version: str, than: str) -> bool:
    """Whether a version is newer; of what is no version, whether it differs."""
    new, old = parsed(version), parsed(than)
    return version != than if new is None or old is None else new > old


def is_older(version: str, than: str) -> bool:
    """Whether a version is older; of what is no version, nobody can tell.

    Of several, for several platforms or Pythons, neither the lowest nor the highest may be older.
    """
    new, old = versions_in(version), versions_in(than)
    return bool(new and old) and (new[0] < old[0] or new[-1] < old[-1])
