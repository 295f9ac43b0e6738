"""Versions and commits that updates skip: a rollback removed them, a person or a setting wants it. And pauses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal

import msgspec

from releaser.errors import Problem
from releaser.releases.release import Change
from releaser.site.paths import Paths
from releaser.site.site import Site
from releaser.system.files import BrokenFileError, read_json, remove_path, set_aside, write_json
from releaser.system.run import Moment, Run, now
from releaser.system.text import format_time, normalize_name

CODE = "commit"  # the name of a hold on a commit, beside those of packages
EVERY = "*"  # the version of a hold on every version but the live one
LONGEST = timedelta(days=7)  # a site that does not get what is newer for longer needs attention


class Hold(msgspec.Struct, frozen=True):
    """A version that updates skip. For a commit, `code` is the key of its code; a setting has no time."""

    name: str
    version: str
    reason: str
    by: Literal["rollback", "person", "setting"]
    code: str = ""
    since: Moment | None = None

    @property
    def label(self) -> str:
        """The package and version, or the commit, in words."""
        return self.name if self.version == EVERY else f"{self.name} {self.version}"


class Holds(msgspec.Struct, frozen=True):
    """Everything on hold."""

    holds: tuple[Hold, ...] = ()

    @property
    def code(self) -> frozenset[str]:
        """The keys of the code of commits on hold."""
        return frozenset(hold.code for hold in self.holds if hold.code)


class Pause(msgspec.Struct, frozen=True):
    """A time in which updates do nothing; without `until` it has no end."""

    since: Moment
    until: Moment | None = None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """Until when updates are paused, and why."""
        end = f"until {format_time(self.until)}" if self.until else f"since {format_time(self.since)}, without an end"
        return f"Updates are paused {end}{f': {self.reason}' if self.reason else ''}."


def read_pause(paths: Paths, run: Run | None = None) -> Pause | None:
    """Return the pause; if `run` may report it, one that has ended is removed, and an unreadable one set aside."""
    try:
        pause = read_json(paths.pause, Pause)
    except BrokenFileError as error:
        if run is not None:
            aside = set_aside(paths.pause)
            run.note(f"{error}. It is now `{aside}`: updates are not paused any more.")
        return None
    if pause is None or pause.until is None or pause.until > now():
        return pause
    if run is not None:
        remove_path(paths.pause)
    return None


def write_pause(paths: Paths, seconds: float | None, reason: str) -> Pause:
    """Pause updates for a time, None for no end; a pause that is changed began when it began. Raises OSError."""
    before = read_pause(paths)
    pause = Pause(
        before.since if before else now(), None if seconds is None else now() + timedelta(seconds=seconds), reason
    )
    write_json(paths.pause, pause)
    return pause


def find_old_pause(pause: Pause | None) -> list[Problem]:
    """Return a problem if updates have been paused for more than a week: the site gets old."""
    if pause is None or now() - pause.since <= LONGEST:
        return []
    return [
        Problem(
            "old-pause", f"Updates have been paused for {(now() - pause.since).days} days.", "Run `releaser resume`."
        )
    ]


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


def holds_for(changes: Sequence[Change], reason: str) -> list[Hold]:
    """Return holds on the versions that a rollback removes, from the changes that it undoes."""
    return [
        Hold(change.name, change.new, reason, "rollback", since=now()) for change in changes if change.new is not None
    ]


def list_holds(site: Site) -> tuple[Hold, ...]:
    """Return everything on hold, by the setting `ignore`, too."""
    ignored = [normalize_name(name) for name in site.settings.versions.ignore]
    settings = (Hold(name, EVERY, "by the setting `ignore`", "setting") for name in ignored)
    return (*read_holds(site.paths).holds, *settings)


def add_hold(paths: Paths, name: str) -> None:
    """Let updates leave a package at its live version. Raises OSError."""
    hold = Hold(normalize_name(name), EVERY, "by you", "person", since=now())
    write_holds(paths, [*read_holds(paths).holds, hold])


def find_old_holds(holds: Iterable[Hold]) -> list[Problem]:
    """Return a problem for each version that a rollback put on hold more than a week ago: the site gets old."""
    old = [hold for hold in holds if hold.by == "rollback" and hold.since and now() - hold.since > LONGEST]
    return [
        Problem("old-hold", f"{hold.label} has been on hold for {(now() - hold.since).days} days.",
                f"Release a newer one, or try it again: `releaser unhold {hold.name}`.")
        for hold in old if hold.since
    ]  # fmt: skip


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
