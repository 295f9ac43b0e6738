"""A bundle on a host: whether it fits its Python and platform, and the files that are there of earlier bundles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from releaser.bundles.bundle import BUILT, LOCK, REQUIREMENTS, WHEELS, Manifest
from releaser.errors import Problem
from releaser.packages.lock import Lock
from releaser.releases.release import Release
from releaser.releases.store import Store
from releaser.site.paths import Paths
from releaser.system.files import BrokenFileError, make_private_directory, read_json, remove_path, write_json

RECORD = "bundle.json"  # in a release: the manifest of its bundle
Tags = tuple[str, str, str]


def name_minor(version: str) -> str:
    """Return the minor version of a Python, such as `3.12`."""
    return ".".join(version.split(".")[:2])


def find_misfit(manifest: Manifest, python: str, tags: Tags) -> list[Problem]:
    """Return a problem that names both sides if a bundle is for another Python or platform than that of a host.

    The patch version of Python may differ, and a newer C library of the same kind fits. An older one does if it has
    every symbol that a wheel asks for by its tags: wheels that were built for one machine alone ask for its own.
    """
    theirs, ours = (_describe(*side) for side in ((manifest.python, manifest.tags), (python, tags)))
    (kind, _, version), (own_kind, _, own_version) = (each[2].partition("-") for each in (manifest.tags, tags))
    is_same = name_minor(manifest.python) == name_minor(python) and manifest.tags[:2] == tags[:2] and kind == own_kind
    advice = "Make a bundle on a host like this one, or install that Python here."
    if not is_same:
        return [Problem("other-platform", f"The bundle is for {theirs}; this host has {ours}.", advice)]
    is_older = _read_version(own_version) < _read_version(version)
    unfit = [name for name, asks in list_wheels(manifest) if is_older and not asks & _list_tags(python)]
    message = f"The bundle is for {theirs}; this host has {ours}, which is too old for {', '.join(unfit[:3])}."
    return [Problem("other-platform", message, advice)] if unfit else []


def _describe(python: str, tags: Tags) -> str:
    return f"CPython {python} on {tags[1]} with {tags[2]}"


def _read_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


def _list_tags(python: str) -> frozenset[Tag]:
    """Return the tags of wheels that any host like this one takes; without those that are for one machine alone."""
    numbers = _read_version(name_minor(python))
    tags = {*cpython_tags(numbers), *compatible_tags(numbers, interpreter=f"cp{numbers[0]}{numbers[1]}")}
    return frozenset(tag for tag in tags if not tag.platform.startswith("linux_"))


def list_wheels(manifest: Manifest) -> Iterable[tuple[str, frozenset[Tag]]]:
    """Yield the name of each wheel of a bundle, with its tags."""
    for name in manifest.members:
        if name.startswith(WHEELS):
            try:
                yield name, parse_wheel_filename(name.removeprefix(WHEELS))[3]
            except InvalidWheelFilename:
                yield name, frozenset()


def name_package(wheel: str) -> tuple[str, str]:
    """Return the normalized name and the version of a wheel, by the name of its file."""
    name, version, *_ = wheel.removeprefix(WHEELS).split("-")
    return canonicalize_name(name), version


def find_changed(manifest: Manifest, lock: Lock, before: Manifest | None, lock_before: Lock | None) -> frozenset[str]:
    """Return the packages whose wheel may be another one than that which the live release has in the same version.

    `before` is the bundle of the live release. Without one, its lock tells: a package of no index, or other hashes.
    """
    if before is not None:
        known = {member.sha256 for member in before.members.values()}
        wheels = ((name, member) for name, member in manifest.members.items() if name.startswith(WHEELS))
        return frozenset(name_package(name)[0] for name, member in wheels if member.sha256 not in known)
    same = {
        package.name
        for package in lock.packages
        for entry in (lock_before.find(package.name) if lock_before is not None else ())
        if package.source.kind == entry.source.kind == "registry"
        and (package.hashes & entry.hashes or not package.hashes | entry.hashes)
    }
    return frozenset(package.name for package in lock.packages) - same


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
