"""The list of releases, with what each takes on the disk."""

from __future__ import annotations

import contextlib

from releaser.checkout.repository import open_repository
from releaser.errors import ToolError
from releaser.releases.lease import is_used, list_users
from releaser.releases.release import Manifest, Release
from releaser.releases.store import Store
from releaser.report.status import ReleaseRow
from releaser.site.site import Site
from releaser.system.files import measure


def list_releases(site: Site) -> list[ReleaseRow]:
    """Return the releases, newest first. `own_bytes` is what deleting a release would free."""
    store = Store(site.paths)
    return [_describe(site, store, release) for release in store.releases]


def _describe(site: Site, store: Store, release: Release) -> ReleaseRow:
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
        subject=_name_commit(site, manifest) if not manifest.changes else "",
    )


def _name_commit(site: Site, manifest: Manifest) -> str:
    """Return the subject of the commit of a release; empty if the repository does not have it any more."""
    with contextlib.suppress(ToolError):
        return open_repository(site).find_subject(manifest.commit)
    return ""
