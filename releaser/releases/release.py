"""A release: one venv, the lock it was built from, and its manifest, in one directory."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from releaser.durable import UnreadableStateError, check_types, read_json, write_json
from releaser.locking.diff import Change, LockDiff
from releaser.releases.interpreter import Interpreter

if TYPE_CHECKING:
    from pathlib import Path

State = Literal["live", "good", "failed", "bad", "candidate"]
Origin = Literal["built", "adopted", "override"]
Tests = Literal["passed", "failed", "refused", "not run"]
NEVER_LIVE = frozenset({"failed", "refused"})  # what became of the tests of a release that no run makes live
MANIFEST = "manifest.json"
OUTPUT = "test-output.txt"
_TEXT = (str, type(None))
_KINDS: dict[str, type | tuple[type, ...]] = {
    "id": str, "sequence": int, "created_at": str, "origin": str, "python": str, "group": _TEXT, "lock_sha256": str,
    "dependencies_key": str, "code_key": str, "commit": _TEXT, "previous": _TEXT, "tests": str, "changes": list,
    "size_bytes": int, "fingerprint": str, "overrides": list, "interpreter": (dict, type(None)), "replaces": _TEXT,
    "link_mode": str, "subject": str, "staging_copied": list, "staging_linked": list,
    "tests_run": (int, type(None)),
}  # fmt: skip
# What earlier releasers did not write.
_LATER: dict[str, object] = {"fingerprint": "", "overrides": [], "interpreter": None, "replaces": None, "link_mode": ""}


@dataclass(frozen=True, kw_only=True)
class Staged:
    """The staging tree that a release was tested in."""

    #: The commit that was checked out there, and the first line of its message.
    commit: str
    subject: str
    #: What the checkout has and git does not track, relative to the top: copied into the tree, or linked there.
    copied: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The facts about a release, written once, when it is sealed.

    `sequence` orders releases, whatever the clock did. `tests` is `passed`, `failed`, `refused`
    (they passed, but migrations of this release were not applied) or `not run` (an adopted venv).
    `dependencies_key` identifies the dependencies in pyproject.toml, `code_key` the committed code without the lock.
    An adopted one has a `previous` only if somebody put it in the place of that one.
    `fingerprint` is the digest of what its files were (empty: an earlier releaser sealed it, which noted nothing).
    `overrides` are the packages from elsewhere that it was built to try; such a one never goes live.
    `interpreter` is the one under it (None: it could not be asked, or an earlier releaser sealed it, which did not).
    `replaces` is the release whose lock was rebuilt in this one, which stands in its place among the earlier ones
    and has its number; None for all others. `link_mode` is how its files came out of uv's cache (empty: not known).
    `tests_run` is how many tests there were (None: nobody can tell).
    """

    id: str
    sequence: int
    created_at: datetime
    origin: Origin
    python: str
    group: str | None
    lock_sha256: str
    dependencies_key: str
    code_key: str
    commit: str | None
    previous: str | None
    tests: Tests
    changes: tuple[Change, ...]
    size_bytes: int
    fingerprint: str = ""
    overrides: tuple[str, ...] = ()
    interpreter: Interpreter | None = None
    replaces: str | None = None
    link_mode: str = ""
    #: The first line of the message of `commit`.
    subject: str = ""
    #: What the staging tree had besides the commit, relative to the top of the checkout.
    staging_copied: tuple[str, ...] = ()
    staging_linked: tuple[str, ...] = ()
    tests_run: int | None = None

    @property
    def never_live(self) -> bool:
        """Whether no run makes this release live, whatever anybody asks for."""
        return self.tests in NEVER_LIVE or self.origin == "override"

    @property
    def brought(self) -> dict[str, str]:
        """The versions that came in with this release, by package."""
        return LockDiff(changes=self.changes).brought

    def as_json(self) -> dict[str, Any]:
        """Return what `manifest.json` holds."""
        return {**asdict(self), "created_at": self.created_at.astimezone(UTC).isoformat()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Manifest:
        """Read what `as_json` wrote; KeyError, TypeError or ValueError when it is something else."""
        check_types({**_LATER, **content}, _KINDS)
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        known["created_at"] = datetime.fromisoformat(content["created_at"])
        known["changes"] = tuple(Change.from_json(change) for change in content["changes"])
        for name in ("overrides", "staging_copied", "staging_linked"):
            known[name] = tuple(map(str, content.get(name, ())))
        if (said := content.get("interpreter")) is not None:
            known["interpreter"] = Interpreter.from_json(said)
        return cls(**known)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A complete release in its directory, with what the ledger says about it."""

    directory: Path
    manifest: Manifest
    state: State
    pinned: bool

    @property
    def id(self) -> str:
        """The UTC time it was begun."""
        return self.manifest.id

    @property
    def live(self) -> bool:
        """Whether `.venv` leads to it."""
        return self.state == "live"

    @property
    def venv(self) -> Path:
        """The environment itself."""
        return self.directory / "venv"

    @property
    def lock(self) -> Path:
        """The lock it was built from."""
        return self.directory / "uv.lock"

    @property
    def pyproject(self) -> Path:
        """The pyproject.toml that came along with the first lock of the project; no other release has one."""
        return self.directory / "pyproject.toml"

    @property
    def test_output(self) -> str:
        """The capped end of what its tests printed; empty when there is none."""
        try:
            return (self.directory / OUTPUT).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def works(self) -> bool:
        """Whether its interpreter is still there; `soundness` tells more."""
        return os.path.exists(self.venv / "bin" / "python")  # False, where Path.exists would raise PermissionError


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Complete a release: its directory is rubbish until the manifest has been renamed in."""
    write_json(directory / MANIFEST, manifest.as_json())


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest; None for a directory without one. Raises UnreadableStateError for a damaged one."""
    content = read_json(directory / MANIFEST)
    if content is None:
        return None
    try:
        return Manifest.from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableStateError(directory / MANIFEST, f"not a manifest ({error!r})") from error


def new_id(now: datetime, taken: frozenset[str]) -> str:
    """Name a release by the UTC time it is begun, with `-2`, `-3` … for more of them in one second."""
    base = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name
