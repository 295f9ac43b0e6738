"""Packages that are held back: by a person, or because the tests failed with a version of theirs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from releaser.durable import UnreadableStateError, check_texts, check_types, read_json, write_json
from releaser.locking.policy import is_newer, parsed, series_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

HOLDS = "holds.json"
#: How long a package whose newest version failed again is left alone, unless a person wants it tried.
PAUSE = timedelta(days=7)
By = Literal["person", "tests", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One package of which something is to stay out; what a person holds stays until somebody lifts that.

    What the tests hold is one `version`, which failed; an `undecided` one keeps nothing out, and says that a search
    was ended before anybody knew.
    """

    name: str
    by: By
    reason: str
    #: When it was first held, as ISO 8601.
    at: str
    version: str = ""
    #: The release whose tests failed, which `show` describes.
    release: str = ""
    #: With which Python.
    python: str = ""
    #: The end of what the tests printed with it.
    output: str = ""
    #: The names of the tests that failed.
    tests: tuple[str, ...] = ()
    #: What comes only together with it, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()
    #: The files of the project that the failure names, by their digests: if one changes, the version is worth a try.
    files: Mapping[str, str] = field(default_factory=dict)
    #: The digest of all code in Python, for a failure that names no file.
    code: str = ""
    #: The version that was live when it failed.
    live: str = ""
    #: When it was tried again, though it was known to fail, as ISO 8601; empty if it was not.
    tried_at: str = ""

    def rests_until(self) -> datetime | None:
        """Return until when the package is not tried again by itself; None if nobody has tried that yet."""
        return datetime.fromisoformat(self.tried_at) + PAUSE if self.tried_at else None

    def is_ahead_of(self, locked: Mapping[str, str]) -> bool:
        """Whether the version that failed is newer than the locked one."""
        return self.name in locked and is_newer(self.version, locked[self.name])

    def is_in(self, locked: Mapping[str, str]) -> bool:
        """Whether the version that failed is among those in a lock, which shows several comma-separated."""
        return bool(self.version) and self.version in locked.get(self.name, "").split(", ")


@dataclass(frozen=True, kw_only=True)
class Holds:
    """All holds, oldest first; one for each package that a person holds, and for each version that failed."""

    entries: tuple[Hold, ...] = ()

    def by_person(self, name: str) -> Hold | None:
        """Return what a person has said about a package."""
        return next((hold for hold in self.entries if hold.name == name and hold.by == "person"), None)

    def of_tests(self, name: str) -> tuple[Hold, ...]:
        """Return the versions of a package that failed."""
        return tuple(one for one in self.entries if one.name == name and one.by == "tests")

    def rests_until(self, name: str) -> datetime | None:
        """Return until when no version of a package is tried again that is not older than one that failed."""
        return max(filter(None, (one.rests_until() for one in self.of_tests(name))), default=None)

    def may_come_near(self, name: str, live: str) -> bool:
        """Whether nothing newer than `live` has come in since a version failed, nor what is just older than that."""
        failed = sorted((version, one.live) for one in self.of_tests(name) if (version := parsed(one.version)))
        if not failed or failed[0][1] != live:
            return False
        return [series_of(version) for version, _ in failed].count(series_of(failed[0][0])) == 1

    def adding(self, added: Iterable[Hold]) -> Holds:
        """Add holds; one of the same package and version by the same takes the place of the older."""
        new = tuple(added)
        replaced = {(hold.name, hold.by, hold.version) for hold in new}
        return replace(
            self, entries=(*(one for one in self.entries if (one.name, one.by, one.version) not in replaced), *new)
        )

    def deciding(self, undecided: Iterable[Hold]) -> Holds:
        """Say what is undecided now, in place of what was before."""
        return replace(self, entries=(*(one for one in self.entries if one.by != "undecided"), *undecided))

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
    try:
        check_types(content, {"holds": list})
        return Holds(entries=tuple(_read(entry) for entry in content["holds"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableStateError(path, f"not a list of holds ({error!r})") from error


_LISTS = ("tests", "together")


def _read(entry: Mapping[str, Any]) -> Hold:
    """Make a hold of an entry of the file; TypeError or ValueError when it is none."""
    texts = [one.name for one in fields(Hold) if one.name not in (*_LISTS, "files")]
    check_texts(entry.get(name, "") for name in texts)
    lists = {name: tuple(entry.get(name, ())) for name in _LISTS}
    for found in (*lists.values(), entry.get("files", {}).values()):
        check_texts(found)
    known = {one.name for one in fields(Hold)}
    hold = Hold(**{name: value for name, value in {**entry, **lists}.items() if name in known})
    hold.rests_until()
    return hold


def write_holds(state_dir: Path, holds: Holds) -> None:
    """Replace the holds."""
    write_json(state_dir / HOLDS, {"holds": [asdict(hold) for hold in holds.entries]})
