"""Packages that are held back: by a person, or because the tests failed with a version of theirs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Literal

from releaser.durable import UnreadableStateError, check_texts, check_types, read_json, write_json
from releaser.locking.policy import is_newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

HOLDS = "holds.json"
By = Literal["person", "tests"]


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One package that is to stay as it is; `at` is an ISO time.

    What a person holds stays until somebody lifts it. What the tests hold is one `version`, which failed as part of the
    candidate `release`, with the code and the Python of that time; `output` is the end of what the tests printed.
    """

    name: str
    by: By
    reason: str
    at: str
    version: str = ""
    release: str = ""
    code_key: str = ""
    python: str = ""
    output: str = ""

    def counts_for(self, *, code_key: str, python: str) -> bool:
        """Whether the hold still says something: other code or another Python may go with a version that failed."""
        return self.by == "person" or (self.code_key == code_key and self.python == python)

    def is_ahead_of(self, locked: Mapping[str, str]) -> bool:
        """Whether the version that failed is newer than the locked one."""
        return self.name in locked and is_newer(self.version, locked[self.name])

    def is_in(self, locked: Mapping[str, str]) -> bool:
        """Whether the version that failed is among those in a lock, which shows several comma-separated."""
        return bool(self.version) and self.version in locked.get(self.name, "").split(", ")


@dataclass(frozen=True, kw_only=True)
class Holds:
    """All holds, oldest first; one for each package and each who holds it."""

    entries: tuple[Hold, ...] = ()

    def by_person(self, name: str) -> Hold | None:
        """Return what a person has said about a package."""
        return next((hold for hold in self.entries if hold.name == name and hold.by == "person"), None)

    def adding(self, added: Iterable[Hold]) -> Holds:
        """Add holds; a newer one of the same package by the same takes the place of the older."""
        new = tuple(added)
        replaced = {(hold.name, hold.by) for hold in new}
        return replace(self, entries=(*(one for one in self.entries if (one.name, one.by) not in replaced), *new))

    def without(self, names: Iterable[str], *, by: By | None = None) -> Holds:
        """Lift what is held of these packages, or only what `by` holds of them."""
        gone = set(names)
        return replace(
            self, entries=tuple(one for one in self.entries if one.name not in gone or (by and one.by != by))
        )

    def without_live(self, locked: Mapping[str, str]) -> Holds:
        """Lift what the tests hold of versions that are live and good after all, as the lock of a release tells."""
        return replace(self, entries=tuple(one for one in self.entries if one.by == "person" or not one.is_in(locked)))

    def without_older(self, locked: Mapping[str, str]) -> Holds:
        """Leave out what the tests hold of packages that are gone, or beyond that version."""
        still = (one for one in self.entries if one.by == "person" or one.is_ahead_of(locked))
        return replace(self, entries=tuple(still))


def read_holds(state_dir: Path) -> Holds:
    """Read the holds; none when there is no file. Raises UnreadableStateError."""
    path = state_dir / HOLDS
    content = read_json(path)
    if content is None:
        return Holds()
    names = [field.name for field in fields(Hold)]
    try:
        check_types(content, {"holds": list})
        for entry in content["holds"]:
            check_texts(entry.get(name, "") for name in names)
        return Holds(entries=tuple(Hold(**entry) for entry in content["holds"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise UnreadableStateError(path, f"not a list of holds ({error!r})") from error


def write_holds(state_dir: Path, holds: Holds) -> None:
    """Replace the holds."""
    write_json(state_dir / HOLDS, {"holds": [asdict(hold) for hold in holds.entries]})
