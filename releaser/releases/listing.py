"""The rows of `releaser list`, from the store, and the types of `packages`, `export` and `verify`."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from releaser.capabilities import gather
from releaser.locks.changes import Change
from releaser.locks.differences import LockDifference
from releaser.releases import leases
from releaser.releases.contents import DiskUsage, own_sizes
from releaser.releases.integrity import find_interpreter_damage, is_unchanged
from releaser.releases.release import State
from releaser.system.files import read_if_there
from releaser.system.frozen import Frozen
from releaser.system.words import age, size, time_of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from releaser.releases.integrity import Drift
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore

_SUBJECT = 40  # characters of the first line of a commit's message
COLUMNS = ("", "RELEASE", "STATE", "AGE", "PYTHON", "CHANGES", "SIZE", "OWN", "IN USE BY", "COMMIT")


class User(Frozen):
    """A process that uses a release."""

    pid: int
    user: str
    command: str
    #: When it began, as ISO 8601.
    since: str


class Row(Frozen):
    """One release as `list --json` prints it; what may be None is so while it is being built."""

    id: str
    state: State
    live: bool = False
    pinned: bool = False
    created_at: datetime
    python: str | None = None
    commit: str | None = None
    subject: str = ""
    #: The release, of the host that created it, whose bundle was installed.
    bundle: str | None = None
    lock_sha256: str | None = None
    changes: tuple[Change, ...] = ()
    size_bytes: int | None = None
    #: The space that its deletion would free, at most.
    own_bytes: int | None = None
    #: The ids of `processes`.
    in_use_by: tuple[int, ...] = ()
    processes: tuple[User, ...] = ()
    path: str
    #: True if its Python is gone, or is not the sealed one; `damage` says why. `verify` also checks its files.
    broken: bool = False
    damage: str | None = None
    #: Other facts, such as that it was approved, each in a few words.
    remarks: tuple[str, ...] = ()
    #: Of the live release: its differences from the committed lock, due to versions on hold on this host.
    lock_differences: tuple[LockDifference, ...] = ()

    def cells(self, now: float) -> list[str]:
        """Return the words of a table, in the order of `COLUMNS`."""
        return [
            "*" if self.live else "",
            self.id,
            self.state + (", pinned" if self.pinned else "") + (", broken" if self.broken else ""),
            age(now - self.created_at.timestamp()),
            self.python or "-",
            str(len(self.changes)),
            size(self.size_bytes),
            size(self.own_bytes),
            " ".join(map(str, self.in_use_by)) or "-",
            f"{self.commit[:7]} {self.subject[:_SUBJECT]}".rstrip() if self.commit else "-",
        ]


def _read_differences(store: ReleaseStore) -> tuple[LockDifference, ...]:
    """Return the differences between the live release and the committed lock; few sites have any."""
    noted = read_if_there(store.state_dir / "notes.json") or b""
    if b'"lock_differences": [\n' not in noted:
        return ()
    from releaser.releases.journal import read_notes  # slow to import

    return read_notes(store.state_dir).lock_differences


def rows(store: ReleaseStore) -> list[Row]:
    """Return a row for each unfinished candidate, then for each release, newest first by the record."""
    snapshot = store.snapshot()
    locks, unchanged = functools.cache(leases.read_file_locks), functools.cache(is_unchanged)
    candidates = [
        Row(id=place.name, state="candidate", created_at=_time_of(place), path=str(place / "venv"))
        for place in store.find_unsealed({release.id for release in snapshot.releases})
        if (place / "venv").is_dir()
    ]
    differences, remarks = _read_differences(store), remarks_by_release(store.state_dir, snapshot.releases)
    own = own_sizes(release.manifest for release in snapshot.releases)
    found = [
        _row(
            one,
            locks,
            unchanged,
            state=state,
            own_bytes=own[one.id],
            remarks=remarks.get(one.id, ()),
            lock_differences=differences if one.live else (),
        )
        for one, state in snapshot.states()
    ]
    return [*candidates, *found]


def remarks_by_release(state_dir: Path, releases: Iterable[Release]) -> Mapping[str, tuple[str, ...]]:
    """Return the remarks of capabilities about these releases, by their ids."""
    found: dict[str, tuple[str, ...]] = {}
    for find in gather("remarks"):
        for release, remark in find(state_dir, releases).items():
            found[release] = (*found.get(release, ()), remark)
    return found


def _row(release: Release, locks: Callable[[], leases.Locks], unchanged: Callable[..., bool], **others: Any) -> Row:
    """Return the row of a release; `others` are the facts that depend on all releases."""
    manifest, users = release.manifest, users_of(release, locks)
    damage = find_interpreter_damage(release, unchanged=unchanged)
    return Row(
        id=release.id,
        live=release.live,
        pinned=release.pinned,
        created_at=manifest.created_at,
        python=manifest.python,
        commit=manifest.commit,
        subject=manifest.subject,
        bundle=release.provenance.release or None,
        lock_sha256=manifest.lock_sha256,
        changes=manifest.changes,
        size_bytes=DiskUsage.of(manifest).size_bytes,
        in_use_by=tuple(user.pid for user in users),
        processes=users,
        path=f"{release.place}/venv",
        broken=damage is not None,
        damage=str(damage) if damage is not None else None,
        **others,
    )


def users_of(release: Release, locks: Callable[[], leases.Locks] = leases.read_file_locks) -> tuple[User, ...]:
    """Return the processes that use a release; `locks` may cache the locks of the host."""
    found = leases.users(release.place, locks)
    return tuple(
        User(pid=process.pid, user=process.user, command=process.command, since=process.since) for process in found
    )


def _time_of(place: Path) -> datetime:
    """Return when a release was begun, from its id `20261120T061200Z`; from its directory if it was renamed."""
    try:
        return datetime.fromisoformat(place.name[:16])
    except ValueError:
        return time_of_file(place.stat().st_mtime)


def notes(found: Iterable[Row]) -> list[str]:
    """Return a line for each broken release, difference from the committed lock, and process that uses a release."""
    lines = [f"{row.id} is broken: {row.damage}" for row in found if row.broken]
    for row in found:
        lines += [f"{row.id} {remark}" for remark in row.remarks]
        lines += [f"{row.id} is not as committed: {difference}" for difference in row.lock_differences]
        for process in row.processes:
            who = f"{process.pid} of {process.user}"
            lines.append(f"{row.id} is used by {who} since {process.since}: {process.command}")
    return lines


class InstalledPackage(Frozen):
    """A package that is installed in a release."""

    name: str
    version: str
    #: Who asks for it: the dependencies of the `project`, its `extra NAME` or `group NAME`, and other packages.
    asked_by: tuple[str, ...]
    #: Since the upload; None if the index does not say.
    age_seconds: float | None
    #: The newest version; empty if this is the newest, None if it is unknown.
    newer: str | None
    #: The ids of known vulnerabilities; None if these are unknown.
    vulnerabilities: tuple[str, ...] | None
    #: The space that its files take; None if RECORD does not list them.
    size_bytes: int | None


class Exported(Frozen):
    """The lock of a release for other tools."""

    release: str
    format: Literal["requirements", "constraints", "pylock"]
    text: str


class PackageDrift(Frozen):
    """A package that was added, removed or replaced."""

    name: str
    old: str | None
    new: str | None


class FileDrift(Frozen):
    """A file that differs for another reason; `path` is relative to the venv."""

    path: str
    kind: str


class DriftAnswer(Frozen):
    """The differences between the files of a release and the sealed ones."""

    packages: tuple[PackageDrift, ...]
    files: tuple[FileDrift, ...]

    @classmethod
    def of(cls, drift: Drift) -> DriftAnswer:
        """Return the names of the packages and files, without the details that only `verify` reports."""
        from msgspec import convert  # slow to import

        return cls(
            packages=convert(drift.packages, tuple[PackageDrift, ...], from_attributes=True),
            files=tuple(FileDrift(path=file.path or "", kind=file.verb) for file in drift.files),
        )
