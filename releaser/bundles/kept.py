"""The files of bundles that releases were installed from: a delta leaves out what the host has of its base."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from releaser.bundles.bundle import BUILT, LOCK, REQUIREMENTS, WHEELS, Manifest
from releaser.releases.release import Release
from releaser.releases.store import Store
from releaser.site.paths import Paths
from releaser.system.files import BrokenFileError, make_private_directory, read_json, remove_path, write_json

RECORD = "bundle.json"  # in a release: the manifest of its bundle


def is_kept(name: str) -> bool:
    """Return True for a member that a release is installed from, and that a delta may leave out."""
    return name in (LOCK, REQUIREMENTS) or name.startswith((WHEELS, BUILT))


def find_kept(store: Store, digest: str) -> Path | None:
    """Return the file with this SHA-256 that a kept release was installed from, or its lock; None without one."""
    path = store.paths.bundled / digest
    if path.is_file() and not path.is_symlink():
        return path
    return next((each.lock for each in store.releases if each.manifest.key.lock_sha256 == digest), None)


def keep_files(paths: Paths, manifest: Manifest, unpacked: Path, release: Path) -> None:
    """Keep what a release is installed from, by moving the unpacked files. Raises OSError."""
    make_private_directory(paths.bundled)
    for name, member in manifest.members.items():
        if is_kept(name) and (unpacked / name).exists():
            os.replace(unpacked / name, paths.bundled / member.sha256)
    write_json(release / RECORD, manifest)


def read_record(release: Release | None) -> Manifest | None:
    """Return the manifest of the bundle that a release was installed from; None if it was not, or is not known."""
    with contextlib.suppress(BrokenFileError):
        return read_json(release.directory / RECORD, Manifest) if release is not None else None
    return None


def prune_files(paths: Paths) -> None:
    """Delete the files that no release on disk was installed from. Raises OSError."""
    names = os.listdir(paths.bundled) if paths.bundled.is_dir() else []
    if not names:
        return
    try:
        records = [read_json(path, Manifest) for path in paths.releases.glob(f"*/{RECORD}")]
    except BrokenFileError:  # it is not known what is needed
        return
    needed = {member.sha256 for record in records if record is not None for member in record.members.values()}
    for name in needed.symmetric_difference(names) & {*names}:
        remove_path(paths.bundled / name)
