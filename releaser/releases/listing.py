"""The rows of `releaser list`, from the store.

This command is what people type most, so what takes long to import is imported only where it is needed.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from releaser.releases import fingerprint, leases

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from releaser.releases.leases import Process
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore

_SUBJECT = 40  # characters of the first line of a commit's message
COLUMNS = ("", "RELEASE", "STATE", "AGE", "PYTHON", "CHANGES", "SIZE", "OWN", "IN USE BY", "COMMIT")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One release as `list --json` prints it."""

    id: str
    state: str
    #: ISO 8601, in UTC.
    created_at: str
    path: str
    live: bool = False
    pinned: bool = False
    python: str | None = None
    commit: str | None = None
    subject: str = ""
    lock_sha256: str | None = None
    changes: tuple[dict[str, Any], ...] = ()
    size_bytes: int | None = None
    #: What would be free without it.
    own_bytes: int | None = None
    users: tuple[Process, ...] = ()
    #: Why it is not what was sealed.
    damage: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the object that is printed."""
        return {
            "id": self.id,
            "state": self.state,
            "live": self.live,
            "pinned": self.pinned,
            "created_at": self.created_at,
            "python": self.python,
            "commit": self.commit,
            "subject": self.subject,
            "lock_sha256": self.lock_sha256,
            "changes": list(self.changes),
            "size_bytes": self.size_bytes,
            "own_bytes": self.own_bytes,
            "in_use_by": [process.pid for process in self.users],
            "processes": [process.as_json() for process in self.users],
            "path": self.path,
            "broken": self.damage is not None,
            "damage": self.damage,
        }

    def cells(self, now: float) -> list[str]:
        """Return the words of a table, in the order of `COLUMNS`."""
        return [
            "*" if self.live else "",
            self.id,
            self.state + (", pinned" if self.pinned else "") + (", broken" if self.damage is not None else ""),
            age(self.created_at, now),
            self.python or "-",
            str(len(self.changes)),
            size(self.size_bytes),
            size(self.own_bytes),
            " ".join(str(process.pid) for process in self.users) or "-",
            f"{self.commit[:7]} {self.subject[:_SUBJECT]}".rstrip() if self.commit else "-",
        ]


def rows(store: ReleaseStore) -> list[Row]:
    """Return a row for each release, newest first by the record; what is being built, or was left by a crash, first."""
    locks = leases.once()
    candidates = [
        Row(id=place.name, state="candidate", created_at=_time_in(place.name), path=str(place / "venv"))
        for place in store.unsealed()
        if (place / "venv").is_dir()
    ]
    complete = [
        Row(
            id=one.id,
            state=one.state,
            live=one.live,
            pinned=one.pinned,
            created_at=one.manifest.as_json()["created_at"],
            python=one.manifest.python,
            commit=one.manifest.commit,
            subject=one.manifest.subject,
            lock_sha256=one.manifest.lock_sha256,
            changes=tuple(map(asdict, one.manifest.changes)),
            size_bytes=one.manifest.size_bytes,
            own_bytes=one.manifest.own_bytes,
            users=tuple(leases.users(str(one.directory), locks)),
            path=str(one.venv),
            damage=_damage(one),
        )
        for one in store.all()
    ]
    return [*candidates, *complete]


def _damage(release: Release) -> str | None:
    """Say what of a release is not as it was sealed."""
    manifest, interpreter = release.manifest, release.manifest.interpreter
    if fingerprint.is_as_sealed(
        str(release.directory),
        fingerprint=manifest.fingerprint,
        lock_sha256=manifest.lock_sha256,
        executable=interpreter.executable if interpreter else "",
        seen=interpreter.seen if interpreter else {},
    ):
        return None
    from releaser.releases.integrity import find_damage

    found = find_damage(release)
    return str(found) if found is not None else None


def _time_in(name: str) -> str:
    """Turn the id `20261120T061200Z` into an ISO time."""
    return f"{name[:4]}-{name[4:6]}-{name[6:8]}T{name[9:11]}:{name[11:13]}:{name[13:15]}+00:00"


def notes(found: Iterable[Row]) -> list[str]:
    """Say what is broken of releases, and of each process that uses one of them what it is, a line each."""
    lines = [f"{row.id} is broken: {row.damage}" for row in found if row.damage is not None]
    for row in found:
        for process in row.users:
            who = f"{process.pid} of {process.user}"
            lines.append(f"{row.id} is used by {who} since {process.since}: {process.command}")
    return lines


def as_text(found: Sequence[Row], now: float | None = None) -> str:
    """Return the table for people, without any drawing: aligned columns."""
    moment = time.time() if now is None else now
    lines = [list(COLUMNS), *(row.cells(moment) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*table, *notes(found)])


def age(created_at: str, now: float) -> str:
    """Say how long ago an ISO time was: `40 s`, `5 min`, `3 h`, `12 d`."""
    try:
        began = datetime.fromisoformat(created_at).timestamp()
    except ValueError:
        return "-"
    seconds = max(0, int(now - began))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def size(value: object) -> str:
    """Write a number of bytes for people."""
    if not isinstance(value, int):
        return "-"
    amount = float(value)
    for unit in ("B", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def as_json(found: Iterable[Row]) -> str:
    """Return the rows as `list --json` prints them."""
    return json.dumps([row.as_json() for row in found], indent=2)
