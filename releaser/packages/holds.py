"""Versions and commits that updates skip, because a rollback removed them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from releaser.packages.lock import normalize_name
from releaser.releases.release import Change
from releaser.site.paths import Paths
from releaser.system.files import BrokenFileError, read_json, set_aside, write_json
from releaser.system.run import Run

CODE = "commit"  # the name of a hold on a commit, beside those of packages


class Hold(msgspec.Struct, frozen=True):
    """A version that updates skip. `by` is `rollback`; for a commit, `code` is the key of its code."""

    name: str
    version: str
    reason: str
    by: str
    code: str = ""


class Holds(msgspec.Struct, frozen=True):
    """Everything on hold."""

    holds: tuple[Hold, ...] = ()

    @property
    def packages(self) -> dict[str, list[str]]:
        """The versions on hold of each package."""
        versions: dict[str, list[str]] = {}
        for hold in self.holds:
            if not hold.code:
                versions.setdefault(hold.name, []).append(hold.version)
        return versions

    @property
    def code(self) -> frozenset[str]:
        """The keys of the code of commits on hold."""
        return frozenset(hold.code for hold in self.holds if hold.code)


def read_holds(paths: Paths, run: Run | None = None) -> Holds:
    """Return what is on hold; a file that cannot be read is set aside if `run` may report it."""
    try:
        return read_json(paths.holds, Holds) or Holds()
    except BrokenFileError as error:
        if run is not None:
            aside = set_aside(paths.holds)
            run.note(f"{error}. It is now `{aside}`: nothing is on hold any more.")
        return Holds()


def write_holds(paths: Paths, holds: Iterable[Hold]) -> None:
    """Replace what is on hold, durably. Raises OSError."""
    unique = {(hold.name, hold.version, hold.code): hold for hold in holds}
    write_json(paths.holds, Holds(tuple(unique.values())))


def holds_for(changes: Sequence[Change], reason: str, by: str) -> list[Hold]:
    """Return holds on the versions that a rollback removes, from the changes that it undoes."""
    return [Hold(change.name, change.new, reason, by) for change in changes if change.new is not None]


def remove_holds(paths: Paths, names: Sequence[str]) -> tuple[list[Hold], list[str]]:
    """Let updates take these packages or commits again; return the removed holds and the names without one.

    A commit is named by `commit` or the beginning of its hash, of seven characters or more. Raises OSError.
    """
    before = read_holds(paths).holds
    removed = [hold for hold in before if any(_is_named(hold, name) for name in names)]
    unknown = [name for name in names if not any(_is_named(hold, name) for hold in before)]
    if removed and not unknown:
        write_holds(paths, (hold for hold in before if hold not in removed))
    return removed, unknown


def _is_named(hold: Hold, name: str) -> bool:
    if hold.code and len(name) >= 7 and hold.version.startswith(name.lower()):
        return True
    return hold.name == normalize_name(name)
