"""How much room an update takes: a new release, the scratch tree, and what uv's cache gains."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, ToolError
from releaser.locking.builds import tags_of
from releaser.locking.downloads import download_sizes
from releaser.locking.installed import installed
from releaser.locking.lockfile import InvalidLockError
from releaser.project import room
from releaser.releases.disk_use import read_disk_use
from releaser.steps.security import default_groups

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from releaser.locking.lockfile import LockFile
    from releaser.project.preflight import Fitness
    from releaser.project.room import Need
    from releaser.project.site import Site
    from releaser.releases.disk_use import Noted
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.run import Run
    from releaser.steps.resolve import Resolution

_GROWTH = 1.1  # of a release against the one before
_CAUTION = 1.5  # what differs is another thing each time
_RECENT = 5  # releases from which that is known
_UNPACKED = 4  # times the size of a wheel, at the most as a rule
_INODE_BYTES = 1_000  # that an inode and its name take where the file system makes them as they are needed
_FILE_BYTES = 8_000  # of a file in a wheel, as a rule more
_LOCKS = 4  # copies of uv.lock that a run makes, at the most


def needs(site: Site, store: ReleaseStore, live: Release | None) -> tuple[Need, ...]:
    """Return what an update needs, as far as that is known before its packages are."""
    return (_release(site, store, live), _scratch(site))


def look_for_room(run: Run, fitness: Fitness, resolution: Resolution, live: Release | None) -> None:
    """See that what was resolved fits, what has to be downloaded included. Raises PreflightError."""
    site = run.site
    try:
        cache = fitness.uv.cache_directory()
        sizes = _sizes(site, fitness, resolution.lock)
    except (ToolError, InvalidLockError):  # the build will tell
        return
    new = sizes if _is_empty(cache) else [one.name for one in resolution.diff if one.new]
    added = sizes if live is None else [one.name for one in resolution.diff if not one.old]
    release, *others = needs(site, run.store, live)
    release = replace(release, bytes=release.bytes + sum(sizes.get(name, 0) for name in added))
    found = tuple(room.findings((release, *others, _cached(cache, sum(sizes.get(name, 0) for name in new)))))
    if found:
        raise PreflightError(found)


def _sizes(site: Site, fitness: Fitness, lock: LockFile) -> dict[str, int]:
    """Return what each package that is installed here takes, unpacked, by its name.

    Raises ToolError or InvalidLockError.
    """
    python = fitness.uv.python_version(fitness.python)
    pins = installed(lock, group=fitness.group, default_groups=default_groups(site), python=python)
    return {name: _UNPACKED * size for name, size in download_sizes(lock, pins, tags_of(python)).items()}


def _release(site: Site, store: ReleaseStore, live: Release | None) -> Need:
    if live is None:
        return room.for_release(site.project.state_dir)
    noted = read_disk_use(store.state_dir)
    inodes = int(_GROWTH * noted[live.id].inodes) if live.id in noted else 0
    whole = int(_GROWTH * live.manifest.size_bytes)
    differs = whole
    if site.settings.link_mode != "copy" and any(one.shared_bytes for one in noted.values()):
        recent = _recent(store, noted)
        if recent and recent[0].shared_bytes:
            differs = int(_CAUTION * max(one.peak_bytes for one in recent)) + inodes * _INODE_BYTES
    return room.for_release(
        site.project.state_dir, needed_bytes=min(whole, differs), needed_inodes=inodes, shares=differs < whole
    )


def _recent(store: ReleaseStore, noted: Mapping[str, Noted]) -> tuple[Noted, ...]:
    """Return what was noted of the releases that were built last, the newest first."""
    built = (noted[one.id] for one in store.all() if one.manifest.origin != "adopted" and one.id in noted)
    return tuple(itertools.islice(built, _RECENT))


def _scratch(site: Site) -> Need:
    """Return what the stand-in for the checkout needs: symlinks, and locks."""
    project = site.project
    try:
        entries, lock = len(os.listdir(project.root)), project.lock.stat().st_size
    except OSError:  # which others tell
        entries = lock = 0
    return room.Need(
        what="the scratch tree", place=project.outer, bytes=_LOCKS * lock, inodes=entries + _LOCKS, remedy=""
    )


def _cached(cache: Path, size: int) -> Need:
    remedy = "`uv cache prune`"
    return room.Need(what="uv's cache", place=cache, bytes=size, inodes=size // _FILE_BYTES, remedy=remedy)


def _is_empty(cache: Path) -> bool:
    """Whether nothing is in uv's cache, so that all packages have to be downloaded again."""
    try:
        return not any(name.startswith("archive-") for name in os.listdir(cache))
    except OSError:
        return True
