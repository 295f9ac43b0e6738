"""A release: one venv, its lock, its manifest and its state, in one directory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from releaser.releases.sealed import Sealed
from releaser.system.files import is_temporary
from releaser.system.run import Moment

EXPORT = "requirements.txt"  # what `requirements_export` puts into the checkout
BUILT = "built"  # the products of a release, by their paths in the checkout
#: Ids are compared by `order_of_id`, as `-9` comes before `-10`.
ID = re.compile(r"\d{8}T\d{6}Z(-\d+)?", re.ASCII)

#: A ready release that another one has overtaken is `outdated`; it did not fail.
StateName = Literal["ready", "good", "failed", "outdated", "rolled-back"]
#: Why a failure of tests is no verdict on the whole: they were killed for the first time, or fail now and then, or its
#: culprits are on hold, so that a person frees it with them.
NoVerdict = Literal["", "killed", "flaky", "unfinished", "held"]


def order_of_id(release: str) -> tuple[str, int]:
    """Return what orders ids by age."""
    stamp, _, number = release.partition("-")
    return stamp, int(number or 1)


class PackageChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A package that differs between two releases; a version from git has its commit: `1.0 (3f2a9c1)`."""

    name: str
    old: str | None
    new: str | None
    bump: Literal["major", "minor", "patch", "other", "added", "removed"]
    #: The known vulnerabilities of the earlier release that it fixes, by their CVE if they have one.
    fixes: tuple[str, ...] = ()


class Key(msgspec.Struct, frozen=True, rename={"code_key": "code"}):
    """The identity of a candidate: the code without its lock, the lock, the Python, and what is installed of it.

    `code_key` is a hash of all files of the commit but the lock and its export.
    `selection` are the group, extras and members, as arguments of uv; `recipe` is a hash of the settings by which a
    candidate is built and tested. `libraries` are the packages outside of the repository, with hashes of their content.
    """

    code_key: str
    lock_sha256: str
    python: str
    selection: str = ""
    recipe: str = ""
    libraries: tuple[tuple[str, str], ...] = ()

    def find_changed_libraries(self, before: Key) -> list[str]:
        """Return the packages outside of the repository whose content has changed; a new one changes the lock."""
        known = dict(before.libraries)
        return [name for name, content in self.libraries if known.get(name, content) != content]


class Manifest(msgspec.Struct, frozen=True, rename={"kind": "origin"}):
    """The facts about a release, written once, when testing ends. `commit` is the one that it was tested with."""

    id: str
    created_at: Moment
    kind: Literal["built", "adopted"]
    key: Key
    commit: str
    changes: tuple[PackageChange, ...] = ()
    #: The gate that the release failed; empty if it passed.
    failed_gate: str = ""
    #: Why the gate failed, in a line.
    failure: str = ""
    #: True if the live release failed its tests, too.
    was_failing: bool = False
    #: Why its failure is no verdict; empty if it is one.
    no_verdict: NoVerdict = ""
    #: The run that made it.
    run: str = ""
    #: The project's directory at that time.
    project: str = ""
    #: The migrations that the database lacked when it was built, or when it first failed for them.
    migrations: tuple[str, ...] = ()
    #: The packages from elsewhere with which it was tested: it never goes live.
    overrides: tuple[str, ...] = ()
    #: What it has; None in a release of an earlier version, which is compared with its RECORD files.
    sealed: Sealed | None = None


class State(msgspec.Struct, frozen=True):
    """The part of a release that changes: `order` numbers the releases as they went live, 0 before that."""

    state: StateName
    order: int = 0
    live_at: tuple[Moment, ...] = ()
    pinned: bool = False
    #: Who left a rolled back release: a person's `rollback`, or an `automatic` rollback.
    left_by: Literal["", "rollback", "automatic"] = ""
    #: HEAD of the checkout while the release was live, with its lock committed if it was.
    commit: str = ""
    #: True if its file was lost: the release may have failed, so nothing chooses it.
    is_lost: bool = False


class Release(msgspec.Struct, frozen=True):
    """A sealed release. `directory` holds venv, uv.lock, manifest.json, state.json and tests.log."""

    directory: Path
    manifest: Manifest
    state: State

    @property
    def id(self) -> str:
        """The UTC time at which it was begun."""
        return self.manifest.id

    @property
    def age_key(self) -> tuple[str, int]:
        """The key that sorts releases by age."""
        return order_of_id(self.id)

    @property
    def venv(self) -> Path:
        """The environment."""
        return self.directory / "venv"

    @property
    def lock(self) -> Path:
        """The lock it was built from."""
        return self.directory / "uv.lock"

    @property
    def tests_log(self) -> Path:
        """The output of its tests."""
        return self.directory / "tests.log"

    @property
    def may_return(self) -> bool:
        """True if a person may name it for a rollback: it was live, and no automatic rollback left it."""
        return self.state.state == "good" or self.state.left_by == "rollback"


def list_products(directory: Path | None) -> frozenset[Path]:
    """Return the paths of what the build of a release wrote beside the source, relative to the top of the checkout."""
    return frozenset(list_files(directory / BUILT)) if directory is not None else frozenset()


def list_files(directory: Path) -> Iterator[Path]:
    """Yield the relative paths of all files and links below a directory, but for those about to be renamed."""
    for place, directories, names in os.walk(directory):
        for name in (*names, *(name for name in directories if os.path.islink(os.path.join(place, name)))):
            if not is_temporary(name):
                yield Path(place, name).relative_to(directory)
