"""What is not to be tried again, or not now: candidates, versions and commits that failed, and holds.

A hold is by a person, or by the tests that failed with a version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from releaser.locks.differences import OwnHolds
from releaser.locks.versions import is_newer
from releaser.releases.key import ReleaseKey
from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

#: How long a version that failed once more is left alone, unless a person wants it tried.
PAUSE = timedelta(days=7)
#: `undecided` are holds that earlier versions wrote, of a search that was cut off; they are passed over.
By = Literal["person", "tests", "undecided", "activation"]


class Quarantined(Frozen):
    """A candidate that is not to be built again; `at` is an ISO time.

    With `sick`, the tests failed on the live release too, so that nothing is known of the candidate: it gets another
    chance once they pass there.
    """

    key: ReleaseKey
    release: str
    reason: str
    at: str
    sick: bool = False


class FailedCandidate(Quarantined):
    """The same, or with `migrations` one that is well, and waits until somebody has applied these."""

    migrations: tuple[str, ...] = ()
    #: Whether an earlier version was still searching for its culprits: such an entry no longer counts.
    unfinished: bool = False


class Hold(Frozen):
    """One package of which something is to stay out; what a person holds stays until somebody lifts that.

    What the tests hold is one `version`, which failed; what an `activation` holds, a backed-out release had brought in.
    """

    name: str
    by: By
    reason: str
    #: When it was first held, as ISO 8601.
    at: str
    version: str = ""
    #: The release whose tests failed, which `show` describes, or which was backed out.
    release: str = ""
    #: With which Python.
    python: str = ""
    #: The end of what the tests printed with it.
    output: str = ""
    #: The names of the tests that failed.
    tests: tuple[str, ...] = ()
    #: What comes only together with it, such as `celery 5.6.0`.
    together: tuple[str, ...] = ()
    #: The digest of the code of the project: if that changes, the version is worth a try.
    code: str = ""
    #: When it was tried again, though it was known to fail, as ISO 8601; empty if it was not.
    tried_at: str = ""
    #: The commit of another host, or of a developer, that took the version back; empty if that was done here.
    commit: str = ""

    def __post_init__(self) -> None:
        self.rests_until()  # ValueError for what is no time

    def rests_until(self) -> datetime | None:
        """Return until when it is not tried again by itself; None if nobody has tried that yet."""
        return datetime.fromisoformat(self.tried_at) + PAUSE if self.tried_at else None

    def is_ahead_of(self, locked: Mapping[str, str]) -> bool:
        """Whether the version that failed is newer than the locked one."""
        return self.name in locked and is_newer(self.version, locked[self.name])

    def is_in(self, locked: Mapping[str, str]) -> bool:
        """Whether the version that failed is among those of the package in a lock, comma-separated there."""
        return bool(self.version) and self.version in locked.get(self.name, "").split(", ")


class RejectedCommit(Frozen):
    """A commit that does not come in again by itself: it broke the tests or the site, or was rolled back from."""

    commit: str
    #: What identifies its code: everything in it but the files that releaser commits.
    code_key: str
    subject: str
    reason: str
    #: An ISO time.
    at: str
    #: Whether packages came in with it that may be to blame instead; if they fail alone, the commit is let in again.
    is_suspect: bool = False


class Quarantine(Frozen):
    """All lists, oldest first."""

    candidates: tuple[FailedCandidate, ...] = ()
    #: The package versions that backed-out releases had brought in; no resolution takes them again.
    versions: tuple[Hold, ...] = ()
    commits: tuple[RejectedCommit, ...] = ()

    def commit(self, code_key: str) -> RejectedCommit | None:
        """Return the entry for code that was rejected."""
        return next((entry for entry in self.commits if entry.code_key == code_key), None)

    def with_commit(self, entry: RejectedCommit) -> Quarantine:
        """Add a rejected commit."""
        return replace(self, commits=(*(one for one in self.commits if one.code_key != entry.code_key), entry))

    def candidate(self, key: ReleaseKey) -> FailedCandidate | None:
        """Return the entry for a candidate that failed before."""
        return next((entry for entry in self.candidates if entry.key == key), None)

    @property
    def waiting(self) -> tuple[FailedCandidate, ...]:
        """The candidates that are well, and wait until somebody has applied their migrations."""
        return tuple(entry for entry in self.candidates if entry.migrations)

    def with_candidate(self, entry: FailedCandidate) -> Quarantine:
        """Add a failed candidate."""
        return replace(self, candidates=(*(one for one in self.candidates if one.key != entry.key), entry))

    def with_versions(self, brought: Mapping[str, str], *, release: str, reason: str, at: str) -> Quarantine:
        """Add every package version that a release had brought in; several of one package are comma-separated."""
        known = {(entry.name, entry.version) for entry in self.versions if not entry.commit}
        added = tuple(
            Hold(name=name, by="activation", version=version, release=release, reason=reason, at=at)
            for name, versions in sorted(brought.items())
            for version in versions.split(", ")
            if (name, version) not in known
        )
        own = {(one.name, one.version) for one in added}
        others = tuple(one for one in self.versions if (one.name, one.version) not in own)
        return replace(self, versions=others + added)

    def with_commit_that_lowers(self, versions: Iterable[tuple[str, str]], *, commit: str, reason: str) -> Quarantine:
        """Add the versions that a commit of another host, or of a developer, took back."""
        known = {(entry.name, entry.version) for entry in self.versions}
        added = tuple(
            Hold(name=name, by="activation", version=version, reason=reason, at=timestamp(), commit=commit)
            for name, version in versions
            if (name, version) not in known
        )
        return replace(self, versions=self.versions + added)

    def without_followed(self, locked: Mapping[str, str]) -> Quarantine:
        """Lift what other hosts and developers took back, of the versions that a later commit locks again."""
        return replace(self, versions=tuple(one for one in self.versions if not (one.commit and one.is_in(locked))))

    def without_held(self, names: Collection[str]) -> Quarantine:
        """Leave out what others took back of packages that a person holds here: these stay as they are."""
        return replace(self, versions=tuple(one for one in self.versions if not (one.commit and one.name in names)))

    def without(self, locked: Mapping[str, str], key: ReleaseKey) -> Quarantine:
        """Lift what is live and good after all: somebody chose a backed-out release, or forced an update."""
        return replace(
            self,
            versions=tuple(entry for entry in self.versions if not entry.is_in(locked)),
            candidates=tuple(entry for entry in self.candidates if entry.key != key),
            commits=tuple(entry for entry in self.commits if entry.code_key != key.code_key),
        )


class Holds(Frozen):
    """All holds, oldest first; one for each package that a person holds, and for each version that failed."""

    entries: tuple[Hold, ...] = ()

    @property
    def by_tests(self) -> tuple[Hold, ...]:
        """The versions with which the tests failed."""
        return tuple(one for one in self.entries if one.by == "tests")

    def with_new(self, added: Iterable[Hold]) -> Holds:
        """Add holds; one of the same package and version by the same takes the place of the older."""
        new = tuple(added)
        replaced = {(hold.name, hold.by, hold.version) for hold in new}
        return replace(
            self, entries=(*(one for one in self.entries if (one.name, one.by, one.version) not in replaced), *new)
        )

    def without(self, names: Collection[str]) -> Holds:
        """Lift what is held of these packages."""
        return replace(self, entries=tuple(one for one in self.entries if one.name not in names))

    def without_live(self, locked: Mapping[str, str]) -> Holds:
        """Lift what the tests hold of versions that are live and good after all, as the lock of a release tells."""
        return replace(self, entries=tuple(one for one in self.entries if one.by == "person" or not one.is_in(locked)))

    def without_older(self, locked: Mapping[str, str]) -> Holds:
        """Leave out what the tests hold of packages that are gone, or beyond that version."""
        still = (one for one in self.entries if one.by == "person" or one.is_ahead_of(locked))
        return replace(self, entries=tuple(still))


class Constraints(Frozen):
    """What the state directory says of versions: what is held, and what failed. An unreadable file says nothing."""

    holds: Holds = field(default_factory=Holds)
    quarantine: Quarantine = field(default_factory=Quarantine)

    @classmethod
    def read(cls, state_dir: Path) -> Constraints:
        """Read both files."""
        return cls(holds=read_holds(state_dir), quarantine=read_quarantine(state_dir))

    @property
    def own(self) -> OwnHolds:
        """What is on hold on this host, and why, as a person reads it."""
        said = {"activation": "on hold by a rollback", "tests": "on hold by the tests"}
        mine = [one for one in self.failed if not one.commit]
        return OwnHolds(
            versions={(one.name, one.version): said[one.by] for one in mine},
            packages={one.name: "on hold by you" for one in self.holds.entries if one.by == "person"},
        )

    @property
    def failed(self) -> tuple[Hold, ...]:
        """The versions that failed, after they went live or in the tests."""
        return (*self.quarantine.versions, *self.holds.by_tests)


QUARANTINE = StateFile(name="quarantine.json", type=Quarantine)
HOLDS = StateFile(
    name="holds.json", type=Holds, loss="nothing is held back now", advice="Hold packages again with `releaser hold`."
)


def read_quarantine(state_dir: Path) -> Quarantine:
    """Read the quarantine; an unreadable one counts as empty."""
    found = load_state(state_dir / QUARANTINE, Quarantine())
    return replace(found, candidates=tuple(one for one in found.candidates if not one.unfinished))


def read_holds(state_dir: Path) -> Holds:
    """Read the holds; unreadable ones count as none."""
    found = load_state(state_dir / HOLDS, Holds())
    return replace(found, entries=tuple(one for one in found.entries if one.by != "undecided"))


def change_quarantine(state_dir: Path, change: Callable[[Quarantine], Quarantine]) -> None:
    """Replace the quarantine, durably. Raises OSError."""
    write_state(state_dir / QUARANTINE, change(read_quarantine(state_dir)))


def change_holds(state_dir: Path, change: Callable[[Holds], Holds]) -> None:
    """Replace the holds, durably, if that changes them. Raises OSError."""
    before = read_holds(state_dir)
    after = change(before)
    if after != before:
        write_state(state_dir / HOLDS, after)
