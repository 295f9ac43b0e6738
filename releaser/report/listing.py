"""The list of releases, with what each takes on the disk, and that of packages that are outdated."""

from __future__ import annotations

import msgspec

from releaser.packages.blocked import Blocked
from releaser.releases.lease import is_used, list_users
from releaser.releases.release import PackageChange, Release
from releaser.releases.store import Store
from releaser.report.history import read_history
from releaser.report.status import ReleaseRow
from releaser.site.site import Site
from releaser.system.files import measure


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
