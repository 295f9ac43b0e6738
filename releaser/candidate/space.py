"""The free space that an update needs, for a release and the staging tree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.releases.contents import DiskUsage
from releaser.releases.store import store_of
from releaser.site.space import Need, find_lacks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.releases.release import Release
    from releaser.site.site import Site


LEAST_BYTES = 50_000_000  # for a release, also if its size is not known yet
LEAST_INODES = 5_000
_GROWTH = 1.1  # factor from the size of the live release to the size of the next
_LOCKS = 4  # copies of uv.lock that a run makes, at most


def release_need(site: Site, *, size_bytes: int = 0, inodes: int = 0) -> Need:
    """Return the space that another release of this size needs, but at least the minimum."""
    return Need(
        what="another release",
        place=site.state_dir,
        bytes=max(size_bytes, LEAST_BYTES),
        inodes=max(inodes, LEAST_INODES),
        remedy="prune: `releaser prune`; lower `keep` and `keep_within`",
    )


def update_needs(site: Site, live: Release | None) -> tuple[Need, ...]:
    """Return the space that an update needs, estimated from the live release before the packages are known.

    Files that releases share count, too: while code of the candidate may run, they are copies.
    """
    project = site.project
    used = DiskUsage.of(live and live.manifest)
    release = release_need(site, size_bytes=int(_GROWTH * used.size_bytes), inodes=int(_GROWTH * used.inodes))
    try:
        entries, lock = len(os.listdir(project.root)), project.lock.stat().st_size
    except OSError:  # other checks report it
        entries = lock = 0
    tree = Need(what="the staging tree", place=project.outer, bytes=_LOCKS * lock, inodes=entries + _LOCKS)
    return release, tree


def space_findings(site: Site) -> Iterator[Finding]:
    """Yield a finding for each place without enough space for an update."""
    return find_lacks(update_needs(site, store_of(site).live()))
