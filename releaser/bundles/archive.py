"""Writes and reads the file of a bundle: a ZIP archive in one exact form, which the reader enforces.

Python starts such a file by its `__main__.py`. Entries are stored uncompressed: wheels are compressed already, and no
entry can unpack to more than the size of the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from releaser.bundles.manifest import (
    CODE,
    LARGEST_MANIFEST,
    MANIFEST,
    SIGNATURE,
    WHEELS,
    is_path,
    parse_manifest,
)
from releaser.errors import os_reason, refuse
from releaser.system.files import hash_of_file, only_files, sync_directory
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from releaser.bundles.manifest import BundledFile, BundleManifest
    from releaser.locks.lock import Package

_MODE, _UNIX = stat.S_IFREG | 0o644, 3  # the number of the system in the format
_TIME, _VERSION = (1980, 1, 1, 0, 0, 0), (zipfile.DEFAULT_VERSION, zipfile.DEFAULT_VERSION, 0, 0, 0)
_LOCAL, _CENTRAL, _END = 30, 46, 22  # bytes of the headers of each entry, without its name, and of the end
_LOCATOR = 20
_LARGEST = zipfile.ZIP64_LIMIT // 21 * 20  # bytes: above 2 GB, less a reserve of zipfile, archives have another format
_LARGEST_SIGNATURE = 64 << 10  # bytes
_MOST_ENTRIES = 20_002  # the files in a manifest, the manifest and its signature
_LONGEST_NAME = 255
_CHUNK = 1 << 20
_DAMAGED = (zipfile.BadZipFile, EOFError, KeyError)  # also for a file that changes while it is read
_AGAIN = "Copy the bundle again from the host that created it."
_ELSEWHERE = ("registry", "url", "path", "git")  # sources in a uv.lock of packages that are not the project's own


def write_archive(place: Path, manifest: BundleManifest, signature: bytes | None, files: Mapping[str, Path]) -> None:
    """Write a bundle with the files of the manifest; `files` has their places. The same files give the same bytes.

    Raises OSError, and PreflightError if a file does not match the manifest.
    """
    size = sum(
        bundled.size + _LOCAL + _CENTRAL + 2 * len(bundled.path) for bundled in manifest.files if not bundled.in_base
    )
    if size > _LARGEST - LARGEST_MANIFEST - _LARGEST_SIGNATURE:
        refuse(
            "bundle-too-large",
            f"the bundle would be {size} bytes, more than 2 GB",
            "Remove files from `bundle_include`.",
        )
    with open(place, "xb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        archive.writestr(_entry(MANIFEST), manifest.data)
        if signature is not None:
            archive.writestr(_entry(SIGNATURE), signature)
        for file in manifest.files:
            if file.in_base:
                continue
            entry = _entry(file.path)
            entry.file_size = file.size  # in the header, which comes first
            with open(files[file.path], "rb", opener=only_files) as source, archive.open(entry, "w") as target:
                if _copy(source, target) != (file.sha256, file.size):
                    refuse(
                        "bundle-changed",
                        f"{files[file.path]} changed while releaser wrote the bundle",
                        "Create the bundle again.",
                    )
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_TIME)
    entry.create_system, entry.external_attr = _UNIX, _MODE << 16
    return entry


def _copy(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += target.write(chunk)
    return digest.hexdigest(), size


class BundleArchive(Frozen):
    """A well-formed bundle, not verified yet."""

    place: Path
    archive: zipfile.ZipFile
    #: The bytes of the manifest, and its signature; None without one.
    data: bytes
    signature: bytes | None

    def manifest(self) -> BundleManifest:
        """Read the manifest, and check that it lists exactly the files here. Raises PreflightError."""
        found = parse_manifest(self.data)
        sizes = {entry.filename: entry.file_size for entry in self.archive.infolist()}
        named = {file.path: file.size for file in found.files if not file.in_base}
        if extra := sorted(sizes.keys() - named.keys() - {MANIFEST, SIGNATURE}):
            refuse("bundle-damaged", f"{self.place} has {extra[0]}, which its manifest does not list", _AGAIN)
        for path, size in named.items():
            if path not in sizes:
                refuse("bundle-damaged", f"{self.place} lacks {path}, which its manifest lists", _AGAIN)
            if sizes[path] != size:
                refuse(
                    "bundle-damaged",
                    f"{path} in {self.place} is {sizes[path]} bytes, but {size} by its manifest",
                    _AGAIN,
                )
        return found

    def verify(self, manifest: BundleManifest) -> None:
        """Check each file against its hash in the manifest, and the code against its commit. Raises PreflightError."""
        with open(os.devnull, "wb") as nowhere:
            for file in manifest.files:
                if not file.in_base:
                    self._take(file, nowhere)
        if manifest.find(CODE) is not None:
            with self.archive.open(CODE) as stream:
                if manifest.commit.encode() not in stream.read(_CHUNK).partition(b"\n\n")[0]:
                    refuse(
                        "bundle-damaged",
                        f"the code in {self.place} is not that of commit {manifest.commit[:12]}",
                        _AGAIN,
                    )

    def extract(self, file: BundledFile, target: Path) -> None:
        """Write a file of the bundle to `target`, which must not exist. Raises PreflightError and OSError."""
        with open(target, "xb") as stream:
            self._take(file, stream)
            stream.flush()
            os.fsync(stream.fileno())
        sync_directory(target.parent)

    def read(self, file: BundledFile) -> bytes:
        """Return a small file of the bundle. Raises PreflightError."""
        found = io.BytesIO()
        self._take(file, found)
        return found.getvalue()

    def _take(self, file: BundledFile, target: IO[bytes]) -> None:
        try:
            with self.archive.open(file.path) as source:
                found = _copy(source, target)
        except _DAMAGED as error:
            refuse("bundle-damaged", f"{file.path} in {self.place} is damaged: {error}", _AGAIN)
        if found != (file.sha256, file.size):
            refuse("bundle-damaged", f"{file.path} in {self.place} does not match its manifest", _AGAIN)


@contextmanager
def open_archive(place: Path) -> Iterator[BundleArchive]:
    """Open a well-formed bundle. Raises PreflightError."""
    try:
        stream = open(place, "rb", opener=only_files)  # noqa: SIM115 - closed below
    except OSError as error:
        refuse(
            "bundle-unreadable",
            f"{place} cannot be read: {os_reason(error)}",
            "Name a file that `bundle create` wrote.",
        )
    with stream:
        try:
            _refuse_other_end(stream, place)
            archive = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeDecodeError) as error:
            refuse("not-a-bundle", f"{place} is not a bundle: {error}", _AGAIN)
        with archive:
            try:
                for flaw in _flaws(archive, stream):
                    refuse("not-a-bundle", f"{place} is not a bundle: {flaw}", _AGAIN)
                data = archive.read(MANIFEST)
                signature = archive.read(SIGNATURE) if SIGNATURE in archive.NameToInfo else None
            except _DAMAGED as error:
                refuse("bundle-damaged", f"{place} is damaged: {error}", _AGAIN)
            yield BundleArchive(place=place, archive=archive, data=data, signature=signature)


def _refuse_other_end(stream: IO[bytes], place: Path) -> None:
    """Check that the list of entries is not too long, before zipfile reads all of it.

    Raises PreflightError and OSError.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _LOCATOR - _END))
    locator, end = stream.read(_LOCATOR), stream.read(_END)
    if len(end) == _END and not locator.startswith(b"PK\6\7"):  # which points to a list in another format (ZIP64)
        kind, first, disk, here, entries, length, offset, comment = struct.unpack("<4s4H2LH", end)
        is_plain = kind == b"PK\5\6" and (first, disk, comment, here) == (0, 0, 0, entries) and entries <= _MOST_ENTRIES
        if is_plain and length <= entries * (_CENTRAL + _LONGEST_NAME) and size == offset + length + _END <= _LARGEST:
            return
    refuse("not-a-bundle", f"{place} is not a bundle: its end is missing", _AGAIN)


def _flaws(archive: zipfile.ZipFile, stream: IO[bytes]) -> Iterator[str]:
    """Yield the differences from the archive that `write_archive` would write with these entries."""
    entries = archive.infolist()
    if not entries or entries[0].filename != MANIFEST:
        yield f"it does not start with {MANIFEST}"
        return
    for one, limit in zip(entries[:2], (LARGEST_MANIFEST, _LARGEST_SIGNATURE), strict=False):
        if one.filename in (MANIFEST, SIGNATURE) and one.file_size > limit:
            yield f"its {one.filename} is {one.file_size} bytes, more than {limit}"
    offset, seen = 0, set[str]()
    for one in entries:
        name = one.filename
        if name in seen or (name == SIGNATURE and one is not entries[1]):
            yield f"{name} is in it twice, or in the wrong place"
        seen.add(name)
        yield from _flaws_of(one)
        stream.seek(offset)
        if one.header_offset != offset or stream.read(_LOCAL + len(name)) != one.FileHeader():
            yield f"{name} is in the wrong place, or its header differs from the list of entries"
        offset += _LOCAL + len(name) + one.file_size
    if stream.seek(0, os.SEEK_END) != offset + sum(_CENTRAL + len(entry.filename) for entry in entries) + _END:
        yield "it has data outside its entries"


def _flaws_of(entry: zipfile.ZipInfo) -> Iterator[str]:
    name = entry.filename
    if entry.orig_filename != name or not is_path(name):
        yield f"{entry.orig_filename!r} is not a valid path in a bundle"
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        yield f"{name} is compressed"
    if entry.external_attr != _MODE << 16 or entry.create_system != _UNIX:
        yield f"{name} is not a regular file"
    version = (entry.create_version, entry.extract_version, entry.reserved, entry.volume, entry.internal_attr)
    if entry.flag_bits or entry.extra or entry.comment or entry.date_time != _TIME or version != _VERSION:
        yield f"{name} is encrypted, or has fields that no bundle has"


def offline_lock(lock: bytes, *, wheels: Path, manifest: BundleManifest) -> bytes:
    """Return a lock of the same versions, each from a wheel of the bundle in `wheels`, with its hash.

    uv installs from it as from any other lock. Use it only for an installation.
    """
    from packaging.utils import parse_wheel_filename

    from releaser.bundles.wheels import pin_of

    known: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for file in manifest.below(WHEELS):
        name, version, *_ = parse_wheel_filename(file.path.removeprefix(WHEELS))
        entry = {"path": file.path.removeprefix(WHEELS), "hash": f"sha256:{file.sha256}", "size": file.size}
        known.setdefault((name, str(version)), []).append(entry)
    here = {"registry": str(wheels)}
    return _with_sources(
        lock,
        lambda entry: here if any(kind in entry.get("source", {}) for kind in _ELSEWHERE) else None,
        lambda package: known.get(pin_of(package), []),
    )


def lock_with_built(lock: bytes, wheels: Mapping[str, Path]) -> bytes:
    """Return a lock whose packages with these names come from these wheels, wherever they were built."""

    def source_of(entry: Mapping[str, Any]) -> dict[str, str] | None:
        return {"registry": WHEELS.rstrip("/")} if entry["name"] in wheels else None  # as a directory of wheels

    def wheels_of(package: Package) -> list[dict[str, Any]]:
        place = wheels[package["name"]]
        return [{"path": place.name, "hash": f"sha256:{hash_of_file(place)}"}]

    return _with_sources(lock, source_of, wheels_of)


def _with_sources(
    lock: bytes,
    source_of: Callable[[Mapping[str, Any]], dict[str, str] | None],
    wheels_of: Callable[[Package], list[dict[str, Any]]],
) -> bytes:
    """Return a lock with other sources for some packages, wherever it names them, and with other wheels."""
    import tomli
    import tomlkit

    content = tomli.loads(lock.decode())
    for package in content.get("package", ()):
        if (source := source_of(package)) is not None:
            package["source"] = source
            package.pop("sdist", None)
            package["wheels"] = wheels_of(package)
        for needed in _needed(package):
            if "source" in needed and (source := source_of(needed)) is not None:
                needed["source"] = source
    return tomlkit.dumps(json.loads(json.dumps(content, default=str))).encode()


def _needed(package: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = (package.get("optional-dependencies", {}), package.get("dev-dependencies", {}))
    return [*package.get("dependencies", ()), *(one for kind in kinds for found in kind.values() for one in found)]
