"""Bundles that somebody has tampered with: each is made from a good one, and says why it must be refused."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMESPACE = "releaser-bundle"


@dataclass(frozen=True, kw_only=True)
class Maker:
    """A good bundle, a key that the host trusts, and one that it does not."""

    good: Path
    key: Path
    other_key: Path
    scratch: Path

    def entries(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.good) as archive:
            return {one.filename: archive.read(one) for one in archive.infolist()}

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.entries()["manifest.json"])
        return found

    def sign(self, data: bytes, *, key: Path | None = None, namespace: str = NAMESPACE) -> bytes:
        words: list[str | Path] = ["ssh-keygen", "-q", "-Y", "sign", "-f", key or self.key, "-n", namespace]
        return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout

    def write(self, entries: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:
        """Write an archive as releaser does, but with these entries, each of which may be changed."""
        place = self.scratch / "tampered.bundle"
        place.unlink(missing_ok=True)
        with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
            for name, data in entries.items():
                entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                if change is not None:
                    change(entry)
                archive.writestr(entry, data)
        return place

    def resigned(self, change: Callable[[dict[str, Any]], object], entries: dict[str, bytes] | None = None) -> Path:
        """Change the manifest, and sign that with the key that the host trusts."""
        found = self.entries() if entries is None else entries
        manifest = json.loads(found["manifest.json"])
        change(manifest)
        data = json.dumps(manifest, indent=1).encode() + b"\n"
        return self.write({**found, "manifest.json": data, "manifest.json.sig": self.sign(data)})

    def with_bytes(self, change: Callable[[bytes], bytes]) -> Path:
        place = self.scratch / "tampered.bundle"
        place.write_bytes(change(self.good.read_bytes()))
        return place


def _wheel(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in manifest["files"] if one["path"].startswith("wheels/alpha"))
    return found


def _renamed(name: str) -> Callable[[Maker], Path]:
    """Give a file another path, in the manifest as well, which is signed."""

    def make(maker: Maker) -> Path:
        old = _wheel(maker.manifest())["path"]
        entries = {name if key == old else key: data for key, data in maker.entries().items()}

        def change(manifest: dict[str, Any]) -> None:
            _wheel(manifest)["path"] = name
            manifest["files"].sort(key=lambda one: one["path"])

        return maker.resigned(change, entries)

    return make


def _changed(**values: object) -> Callable[[Maker], Path]:
    return lambda maker: maker.resigned(lambda manifest: manifest.update(values))


def _of_wheel(**values: object) -> Callable[[Maker], Path]:
    return lambda maker: maker.resigned(lambda manifest: _wheel(manifest).update(values))


def _entry(**values: object) -> Callable[[Maker], Path]:
    """Change a field of the archive's own entry of a wheel."""

    def change(entry: zipfile.ZipInfo) -> None:
        if entry.filename.startswith("wheels/alpha"):
            for name, value in values.items():
                setattr(entry, name, value)

    return lambda maker: maker.write(maker.entries(), change)


def _edited_wheel(maker: Maker) -> Path:
    path = _wheel(maker.manifest())["path"]
    entries = maker.entries()
    return maker.write({**entries, path: entries[path][:-1] + b"!"})


def _edited_wheel_with_its_hash(maker: Maker) -> Path:
    entries, manifest = maker.entries(), maker.manifest()
    _wheel(manifest)["sha256"] = "0" * 64
    return maker.write({**entries, "manifest.json": json.dumps(manifest, indent=1).encode() + b"\n"})


def _signed_by(key: Callable[[Maker], Path], namespace: str = NAMESPACE) -> Callable[[Maker], Path]:
    def make(maker: Maker) -> Path:
        entries = maker.entries()
        signature = maker.sign(entries["manifest.json"], key=key(maker), namespace=namespace)
        return maker.write({**entries, "manifest.json.sig": signature})

    return make


def _twice(maker: Maker) -> Path:
    place = maker.write(maker.entries())
    entry = zipfile.ZipInfo(_wheel(maker.manifest())["path"], date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    with zipfile.ZipFile(place, "a") as archive:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(entry, b"another one")
    return place


def _without(name: str) -> Callable[[Maker], Path]:
    return lambda maker: maker.write({key: data for key, data in maker.entries().items() if not key.startswith(name)})


def _fifo(maker: Maker) -> Path:
    place = maker.scratch / "pipe.bundle"
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    return place


def _bomb(maker: Maker) -> Path:
    """Say in the archive that a compressed entry unpacks to gigabytes."""

    def change(entry: zipfile.ZipInfo) -> None:
        if entry.filename.startswith("wheels/alpha"):
            entry.compress_type = zipfile.ZIP_DEFLATED

    entries = maker.entries()
    path = _wheel(maker.manifest())["path"]
    return maker.write({**entries, path: bytes(64 << 20)}, change)


def _code_of_another_commit(maker: Maker) -> Path:
    return maker.resigned(lambda manifest: manifest.update(commit="0" * 40))


def _delta_without_base(maker: Maker) -> Path:
    def change(manifest: dict[str, Any]) -> None:
        manifest["base"] = {"release": "20200101T000000Z", "sha256": "0" * 64, "commit": None}
        _wheel(manifest)["in_base"] = True

    entries = {key: data for key, data in maker.entries().items() if not key.startswith("wheels/alpha")}
    return maker.resigned(change, entries)


def _long_manifest(maker: Maker) -> Path:
    return maker.write({**maker.entries(), "manifest.json": b" " * (17 << 20)})


def _other_platform(maker: Maker) -> Path:
    old = _wheel(maker.manifest())["path"]
    new = old.replace("-py3-none-any", "-cp311-cp311-win_amd64")
    return _renamed(new)(maker)


def _in_local_header(offset: int, value: bytes) -> Callable[[Maker], Path]:
    """Change bytes of the header that stands before a wheel, and of which the list of entries knows nothing."""

    def make(maker: Maker) -> Path:
        with zipfile.ZipFile(maker.good) as archive:
            (start,) = (one.header_offset for one in archive.infolist() if one.filename.startswith("wheels/alpha"))
        begin = start + offset
        return maker.with_bytes(lambda data: data[:begin] + value + data[begin + len(value) :])

    return make


def _sparse(maker: Maker) -> Path:
    """Say that the list of entries has gigabytes, which are a hole in the file."""
    place, size = maker.scratch / "tampered.bundle", 3 << 30
    with place.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, size, 0, 0))
    return place


def _with_end_of_another_kind(data: bytes) -> bytes:
    """Hide the records of a ZIP64 archive in the comment of the last entry, which lead to a list of gigabytes."""
    size = struct.unpack("<L", data[-10:-6])[0]
    records = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, 3 << 30, 0)
    records += struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1)
    return data[:-22] + records + data[-22:-10] + struct.pack("<L", size + len(records)) + data[-6:]


def _git_configuration(maker: Maker) -> Path:
    return _renamed("include/.GIT/config")(maker)


def _overlong_end(data: bytes) -> bytes:
    """Lie about the place of the archive's own list of entries."""
    return data[:-6] + struct.pack("<L", 0) + data[-2:]


#: What is done, and words of the reason that must be given.
TAMPERINGS: dict[str, tuple[Callable[[Maker], Path], str]] = {
    "no signature": (_without("manifest.json.sig"), "it is not signed"),
    "an empty signature": (lambda it: it.write({**it.entries(), "manifest.json.sig": b""}), "no signer in"),
    "a signature that is none": (
        lambda it: it.write({**it.entries(), "manifest.json.sig": b"x" * 300}),
        "no signer in",
    ),
    "a signature that is too long": (
        lambda it: it.write({**it.entries(), "manifest.json.sig": b"x" * 70_000}),
        "more than",
    ),
    "signed by somebody else": (_signed_by(lambda it: it.other_key), "no signer in"),
    "signed as a file": (_signed_by(lambda it: it.key, "file"), "namespace does not match"),
    "signed as a commit of git": (_signed_by(lambda it: it.key, "git"), "namespace does not match"),
    "an edited wheel": (_edited_wheel, "does not match its manifest"),
    "an edited wheel and its hash in the manifest": (_edited_wheel_with_its_hash, "incorrect signature"),
    "another expiry, not signed": (
        lambda it: it.write({**it.entries(), "manifest.json": it.entries()["manifest.json"].replace(b"null", b"none")}),
        "incorrect signature",
    ),
    "expired": (_changed(expires="2020-01-01T00:00:00+00:00"), "expired at 2020-01-01"),
    "another project": (_changed(project="another"), "it is a bundle of another"),
    "older than what is live": (_changed(sequence=1), "is older than the live release"),
    "a format to come": (_changed(format=2), "it has format 2"),
    "a time that is none": (_changed(created="yesterday"), "is not a time in UTC"),
    "a time without its zone": (_changed(created="2026-01-01T00:00:00"), "is not a time in UTC"),
    "another lock": (_changed(lock_sha256="0" * 64), "does not match lock_sha256"),
    "a commit that is none": (_changed(commit="main"), "is not a commit"),
    "an option of git as a commit": (_changed(commit="--upload-pack=touch"), "is not a commit"),
    "the code of another commit": (_code_of_another_commit, "is not that of commit 000000000000"),
    "a release that is a path": (_changed(release="../../etc"), "its release or sequence is not valid"),
    "a field of another type": (_changed(sequence="7"), "is not valid"),
    "a manifest of several megabytes": (_long_manifest, "more than"),
    "a manifest that is no JSON": (
        lambda it: it.write({**it.entries(), "manifest.json": b"{", "manifest.json.sig": it.sign(b"{")}),
        "is not valid",
    ),
    "a manifest written otherwise": (
        lambda it: it.write(
            {
                **it.entries(),
                "manifest.json": (data := json.dumps(it.manifest()).encode()),
                "manifest.json.sig": it.sign(data),
            }
        ),
        "releaser did not write it in this form",
    ),
    "the hash of a file": (_of_wheel(sha256="0" * 64), "does not match its manifest"),
    "a hash that is none": (_of_wheel(sha256="../x"), "hash or size"),
    "the size of a file": (_of_wheel(size=1), "bytes, but 1 by its manifest"),
    "a negative size": (_of_wheel(size=-1), "hash or size"),
    "a file in a base that is not there": (_of_wheel(in_base=True), "the bundle has no base"),
    "a delta whose base is not here": (_delta_without_base, "this delta needs wheels/alpha"),
    "files in another order": (lambda it: it.resigned(lambda one: one["files"].reverse()), "sorted"),
    "a file twice in the manifest": (
        lambda it: it.resigned(lambda one: one["files"].append(one["files"][-1])),
        "not unique",
    ),
    "a path that leads upwards": (_renamed("wheels/../../../alpha.whl"), "is not a valid path"),
    "an absolute path": (_renamed("/tmp/alpha.whl"), "is not a valid path"),
    "a path with a backslash": (_renamed("wheels\\alpha.whl"), "is not a valid path"),
    "a path with a control character": (_renamed("wheels/al\npha.whl"), "is not a valid path"),
    "the name of the signature": (_renamed("manifest.json.sig/x"), "is not a valid path"),
    "a wheel of another platform": (_other_platform, "the bundle has no wheel of alpha"),
    "a file that the manifest does not name": (
        lambda it: it.write({**it.entries(), "wheels/extra.whl": b"x"}),
        "which its manifest does not list",
    ),
    "a file that is missing": (_without("wheels/alpha"), "which its manifest lists"),
    "a file twice": (_twice, "is in it twice"),
    "a symlink": (_entry(external_attr=0o120777 << 16), "is not a regular file"),
    "a device": (_entry(external_attr=0o020666 << 16), "is not a regular file"),
    "a directory": (_entry(external_attr=0o040755 << 16), "is not a regular file"),
    "a program with rights of its owner": (_entry(external_attr=0o104755 << 16), "is not a regular file"),
    "a compressed file that unpacks to a lot": (_bomb, "is compressed"),
    "a comment of a file": (_entry(comment=b"x"), "has fields that no bundle has"),
    "extra fields of a file": (_entry(extra=b"\x99\x99\x00\x00"), "has fields that no bundle has"),
    "another size before a file than in the list": (
        _in_local_header(22, b"\1\0\0\0"),
        "differs from the list",
    ),
    "more fields before a file than in the list": (_in_local_header(28, b"\1\0"), "differs from the list"),
    "another name before a file than in the list": (_in_local_header(30, b"wheelz"), "differs from the list"),
    "another time of a file": (_entry(date_time=(2020, 1, 1, 0, 0, 0)), "has fields that no bundle has"),
    "a list of entries of gigabytes": (_sparse, "has no bundle's end"),
    "a list of entries of another kind": (lambda it: it.with_bytes(_with_end_of_another_kind), "has no bundle's end"),
    "a file of git's own": (_git_configuration, "would be one of git's own files"),
    "a wheel that is none": (_renamed("wheels/alpha.txt"), "is not a wheel"),
    "a wheel in a directory": (_renamed("wheels/a/alpha-1.2.0-py3-none-any.whl"), "is not a wheel"),
    "a file that is a directory, too": (_renamed("include/media/logo.txt/alpha.txt"), "is both a file and a directory"),
    "a version of Python that is none": (_changed(python="--help"), "is not a Python version"),
    "something before it": (lambda it: it.with_bytes(lambda data: b"#!/bin/sh\n" + data), "has no bundle's end"),
    "something behind it": (lambda it: it.with_bytes(lambda data: data + b"x"), "has no bundle's end"),
    "its end cut off": (lambda it: it.with_bytes(lambda data: data[:-30]), "has no bundle's end"),
    "its beginning cut off": (lambda it: it.with_bytes(lambda data: data[100:]), "has no bundle's end"),
    "a list of entries elsewhere": (lambda it: it.with_bytes(_overlong_end), "is not a bundle"),
    "nothing": (lambda it: it.with_bytes(lambda _: b""), "is not a bundle"),
    "a text": (lambda it: it.with_bytes(lambda _: b"hello\n" * 99), "is not a bundle"),
    "another archive": (lambda it: it.write({"a.txt": b"x"}), "does not start with manifest.json"),
    "a pipe": (_fifo, "cannot be read"),
    "no file at all": (lambda it: it.scratch / "missing.bundle", "cannot be read"),
}
