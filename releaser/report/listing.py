"""The list of releases, with what each takes on the disk; one in detail; and the packages that are outdated."""

from __future__ import annotations

from datetime import datetime

import msgspec

from releaser.packages.blocked import Blocked
from releaser.releases.lease import is_used, list_users
from releaser.releases.release import PackageChange, Release
from releaser.releases.store import Store
from releaser.report.history import read_history
from releaser.site.site import Site
from releaser.system.files import measure
from releaser.system.run import Step
from releaser.system.text import clip_end


class ReleaseRow(msgspec.Struct, frozen=True):
    """A release, as `releaser list --json` prints it."""

    id: str
    state: str
    live: bool
    pinned: bool
    created_at: datetime
    python: str
    lock_sha256: str
    changes: tuple[PackageChange, ...]
    size_bytes: int
    own_bytes: int
    in_use: bool
    in_use_by: tuple[int, ...]
    commit: str
    path: str
    #: The commits with which it went live, newest first, as `hash subject`.
    new_commits: tuple[str, ...] = ()


class OutdatedRow(msgspec.Struct, frozen=True):
    """A package of which the index has a newer version than the live one; `tonight` is None if it stays."""

    name: str
    live: str
    tonight: str | None
    newest: str
    blocked: tuple[Blocked, ...] = ()


class Outdated(msgspec.Struct, frozen=True):
    """The answer of `outdated`; `decision` is what the next update does, and `changes` are its packages."""

    headline: str
    decision: str
    changes: tuple[PackageChange, ...] = ()
    packages: tuple[OutdatedRow, ...] = ()


def list_releases(site: Site) -> list[ReleaseRow]:
    """Return the releases, newest first. `own_bytes` is what deleting a release would free."""
    store = Store(site.paths)
    commits = {record.release: record.new_commits for record in read_history(site.paths) if record.new_commits}
    return [_describe(store, release, commits.get(release.id, ())) for release in store.releases]


def _describe(store: Store, release: Release, commits: tuple[str, ...]) -> ReleaseRow:
    size, own = measure(release.directory), measure(release.directory, own=True)
    manifest = release.manifest
    return ReleaseRow(
        id=release.id,
        state=store.name_state(release),
        live=release is store.live,
        pinned=release.state.pinned,
        created_at=manifest.created_at,
        python=manifest.key.python,
        lock_sha256=manifest.key.lock_sha256,
        changes=manifest.changes,
        size_bytes=size,
        own_bytes=own,
        in_use=is_used(release.directory),
        in_use_by=list_users(release.directory),
        commit=manifest.commit,
        path=str(release.venv),
        new_commits=commits,
    )


class Details(msgspec.Struct, frozen=True):
    """A release, as `releaser show --json` prints it: how it was made, and the end of what its tests printed."""

    id: str
    state: str
    created_at: datetime
    live_at: tuple[datetime, ...]
    python: str
    commit: str
    path: str
    failure: str
    changes: tuple[PackageChange, ...]
    steps: tuple[Step, ...]
    tests_output: str

    @property
    def headline(self) -> str:
        """The release and its state, in a sentence."""
        return f"Release {self.id} is {self.state}."


def describe_release(site: Site, name: str) -> Details:
    """Return the details of the release that a person means. Raises NoSuchReleaseError."""
    store = Store(site.paths)
    release = store.find(name)
    manifest = release.manifest
    steps = next((record.steps for record in read_history(site.paths) if record.run == manifest.run), ())
    log = release.tests_log
    return Details(
        id=release.id,
        state=store.name_state(release),
        created_at=manifest.created_at,
        live_at=release.state.live_at,
        python=manifest.key.python,
        commit=manifest.commit,
        path=str(release.venv),
        failure=manifest.failure,
        changes=manifest.changes,
        steps=steps,
        tests_output=clip_end(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else "",
    )
