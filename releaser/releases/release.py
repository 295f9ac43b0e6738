"""A release (one venv, its lock and its manifest in one directory), the ledger, and the symlink to the live release."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from releaser.capabilities import gather
from releaser.errors import Finding, NoSuchReleaseError, refuse_any
from releaser.locks.changes import Change
from releaser.releases.key import ReleaseKey
from releaser.releases.lifecycle import Lifecycle, read_lifecycle
from releaser.site.supply import SupplyFacts
from releaser.system.expression import expression
from releaser.system.files import exchange, read_text, replace_symlink, write_state
from releaser.system.frozen import Frozen, field, replace
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from releaser.locks.lock import LockFile
    from releaser.releases.store import ReleaseStore
    from releaser.site.supply import Provenance
    from releaser.system.sections import Facts

State = Literal["live", "previous", "good", "failed", "rolled-back", "candidate"]
Origin = Literal["built", "adopted", "override"]
Mark = Literal["good", "bad", "failed"]
Tests = Literal["passed", "failed", "refused", "not run"]
NEVER_LIVE = frozenset({"failed", "refused"})  # results of the tests with which a release never goes live
MANIFEST = "manifest.json"
OUTPUT = "test-output.txt"
DOOMED = ".doomed-"  # a release that is being deleted, renamed first: a partly deleted one never counts as a release
MADE = ".releaser"  # in each directory from the beginning: without this mark or a manifest, releaser deletes none
ADOPT = "Run `releaser init` to adopt the project."  # the advice for a project without a release
_ID = expression(r"\d{8}T\d{6}Z(-\d+)?", re.ASCII)


class Manifest(Frozen):
    """The facts about a release, written once, when it is sealed."""

    id: str
    #: Orders releases, whatever the clock did.
    sequence: int
    created_at: datetime
    origin: Origin
    python: str
    group: str | None
    lock_sha256: str
    #: Identifies the dependencies in pyproject.toml.
    dependencies_key: str
    #: Identifies the committed code without the lock.
    code_key: str
    commit: str | None
    #: The previous release; an adopted release has one only if a person put it in its place.
    previous: str | None
    #: `refused`: they passed, but migrations of this release were not applied; `not run`: an adopted venv.
    tests: Tests
    changes: tuple[Change, ...]
    #: The digest of the packages that its lock installs, as in a `ReleaseKey`; empty if none was noted.
    installed_sha256: str = ""
    #: The first line of the message of `commit`.
    subject: str = ""

    def with_facts(self, *facts: Facts) -> Manifest:
        """Return a manifest with the facts of capabilities, which read them by `of`; for one that has none yet."""
        found = {name: value for fact in facts for name, value in vars(fact).items()}
        return manifest_type()(**{**found, **vars(self)})

    @property
    def may_go_live(self) -> bool:
        """True if its tests passed, and it was not built only to try other packages."""
        return self.tests == "passed" and not self.never_live

    @property
    def never_live(self) -> bool:
        """True if no run makes this release live, whatever its options."""
        return self.tests in NEVER_LIVE or self.origin == "override"


@functools.cache
def manifest_type() -> type[Manifest]:
    """Return the class of manifests with the facts of all capabilities, as they are on disk."""
    return type("SealedManifest", (*reversed(gather("sealed")), Manifest), {})


class Release(Frozen):
    """A complete release in its directory, with its state."""

    #: The path of that directory, as text: `releaser list` needs no `Path` of each.
    place: str
    manifest: Manifest
    state: State
    #: The lifecycle; None until it is read.
    lifecycle: Lifecycle | None = field(default=None, compare=False)
    #: True if a changed interpreter may be started to ask for its version.
    asks: bool = True

    @functools.cached_property
    def directory(self) -> Path:
        """The directory itself."""
        return Path(self.place)

    @property
    def id(self) -> str:
        """The id: the UTC time at which its build began."""
        return self.manifest.id

    @functools.cached_property
    def pinned(self) -> bool:
        """True if a person has excluded the release from pruning."""
        found = self.lifecycle or read_lifecycle(self.place)
        return found is not None and found.pinned

    @property
    def live(self) -> bool:
        """True if `.venv` leads to it."""
        return self.state == "live"

    @functools.cached_property
    def venv(self) -> Path:
        """The environment itself."""
        return self.directory / "venv"

    @functools.cached_property
    def lock(self) -> Path:
        """The lock it was built from."""
        return self.directory / "uv.lock"

    @functools.cached_property
    def locked(self) -> LockFile:
        """The parsed lock; an empty one if it cannot be read."""
        from releaser.locks.lock import EMPTY, InvalidLockError, LockFile

        try:
            return LockFile.read(self.lock)
        except (OSError, InvalidLockError):
            return EMPTY

    @property
    def provenance(self) -> Provenance:
        """The bundle that it was installed from, or a value for releases that this host built."""
        return SupplyFacts.of(self.manifest).provenance

    @functools.cached_property
    def key(self) -> ReleaseKey:
        """The key that equal releases share."""
        from releaser.locks.installed import installed_key  # slow to import, for `releaser list`

        manifest = self.manifest
        return ReleaseKey(
            lock_sha256=manifest.installed_sha256 or installed_key(self.locked, python=manifest.python),
            code_key=manifest.code_key,
            python=manifest.python,
            group=manifest.group,
            included=self.provenance.included_sha256,
        )

    @functools.cached_property
    def pyproject(self) -> Path:
        """The pyproject.toml of the first lock of the project; no other release has one."""
        return self.directory / "pyproject.toml"

    @property
    def test_output(self) -> str:
        """The capped end of the output of its tests; empty without one."""
        try:
            return read_text(self.directory / OUTPUT, errors="replace")
        except OSError:
            return ""

    @property
    def has_failed(self) -> bool:
        """True if its tests failed: releaser then starts no program of the release."""
        return self.manifest.tests == "failed"

    def works(self) -> bool:
        """True if its interpreter still exists; see `integrity` for more."""
        return os.path.exists(f"{self.place}/venv/bin/python")  # False, where Path.exists would raise PermissionError


class Ledger(Frozen):
    """The order in which the releases of a site went live. Their lifecycles are in their directories."""

    #: The releases in the order in which they went live.
    activations: tuple[str, ...] = ()
    #: The highest sequence number ever given, also to releases that are gone.
    last_sequence: int = 0
    #: The number of flips so far, also to releases that are deleted.
    flips: int = 0
    #: The lifecycles of releases whose directories this user could not write in, until another run moves them there.
    records: Mapping[str, Lifecycle] = field(default_factory=dict)
    #: The stages and pins of all releases, as earlier versions recorded them. The first run moves them to the releases.
    marks: Mapping[str, Mark] = field(default_factory=dict)
    pins: frozenset[str] = frozenset()

    @property
    def is_earlier(self) -> bool:
        """True if an earlier version wrote it."""
        return bool(self.marks or self.pins)

    @property
    def named(self) -> frozenset[str]:
        """The ids of all releases in the ledger."""
        return frozenset(self.marks) | frozenset(self.activations) | self.pins | frozenset(self.records)

    @functools.cached_property
    def last_flips(self) -> Mapping[str, int]:
        """The number of the last flip to each release, counted from the newest one."""
        newest = self.next_flip - 1
        return {name: newest - past for past, name in reversed([*enumerate(reversed(self.activations))])}

    @property
    def next_flip(self) -> int:
        """The number of the next flip."""
        return max(self.flips, len(self.activations)) + 1

    def with_flip_to(self, release: str, *, flip: int | None = None) -> Ledger:
        """Append a release to the order. `flip` is the number of the flip; by default the next number."""
        if self.activations[-1:] == (release,):
            return replace(self, flips=flip or self.flips)
        return replace(self, activations=(*self.activations, release), flips=flip or self.next_flip)

    def numbered(self, sequence: int) -> Ledger:
        """Record the number of a new release."""
        return replace(self, last_sequence=max(self.last_sequence, sequence))

    def recorded(self, release: str, lifecycle: Lifecycle | None) -> Ledger:
        """Keep the lifecycle of a release here, or no longer."""
        others = {name: record for name, record in self.records.items() if name != release}
        return replace(self, records=others if lifecycle is None else {**others, release: lifecycle})

    def forgotten(self, *releases: str) -> Ledger:
        """Drop everything about releases that are deleted."""
        return replace(
            self,
            activations=tuple(name for name in self.activations if name not in releases),
            flips=self.next_flip - 1,
            records={name: record for name, record in self.records.items() if name not in releases},
            marks={name: mark for name, mark in self.marks.items() if name not in releases},
            pins=self.pins - {*releases},
        )


EMPTY_LEDGER = Ledger()

LEDGER = StateFile(name="ledger.json", type=Ledger)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Complete a release: until the manifest is in its directory, that directory is not a release."""
    write_state(directory / MANIFEST, manifest)


def is_id(name: str) -> bool:
    """True if a name has the form of a release id."""
    return _ID.fullmatch(name) is not None


def is_own(entry: Path, known: Collection[str]) -> bool:
    """True if releaser made a directory, which is named as a release, or as one that is being deleted.

    An empty directory counts too, as nothing is lost with it.
    """
    name = entry.name.removeprefix(DOOMED)
    return is_id(name) and (name in known or is_marked(entry))


def is_marked(directory: Path) -> bool:
    """True if a directory has the mark of releaser, or is empty, as if a run was killed before it set the mark."""
    try:
        return (directory / MADE).is_file() or {*os.listdir(directory)} <= {f".{MADE}.new"}
    except FileNotFoundError:  # just deleted
        return True
    except OSError:
        return False


def new_id(now: datetime, taken: frozenset[str]) -> str:
    """Return the id of a release that begins now, in UTC, with `-2`, `-3` … for more in one second."""
    base = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def read_versions(release: Release | None) -> Mapping[str, str]:
    """Return the versions that the lock of a release has for its Python; empty without a release or a readable lock."""
    from releaser.locks.installed import versions_for  # slow to import, for `releaser list`

    return versions_for(release.locked, release.manifest.python) if release is not None else {}


def lock_of(release: Release | None) -> LockFile:
    """Return the lock of a release; an empty one without a release, or if the lock cannot be read."""
    from releaser.locks.lock import EMPTY

    return EMPTY if release is None else release.locked


# The symlink that makes a release live


def flip(link: Path, venv: Path, *, staging: Path) -> None:
    """Point `link` to `venv` by one rename, durably. Raises OSError; then the old link is still in place.

    The link is relative, so that the outer directory can be moved or mounted elsewhere. `staging` is a directory on the
    same file system, in which the new link is made.
    """
    replace_symlink(link, os.path.relpath(venv, link.parent), staging=staging)


def adopt_directory(link: Path, venv: Path) -> bool:
    """Move the real directory at `link` to `venv` and leave a symlink; return whether that was one atomic exchange.

    The fallback, for file systems without RENAME_EXCHANGE, is a rename and then a symlink: between the two, for some
    microseconds, `link` does not exist. Nothing is synced: the caller does that before the release is complete.
    """
    text = os.path.relpath(venv, link.parent)
    venv.symlink_to(text)
    if exchange(link, venv):
        return True
    venv.unlink()
    link.rename(venv)
    link.symlink_to(text)
    return False


def is_missing_or_dangling(link: Path) -> bool:
    """True if the symlink or its target is gone; False if the target may only not be looked at."""
    try:
        os.stat(link)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def find_moved_link(store: ReleaseStore) -> Finding | None:
    """Return a finding if the symlink does not lead to the release that releaser made live last; else None."""
    live, found = store.live_by_record(), store.live_id()
    if live is None or found == live or is_missing_or_dangling(store.link):
        return None
    back = f"To go back to {live}, run `releaser rollback {live}`"
    if not store.link.is_symlink():
        message = f"{store.link} is not a symlink now, but releaser last made {live} live: the symlink was replaced"
        advice = (
            f"Nothing is changed until you decide. {back}: the directory becomes a release, too."
            " To keep the directory live, run `releaser init`."
        )
        return Finding("link-moved", message, advice)
    target = found or os.readlink(store.link)
    message = f"{store.link} leads to {target}, not to {live}, which releaser last made live: it was moved by hand"
    advice = f"Nothing is changed until you decide. {back}. To keep {target} live, run `releaser init`."
    return Finding("link-moved", message, advice)


def refuse_without_live(store: ReleaseStore) -> NoReturn:
    """Raise the error for a site without a live release, with the way to get one."""
    moved = find_moved_link(store)
    raise NoSuchReleaseError(*((moved.message, moved.advice) if moved else ("no release is live", ADOPT)))


def refuse_moved(store: ReleaseStore) -> None:
    """Check that the symlink was not moved by a person or program. Raises PreflightError."""
    refuse_any(find_moved_link(store))
