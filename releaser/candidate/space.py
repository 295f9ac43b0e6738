"""Whether there is room for what a run is going to write: a release, the staging tree, and what uv's cache gains."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ToolError
from releaser.locks.installed import fits, list_installed, tags_of
from releaser.site.conventions import default_groups
from releaser.site.space import Need, find_lacks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.tags import Tag

    from releaser.locks.installed import Pin
    from releaser.locks.lock import LockFile
    from releaser.releases.release import Release
    from releaser.resolution.resolve import Resolution
    from releaser.run import Workspace
    from releaser.site.site import Site


LEAST_BYTES = 50_000_000  # for a release, also if its size is not known yet
LEAST_INODES = 5_000
_GROWTH = 1.1  # of a release against the one before
_UNPACKED = 4  # times the size of a wheel, at the most as a rule
_FILE_BYTES = 8_000  # of a file in a wheel, as a rule more
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
    release = release_need(site)
    if live is not None:
        size, inodes = live.manifest.size_bytes, live.manifest.inodes
        release = release_need(site, size_bytes=int(_GROWTH * size), inodes=int(_GROWTH * inodes))
    try:
        entries, lock = len(os.listdir(project.root)), project.lock.stat().st_size
    except OSError:  # which other checks report
        entries = lock = 0
    tree = Need(what="the staging tree", place=project.outer, bytes=_LOCKS * lock, inodes=entries + _LOCKS)
    return release, tree


def check_space(work: Workspace, resolution: Resolution) -> None:
    """See that what was resolved fits, what has to be downloaded included. Raises PreflightError."""
    site, facts, live = work.site, work.facts, work.live
    try:
        cache = Path(facts.uv.run(["cache", "dir"]).strip())
    except ToolError:  # which the build reports
        return
    python = facts.choice.version
    pins = list_installed(resolution.lock, group=facts.group, default_groups=default_groups(site), python=python)
    downloads = download_sizes(resolution.lock, pins, tags_of(python))
    sizes = {name: _UNPACKED * size for name, size in downloads.items()}
    # If nothing is in uv's cache, all packages have to be downloaded again.
    new = sizes if not any(cache.glob("archive-*")) else [one.name for one in resolution.diff if one.new]
    added = sizes if live is None else [one.name for one in resolution.diff if not one.old]
    cached = sum(sizes.get(name, 0) for name in new)
    release, *others = update_needs(site, live)
    release = replace(release, bytes=release.bytes + sum(sizes.get(name, 0) for name in added))
    gained = Need(what="uv's cache", place=cache, bytes=cached, inodes=cached // _FILE_BYTES, remedy="`uv cache prune`")
    if lacks := tuple(find_lacks((release, *others, gained))):
        raise PreflightError(*lacks)


def download_sizes(lock: LockFile, pins: Iterable[Pin], tags: frozenset[Tag]) -> dict[str, int]:
    """Return how many bytes there are to download at the most of each of `pins`, by name; 0 where the lock names none.

    Of the wheels, those count that have one of `tags`; without any tags, those for this system do.
    """
    wanted = {(pin.name, pin.version) for pin in pins}
    found: dict[str, int] = {}
    for package in lock.packages:
        name = package["name"]
        if (name, package.get("version")) in wanted:
            files = [one for one in package.get("wheels", ()) if fits(one, tags)] or [package.get("sdist", {})]
            sizes = (size for one in files if isinstance(size := one.get("size"), int))
            found[name] = max(found.get(name, 0), *sizes, 0)
    return found
