"""Holds: updates skip a version, a package, a commit, or everything. Each says by whom, why, and until when."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import msgspec

from releaser.errors import Problem
from releaser.packages.changes import compare_releases, name_bump
from releaser.packages.lock import Lock
from releaser.releases.release import PackageChange, Release
from releaser.site.paths import Paths
from releaser.site.site import Site
from releaser.system.files import remove_path, set_aside, write_json
from releaser.system.run import Moment, Run, now
from releaser.system.state import read_state
from releaser.system.text import format_time, join_few, normalize_name

LONGEST = timedelta(days=7)  # a site that does not get what is newer for longer needs attention
SHORTEST = 7  # characters of a commit that name it
_MOST = 5  # names in a command
By: TypeAlias = Literal["rollback", "person", "setting", "tests", "commit", "index", "build"]


class _Hold(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """The facts of every hold. Those of a setting have no time."""

    by: By
    reason: str
    since: Moment | None = None
    until: Moment | None = None

    @property
    def label(self) -> str:
        """The package and its version, the package, the commit, or `everything`."""
        return describe_hold(self).label or "everything"


class VersionHold(_Hold, frozen=True, tag="version"):
    """A version of a package: updates wait for a newer one."""

    name: str
    version: str


class PackageHold(_Hold, frozen=True, tag="package"):
    """Every version of a package but the live one."""

    name: str


class CommitHold(_Hold, frozen=True, tag="commit"):
    """A commit, by its hash, and every other one with the same code."""

    commit: str
    code_key: str


class Pause(_Hold, frozen=True, tag="everything"):
    """Everything: updates do nothing, for ever without `until`."""

    by: By = "person"
    reason: str = ""

    @property
    def sentence(self) -> str:
        """Until when updates are paused, and why."""
        since = f"since {format_time(self.since)}, " if self.since else ""
        end = f"until {format_time(self.until)}" if self.until else f"{since}without an end"
        return f"Updates are paused {end}{f': {self.reason}' if self.reason else ''}."


Hold: TypeAlias = VersionHold | PackageHold | CommitHold | Pause


class HoldRow(msgspec.Struct, frozen=True):
    """A hold, as JSON has it: `name` and `version` are null where the kind has none; a commit is its `version`."""

    kind: str
    name: str | None
    version: str | None
    reason: str
    by: str
    since: datetime | None
    until: datetime | None
    #: The key of the code of a commit; empty for other kinds.
    code: str = ""

    @property
    def label(self) -> str:
        """The package and its version, the package, or the commit."""
        words = ["commit" if self.kind == "commit" else self.name, self.version]
        return " ".join(word for word in words if word)

    @property
    def word(self) -> str:
        """The word by which `unhold` frees it."""
        return self.name or self.version or ""


def describe_hold(hold: _Hold) -> HoldRow:
    """Return a hold for programs."""
    name, code = getattr(hold, "name", None), hold.code_key if isinstance(hold, CommitHold) else ""
    version = hold.commit if isinstance(hold, CommitHold) else getattr(hold, "version", None)
    kind = str(hold.__struct_config__.tag)
    return HoldRow(kind, name, version, hold.reason, hold.by, hold.since, hold.until, code)


class Holds(msgspec.Struct, frozen=True):
    """Everything on hold, but for what settings want."""

    holds: tuple[Hold, ...] = ()


def read_holds(paths: Paths, run: Run | None = None) -> tuple[Hold, ...]:
    """Return what is on hold now, but for settings; a file that cannot be read is set aside if `run` may report it."""
    consequence = "nothing is on hold any more"
    stored = read_state(paths.holds, dict[str, list[dict[str, Any]]], run, consequence)
    try:
        holds = list(map(_convert, stored.get("holds", ()))) if stored else []
    except msgspec.MsgspecError as error:
        if run is not None:
            run.note(f"{paths.holds}: {error}. It is now `{set_aside(paths.holds)}`: {consequence}.")
        holds = []
    pause = read_state(paths.pause, Pause, run, "updates are not paused any more")  # of an earlier version
    return tuple(hold for hold in (*holds, *filter(None, [pause])) if hold.until is None or hold.until > now())


def _convert(entry: dict[str, Any]) -> Hold:
    """Return a stored hold. An earlier version told that of a commit by its code, and of a package by `*`."""
    if "kind" not in entry:
        version, code = entry.get("version"), entry.get("code")
        kind = "commit" if code else "package" if version == "*" else "version"
        entry |= {"kind": kind, "commit": version, "code_key": code}
    hold: Hold = msgspec.convert(entry, Hold)
    return hold


def write_holds(paths: Paths, holds: Iterable[Hold]) -> None:
    """Replace what is on hold, durably. Raises OSError."""
    unique = {(type(hold), hold.label, getattr(hold, "code_key", "")): hold for hold in holds}
    write_json(paths.holds, Holds(tuple(unique.values())))
    remove_path(paths.pause)  # that of an earlier version is among them now


def tidy_holds(paths: Paths, run: Run) -> None:
    """Set aside what cannot be read, and forget what is over or written by an earlier version, if the disk has room."""
    stored, holds = read_state(paths.holds, Holds), read_holds(paths, run)
    if holds != (stored.holds if stored else ()) or paths.pause.exists():
        with contextlib.suppress(OSError):  # it is read as well next time
            write_holds(paths, holds)


def list_holds(site: Site) -> tuple[Hold, ...]:
    """Return everything on hold, by the setting `ignore`, too."""
    ignored = [normalize_name(name) for name in site.settings.versions.ignore]
    settings = (PackageHold(name=name, by="setting", reason="by the setting `ignore`") for name in ignored)
    return (*read_holds(site.paths), *settings)


def find_pause(holds: Iterable[Hold]) -> Pause | None:
    """Return the pause of updates, if there is one."""
    return next((hold for hold in holds if isinstance(hold, Pause)), None)


def find_held_code(holds: Iterable[Hold]) -> frozenset[str]:
    """Return the keys of the code of commits on hold."""
    return frozenset(hold.code_key for hold in holds if isinstance(hold, CommitHold))


def pause_updates(paths: Paths, seconds: float | None, reason: str) -> Pause:
    """Pause updates for a time, None for no end; a pause that is changed began when it began. Raises OSError."""
    holds = read_holds(paths)
    before, until = find_pause(holds), None if seconds is None else now() + timedelta(seconds=seconds)
    pause = Pause(reason=reason, since=before.since if before else now(), until=until)
    write_holds(paths, [*(hold for hold in holds if hold is not before), pause])
    return pause


def resume_updates(paths: Paths) -> bool:
    """End the pause; False if there is none. Raises OSError."""
    holds = read_holds(paths)
    if find_pause(holds) is None:
        return False
    write_holds(paths, [hold for hold in holds if not isinstance(hold, Pause)])
    return True


def hold_package(paths: Paths, name: str, seconds: float | None) -> datetime | None:
    """Let updates leave a package at its live version; return until when, None for no end. Raises OSError."""
    until = None if seconds is None else now() + timedelta(seconds=seconds)
    hold = PackageHold(name=normalize_name(name), by="person", reason="by you", since=now(), until=until)
    others = [each for each in read_holds(paths) if not (isinstance(each, PackageHold) and each.name == hold.name)]
    write_holds(paths, [*others, hold])
    return until


def is_locked_again(hold: Hold, committed: Lock) -> bool:
    """Return True for a version that a commit of a person has left, if the committed lock has it again."""
    return (
        isinstance(hold, VersionHold) and hold.by == "commit" and hold.version in committed.versions.get(hold.name, ())
    )


def replace_index_holds(paths: Paths, holds: Sequence[VersionHold]) -> None:
    """Put these versions on hold, in the place of those that could not be installed last time. Raises OSError."""
    before = read_holds(paths)
    known = {hold.label: hold for hold in before if isinstance(hold, VersionHold) and hold.by in ("index", "commit")}
    kept = [hold for hold in before if hold.by != "index"]
    holds = [msgspec.structs.replace(hold, since=known.get(hold.label, hold).since) for hold in holds]
    after = [*kept, *(hold for hold in holds if hold not in kept)]
    if tuple(after) != before:
        write_holds(paths, after)


def make_version_holds(changes: Sequence[PackageChange], reason: str, by: By = "rollback") -> list[Hold]:
    """Return holds on the versions that changes bring: a rollback removes them, or they fail the tests."""
    versions = [(change.name, change.new) for change in changes if change.new is not None]
    return [VersionHold(name=name, version=new, by=by, reason=reason, since=now()) for name, new in versions]


def make_release_holds(left: Release, release: Release, reason: str) -> list[Hold]:
    """Return holds on what one release has and another has not: versions, and the commit if its code differs."""
    holds = make_version_holds(compare_releases(release, left), reason)
    key, commit = left.manifest.key.code_key, left.manifest.commit[:12]
    if key != release.manifest.key.code_key:
        holds.append(CommitHold(commit=commit, code_key=key, by="rollback", reason=reason, since=now()))
    return holds


def find_overtaken(
    holds: Sequence[Hold], before: Mapping[str, str], installed: Mapping[str, str], *, has_commit: bool
) -> list[Hold]:
    """Return the holds on versions that are not newer than those `installed`, and, with `has_commit`, on commits.

    No rule orders the commits of a package from git: its hold is overtaken once another one than `before` is live.
    """

    def is_overtaken(hold: Hold) -> bool:
        if isinstance(hold, CommitHold):
            return has_commit
        if not isinstance(hold, VersionHold):
            return False
        live = installed.get(hold.name)
        if " " in hold.version:
            return hold.name in before and live not in (None, before[hold.name])
        return hold.version == live or name_bump(hold.version, live or "0") != "other"

    return [hold for hold in holds if is_overtaken(hold)]


def remove_holds(paths: Paths, names: Sequence[str]) -> tuple[list[Hold], list[str]]:
    """Let updates take these packages or commits again; return the removed holds and the names without one.

    A commit is named by the beginning of its hash, of seven characters or more. Raises OSError.
    """
    before = read_holds(paths)
    chosen = {name: [hold for hold in before if _is_named(hold, name)] for name in names}
    removed = [hold for hold in before if any(hold in holds for holds in chosen.values())]
    unknown = [name for name, holds in chosen.items() if not holds]
    if removed and not unknown:
        write_holds(paths, (hold for hold in before if hold not in removed))
    return removed, unknown


def remove_all_holds(paths: Paths) -> list[Hold]:
    """Let updates take everything again that is on hold, and return it; a pause stays. Raises OSError."""
    holds = read_holds(paths)
    removed: list[Hold] = [hold for hold in holds if not isinstance(hold, Pause)]
    if removed:
        write_holds(paths, (hold for hold in holds if isinstance(hold, Pause)))
    return removed


def _is_named(hold: Hold, name: str) -> bool:
    match hold:
        case VersionHold() | PackageHold():
            return hold.name == normalize_name(name)
        case CommitHold():
            return len(name) >= SHORTEST and hold.commit.startswith(name.lower()[: len(hold.commit)])
        case Pause():
            return False


def name_for_unhold(holds: Iterable[Hold]) -> str:
    """Return the words by which `unhold` frees these holds."""
    return " ".join(dict.fromkeys(filter(None, (describe_hold(hold).word for hold in holds))))


def describe_skipped(holds: Sequence[Hold]) -> str:
    """Return what updates will skip, in a sentence, and how to undo that."""
    names = name_for_unhold(holds)
    undo = f"unhold {names}`." if len(names.split()) <= _MOST else "unhold NAME…`, or all: `releaser unhold --all`."
    return f"Updates will skip: {join_few([hold.label for hold in holds])}. Undo: `releaser {undo}"


def find_old_holds(holds: Iterable[Hold], installed: Collection[str]) -> list[Problem]:
    """Return a problem for each hold that keeps a site old for more than a week, unless a person wants it.

    A pause is one in any case. A hold on a package that is not `installed` keeps nothing old.
    """
    problems = []
    for hold in holds:
        days = (now() - hold.since).days if hold.since and now() - hold.since > LONGEST else 0
        if days and isinstance(hold, Pause):
            message = f"Updates have been paused for {days} days."
            problems.append(Problem("old-pause", message, "Run `releaser resume`."))
        elif isinstance(hold, VersionHold) and hold.name not in installed:
            continue
        elif days and hold.by in ("rollback", "tests"):
            advice = f"Release a newer one, or try it again: `releaser unhold {name_for_unhold([hold])}`."
            problems.append(Problem("old-hold", f"{hold.label} has been on hold for {days} days.", advice))
    return problems
