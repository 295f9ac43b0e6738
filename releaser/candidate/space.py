"""Whether there is room for what a run is going to write: a release, the staging tree, and what uv's cache gains."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.releases.store import store_of
from releaser.site.space import Need, find_lacks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.releases.release import Release
    from releaser.site.site import Site


LEAST_BYTES = 50_000_000  # for a release, also if its size is not known yet
LEAST_INODES = 5_000
_GROWTH = 1.1  # of a release against the one before
_LOCKS = 4  # copies of uv.lock that a run makes, at the most


def release_need(site: Site, *, size_bytes: int = 0, inodes: int = 0) -> Need:
    """Return what another release needs that takes so much."""
    return Need(
        what="another release",
        place=site.state_dir,
        bytes=max(size_bytes, LEAST_BYTES),
        inodes=max(inodes, LEAST_INODES),
        remedy="prune: `releaser prune`; lower `keep`",
    )


def update_needs(site: Site, live: Release | None) -> tuple[Need, ...]:
    """Return what an update needs, as far as that is known before its packages are: a release like the live one."""
    project = site.project
    size, inodes = (live.manifest.size_bytes, live.manifest.inodes) if live is not None else (0, 0)
    release = release_need(site, size_bytes=int(_GROWTH * size), inodes=int(_GROWTH * inodes))
    try:
        entries, lock = len(os.listdir(project.root)), project.lock.stat().st_size
    except OSError:  # which other checks report
        entries = lock = 0
    tree = Need(what="the staging tree", place=project.outer, bytes=_LOCKS * lock, inodes=entries + _LOCKS)
    return release, tree


def space_findings(site: Site) -> Iterator[Finding]:
    """Say where the room is missing that an update needs."""
    return find_lacks(update_needs(site, store_of(site).live()))
