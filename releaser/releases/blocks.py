"""The table of blocks in the state directory: packages, commits and candidates that updates skip, for now or for good.

A block comes from a person, from failed tests, or from a rollback.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from releaser.locks.blocks import Block
from releaser.locks.origins import Deviation
from releaser.locks.versions import is_newer
from releaser.releases.key import ReleaseKey
from releaser.system.files import load_state, sync_directory, write_state
from releaser.system.frozen import Frozen, replace
from releaser.system.sections import Section
from releaser.system.state_files import StateFile
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

#: The files of earlier versions; the first change of the table deletes them.
EARLIER = ("quarantine.json", "holds.json", "acceptance.json")
#: How long updates skip a version that failed once more, unless a person asks for it.
PAUSE = timedelta(days=7)


class StoredBlock(Block):
    """A block that counts in later runs, until it is lifted.

    `name` is the name of the package, the first digits of the commit, or the release of the candidate.
    """

    what: Literal["package", "commit", "candidate"] = "package"
    by: Literal["person", "rollback", "tests", "activation"] = "rollback"
    #: Until when updates skip a version that failed once more.
    until: datetime | None = None
    #: The Python that the tests failed with.
    python: str = ""
    #: The digest of the code that the version failed with, or of the blocked commit. Other code gets another try.
    code_key: str = ""
    #: The blocked commit. Of a version: the commit of another host or developer that lowered it; empty for this host.
    commit: str = ""
    subject: str = ""
    #: True if the commit also versions packages that may be to blame; if they fail without it, the block is lifted.
    is_suspect: bool = False
    #: The key of a candidate.
    key: ReleaseKey | None = None
    #: True if the tests failed on the live release, too: a candidate gets another chance once they pass there.
    sick: bool = False

    @property
    def at(self) -> str:
        """`since`, under its name in the JSON of `status`."""
        return self.since

    @property
    def identity(self) -> object:
        """Equal for two blocks of the same thing with the same cause, of which only the newer counts."""
        return self.key or (self.what, self.code_key if self.what == "commit" else (self.name, self.version, self.by))

    def is_ahead_of(self, locked: Mapping[str, str]) -> bool:
        """True if the version that failed is newer than the locked one."""
        return bool(self.version) and self.name in locked and is_newer(self.version, locked[self.name])

    def is_in(self, locked: Mapping[str, str]) -> bool:
        """True if the version that failed is among those of the package in a lock, comma-separated there."""
        return bool(self.version) and self.version in locked.get(self.name, "").split(", ")


class HoldsSection(Section):
    """The packages and commits on hold when a run ended."""

    #: The packages on hold by a person or by the tests, whether a newer version exists or not.
    holds: tuple[Block, ...] = ()
    #: The commits on hold, because they failed or were rolled back; one sentence each.
    commits_on_hold: tuple[str, ...] = ()


class FailedTestsSection(Section):
    """The tests that failed with the candidate."""

    #: Their names, as their runner prints them.
    failed_tests: tuple[str, ...] = ()


class Blocks(Frozen):
    """All blocks, and the deviations that were asked about and accepted."""

    #: Oldest first.
    entries: tuple[StoredBlock, ...] = ()
    #: The deviations that refused the last run that resolved, and those that a person has accepted.
    asked: tuple[Deviation, ...] = ()
    accepted: tuple[Deviation, ...] = ()

    def by(self, *by: str) -> tuple[StoredBlock, ...]:
        """Return the blocks of packages and versions with these causes."""
        return tuple(entry for entry in self.entries if entry.what == "package" and entry.by in by)

    @property
    def held(self) -> tuple[StoredBlock, ...]:
        """The packages that a person holds."""
        return self.by("person")

    @property
    def failed(self) -> tuple[StoredBlock, ...]:
        """The versions that failed, after they went live or in the tests."""
        return (*self.by("rollback"), *self.by("tests"))

    @property
    def candidates(self) -> tuple[StoredBlock, ...]:
        """The candidates that are not built again."""
        return tuple(entry for entry in self.entries if entry.what == "candidate")

    @property
    def commits(self) -> tuple[StoredBlock, ...]:
        """The commits that updates skip."""
        return tuple(entry for entry in self.entries if entry.what == "commit")

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which blocks are lifted: packages first, then commits and candidates."""
        packages = {entry.name for entry in self.entries if entry.what == "package"}
        return (*sorted(packages), *(block.name for block in (*self.commits, *self.candidates)))

    @property
    def own(self) -> tuple[StoredBlock, ...]:
        """The packages and versions that are on hold on this host alone."""
        return (*self.held, *(hold for hold in self.failed if not hold.commit))

    def commit(self, code_key: str) -> StoredBlock | None:
        """Return the block of code that is on hold."""
        return next((commit for commit in self.commits if commit.code_key == code_key), None)

    def candidate(self, key: ReleaseKey) -> StoredBlock | None:
        """Return the block of a candidate that failed before."""
        return next((candidate for candidate in self.candidates if candidate.key == key), None)

    def accept(self, found: tuple[Deviation, ...]) -> Blocks:
        """Move deviations to the accepted ones."""
        left = tuple(deviation for deviation in self.asked if deviation not in found)
        return replace(self, asked=left, accepted=tuple(dict.fromkeys([*self.accepted, *found])))

    def with_new(self, *new: StoredBlock) -> Blocks:
        """Add blocks; each replaces an older block with the same identity."""
        added = {block.identity for block in new}
        return replace(self, entries=(*(entry for entry in self.entries if entry.identity not in added), *new))

    def with_all(self, other: Blocks) -> Blocks:
        """Add the content of another table; adding it twice changes nothing."""
        asked = tuple(dict.fromkeys([*self.asked, *other.asked]))
        return replace(self.with_new(*other.entries), asked=asked).accept((*self.accepted, *other.accepted))

    def without(self, is_lifted: Callable[[StoredBlock], object]) -> Blocks:
        """Lift blocks."""
        return replace(self, entries=tuple(entry for entry in self.entries if not is_lifted(entry)))

    def with_versions(self, introduced: Mapping[str, str], *, release: str, reason: str, since: str) -> Blocks:
        """Block every package version that a release had introduced; versions of one package are comma-separated."""
        known = {(hold.name, hold.version) for hold in self.by("rollback") if not hold.commit}
        return self.with_new(
            *(
                StoredBlock(name=name, version=version, release=release, reason=reason, since=since)
                for name, versions in sorted(introduced.items())
                for version in versions.split(", ")
                if (name, version) not in known
            )
        )

    def with_commit_that_lowers(self, versions: Iterable[tuple[str, str]], *, commit: str, reason: str) -> Blocks:
        """Block the versions that a commit of another host or of a developer lowered."""
        known = {(hold.name, hold.version) for hold in self.by("rollback")}
        return self.with_new(
            *(
                StoredBlock(name=name, version=version, reason=reason, since=timestamp(), commit=commit)
                for name, version in versions
                if (name, version) not in known
            )
        )

    def without_followed(self, locked: Mapping[str, str]) -> Blocks:
        """Lift the blocks by other hosts and developers of versions that a later commit locks again."""
        return self.without(lambda block: block.commit and block.is_in(locked))

    def without_held(self) -> Blocks:
        """Lift the blocks by other hosts and developers of packages that a person holds here, which do not move."""
        held = {hold.name for hold in self.held}
        return self.without(lambda block: block.commit and block.name in held)

    def without_older(self, locked: Mapping[str, str]) -> Blocks:
        """Lift the blocks of versions whose package is gone, or is locked at that version or a newer one."""
        return self.without(lambda block: block.version and not block.is_ahead_of(locked))


BLOCKS = StateFile(
    name="blocks.json",
    type=Blocks,
    loss="no package is on hold by you or accepted any more",
    advice="Hold packages again with `releaser hold`; the next run asks again for what to accept.",
)


def block_candidate(key: ReleaseKey, release: str, reason: str, **facts: Any) -> StoredBlock:
    """Return the block of a candidate; `facts` are further fields."""
    known = {"by": "tests", "since": timestamp(), **facts}
    return StoredBlock(what="candidate", key=key, name=release, release=release, reason=reason, **known)


def read_blocks(state_dir: Path) -> Blocks:
    """Read the table and the files of earlier versions; an unreadable file counts as empty."""
    if not _has_earlier(state_dir):
        return load_state(state_dir / BLOCKS, Blocks())
    from releaser.releases.earlier_blocks import read_earlier  # which only the first run needs

    earlier = read_earlier(state_dir)  # first: a run that deletes it now has written all of it into the table
    return load_state(state_dir / BLOCKS, Blocks()).with_all(earlier)


def _has_earlier(state_dir: Path) -> bool:
    return any((state_dir / name).exists() for name in EARLIER)


def change_blocks(state_dir: Path, change: Callable[[Blocks], Blocks]) -> None:
    """Write the changed table, durably, if it differs or does not exist yet. Raises OSError."""
    before = read_blocks(state_dir)
    if _has_earlier(state_dir):
        # First write the unchanged table, then delete the earlier files, and only then change the table. With the
        # change in the first write, an interrupted run would leave earlier files that still have the lifted blocks.
        write_state(state_dir / BLOCKS, before)
        for name in EARLIER:
            (state_dir / name).unlink(missing_ok=True)
        sync_directory(state_dir)
    after = change(before)
    if after != before or not (state_dir / BLOCKS).exists():
        write_state(state_dir / BLOCKS, after)
