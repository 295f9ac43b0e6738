"""Bundles that somebody has tampered with: each is made from a good one, and refused with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from releaser.bundles.archive import write_archive
from releaser.bundles.manifest import FORMAT, MANIFEST, SIGNATURE, BundledFile, BundleManifest
from releaser.bundles.trust import sign
from releaser.errors import PreflightError
from releaser.pipelines.bundle_install import InstallRequest, plan_install, verify_bundle
from releaser.site.site import Site, open_site
from releaser.system.process import Runner
from tests.support.commands import clean_environment
from tests.support.signing import make_key

pytestmark = pytest.mark.slow  # ssh-keygen, several times in each

COMMIT = "1234567890abcdef" * 2 + "12345678"
WHEEL, LOGO = "wheels/alpha-1.2.0-py3-none-any.whl", "include/media/logo.txt"
LOCK = b"""version = 1
requires-python = ">=3.11"
[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "alpha" }]
[[package]]
name = "alpha"
version = "1.2.0"
source = { registry = "https://example.org/simple" }
"""
Change = Callable[[Any], object]


class Maker:
    """A good bundle, a key that the host trusts, and one that it does not."""

    def __init__(self, *, good: Path, key: Path, other_key: Path, scratch: Path) -> None:
        self.good, self.key, self.other_key = good, key, other_key
        self.place = scratch / "tampered.bundle"
        with zipfile.ZipFile(good) as archive:
            self.entries: dict[str, bytes | None] = {one.filename: archive.read(one) for one in archive.infolist()}
        self.data = self.entries[MANIFEST] or b""

    def manifest(self, change: Change) -> bytes:
        """Return the manifest with a change."""
        manifest = json.loads(self.data)
        change(manifest)
        return json.dumps(manifest, indent=1).encode() + b"\n"

    def sign(self, data: bytes, *, key: Path | None = None, namespace: str = "releaser-bundle") -> bytes:
        words: list[str | Path] = ["ssh-keygen", "-q", "-Y", "sign", "-f", key or self.key, "-n", namespace]
        return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout

    def write(self, changes: Mapping[str, bytes | None], of_entry: Change = lambda _: None) -> Path:
        """Write an archive as releaser does, but with other entries, each of which may be changed, or left out."""
        self.place.unlink(missing_ok=True)
        with zipfile.ZipFile(self.place, "w", zipfile.ZIP_STORED) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a file is in it twice
            for name, data in {**self.entries, **changes}.items():
                entry = zipfile.ZipInfo(name.removesuffix(" again"), date_time=(1980, 1, 1, 0, 0, 0))
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                of_entry(entry)
                if data is not None:
                    archive.writestr(entry, data)
        return self.place

    def signed(self, manifest: bytes, changes: Mapping[str, bytes | None] | None = None) -> Path:
        """Put another manifest into it, signed with the key that the host trusts."""
        return self.write({**(changes or {}), MANIFEST: manifest, SIGNATURE: self.sign(manifest)})

    def with_bytes(self, change: Callable[[bytes], bytes]) -> Path:
        self.place.write_bytes(change(self.good.read_bytes()))
        return self.place


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    base = tmp_path_factory.mktemp("tampering")
    (key, _), (other_key, _) = make_key(base), make_key(base, "other")
    code = f"# v2 git bundle\n{COMMIT} HEAD\n\nPACK".encode()
    contents = {"code.bundle": code, LOGO: b"a logo", "uv.lock": LOCK, WHEEL: b"a wheel"}
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    for path, data in contents.items():
        (base / hashes[path]).write_bytes(data)
    manifest = BundleManifest(
        format=FORMAT, project="shop", release="20261120T061200Z", sequence=1, created="2026-11-20T06:12:00+00:00",
        expires=None, commit=COMMIT, branch="main", lock_sha256=hashes["uv.lock"], group=None, python="3.12.1",
        abi="cp312", platform="linux_x86_64", libc="", targets=(),
        files=tuple(BundledFile(path=path, sha256=hashes[path], size=len(contents[path])) for path in sorted(hashes)),
    )  # fmt: skip
    signature = sign(Runner(environ=os.environ), manifest.data, key)
    write_archive(base / "good.bundle", manifest, signature, {path: base / hashes[path] for path in hashes})
    return Maker(good=base / "good.bundle", key=key, other_key=other_key, scratch=base)


def trusting(key: Path) -> Site:
    """Return a project beside a key that may sign for any namespace."""
    base = key.parent
    (base / "shop").mkdir()
    (base / "shop" / "pyproject.toml").write_text('[project]\nname = "shop"\nversion = "1"\n', encoding="utf-8")
    signers = base / "any-signers"
    signers.write_text(f"builder@example.org {key.with_suffix('.pub').read_text(encoding='utf-8')}")
    env = clean_environment(base / "home", base / "cache")
    return open_site(base / "shop", {**env, "RELEASER_BUNDLE_SIGNERS": str(signers), "RELEASER_GIT": "false"})


@pytest.fixture(scope="module")
def site(maker: Maker) -> Site:
    return trusting(maker.key)


def changed(**values: object) -> Callable[[Maker], Path]:
    return lambda it: it.signed(it.manifest(lambda manifest: manifest.update(values)))


def wheel_of(manifest: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in manifest["files"] if one["path"] == WHEEL)
    return found


def of_wheel(**values: object) -> Callable[[Maker], Path]:
    return lambda it: it.signed(it.manifest(lambda manifest: wheel_of(manifest).update(values)))


def renamed(name: str) -> Callable[[Maker], Path]:
    """Give a file another path, in the manifest as well, which is signed."""

    def change(manifest: dict[str, Any]) -> None:
        wheel_of(manifest)["path"] = name
        manifest["files"].sort(key=lambda one: one["path"])

    return lambda it: it.signed(it.manifest(change), {WHEEL: None, name: b"a wheel"})


def entry(data: bytes = b"a wheel", **values: object) -> Callable[[Maker], Path]:
    """Change fields of the archive's own entry of a wheel."""

    def change(one: zipfile.ZipInfo) -> None:
        if one.filename == WHEEL:
            for name, value in values.items():
                setattr(one, name, value)

    return lambda it: it.write({WHEEL: data}, change)


def without_base(it: Maker) -> Path:
    def change(manifest: dict[str, Any]) -> None:
        manifest["base"] = {"release": "20200101T000000Z", "sha256": "0" * 64, "commit": None}
        wheel_of(manifest)["in_base"] = True

    return it.signed(it.manifest(change), {WHEEL: None})


def in_local_header(offset: int, value: bytes) -> Callable[[Maker], Path]:
    """Change bytes of the header that stands before a wheel, and of which the list of entries knows nothing."""

    def make(it: Maker) -> Path:
        with zipfile.ZipFile(it.good) as archive:
            begin = archive.getinfo(WHEEL).header_offset + offset
        return it.with_bytes(lambda data: data[:begin] + value + data[begin + len(value) :])

    return make


def sparse(it: Maker) -> Path:
    """Say that the list of entries has gigabytes, which are a hole in the file."""
    size = 3 << 30
    with it.place.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, size, 0, 0))
    return it.place


def with_end_of_another_kind(data: bytes) -> bytes:
    """Hide the records of a ZIP64 archive in the comment of the last entry, which lead to a list of gigabytes."""
    size = struct.unpack("<L", data[-10:-6])[0]
    records = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, 3 << 30, 0)
    records += struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1)
    return data[:-22] + records + data[-22:-10] + struct.pack("<L", size + len(records)) + data[-6:]


def with_list_elsewhere(data: bytes) -> bytes:
    return data[:-6] + struct.pack("<L", 0) + data[-2:]


def pipe(it: Maker) -> Path:
    it.place.unlink(missing_ok=True)
    os.mkfifo(it.place)
    return it.place


#: What is done, and words of the reason that must be given.
TAMPERINGS: dict[str, tuple[Callable[[Maker], Path], str]] = {
    "no signature": (lambda it: it.write({SIGNATURE: None}), "it is not signed"),
    "an empty signature": (lambda it: it.write({SIGNATURE: b""}), "no signer in"),
    "a signature that is none": (lambda it: it.write({SIGNATURE: b"x" * 300}), "no signer in"),
    "a signature that is too long": (lambda it: it.write({SIGNATURE: b"x" * 70_000}), "more than"),
    "signed by another": (lambda it: it.write({SIGNATURE: it.sign(it.data, key=it.other_key)}), "no signer in"),
    "signed as a file": (lambda it: it.write({SIGNATURE: it.sign(it.data, namespace="file")}), "does not match"),
    "signed as a commit": (lambda it: it.write({SIGNATURE: it.sign(it.data, namespace="git")}), "does not match"),
    "an edited wheel": (lambda it: it.write({WHEEL: b"A wheel"}), "does not match its manifest"),
    "its hash in the manifest": (
        lambda it: it.write({MANIFEST: it.manifest(lambda one: wheel_of(one).update(sha256="0" * 64))}),
        "incorrect signature",
    ),
    "an expiry that is not signed": (
        lambda it: it.write({MANIFEST: it.data.replace(b"null", b"none")}), "incorrect signature"
    ),
    "expired": (changed(expires="2020-01-01T00:00:00+00:00"), "expired at 2020-01-01"),
    "another project": (changed(project="another"), "it is a bundle of another"),
    "a format to come": (changed(format=2), "it has format 2"),
    "a time that is none": (changed(created="yesterday"), "is not a time in UTC"),
    "a time without its zone": (changed(created="2026-01-01T00:00:00"), "is not a time in UTC"),
    "another lock": (changed(lock_sha256="0" * 64), "does not match lock_sha256"),
    "a commit that is none": (changed(commit="main"), "is not a commit"),
    "an option of git as a commit": (changed(commit="--upload-pack=touch"), "is not a commit"),
    "the code of another commit": (changed(commit="0" * 40), "is not that of commit 000000000000"),
    "a release that is a path": (changed(release="../../etc"), "its release or sequence is not valid"),
    "a field of another type": (changed(sequence="7"), "is not valid"),
    "a version of Python that is none": (changed(python="--help"), "is not a Python version"),
    "a manifest of several megabytes": (lambda it: it.write({MANIFEST: b" " * (17 << 20)}), "more than"),
    "a manifest that is no JSON": (lambda it: it.signed(b"{"), "is not valid"),
    "a manifest written otherwise": (
        lambda it: it.signed(json.dumps(json.loads(it.data)).encode()), "it is not in the form that releaser writes"
    ),
    "the hash of a file": (of_wheel(sha256="0" * 64), "does not match its manifest"),
    "a hash that is none": (of_wheel(sha256="../x"), "hash or size"),
    "the size of a file": (of_wheel(size=1), "bytes, but 1 by its manifest"),
    "a negative size": (of_wheel(size=-1), "hash or size"),
    "a file in a base that is not there": (of_wheel(in_base=True), "the bundle has no base"),
    "a delta whose base is not here": (without_base, "this delta needs wheels/alpha"),
    "files in another order": (lambda it: it.signed(it.manifest(lambda one: one["files"].reverse())), "sorted"),
    "a file twice in the manifest": (
        lambda it: it.signed(it.manifest(lambda one: one["files"].append(one["files"][-1]))), "not unique"
    ),
    "a path that leads upwards": (renamed("wheels/../../../alpha.whl"), "is not a valid path"),
    "an absolute path": (renamed("/tmp/alpha.whl"), "is not a valid path"),
    "a path with a backslash": (renamed("wheels\\alpha.whl"), "is not a valid path"),
    "a path with a control character": (renamed("wheels/al\npha.whl"), "is not a valid path"),
    "the name of the signature": (renamed("manifest.json.sig/x"), "is not a valid path"),
    "a file of git's own": (renamed("include/.GIT/config"), "would be one of git's own files"),
    "a wheel that is none": (renamed("wheels/alpha.txt"), "is not a wheel"),
    "a wheel in a directory": (renamed("wheels/a/alpha-1.2.0-py3-none-any.whl"), "is not a wheel"),
    "a wheel of another platform": (
        renamed("wheels/alpha-1.2.0-cp311-cp311-win_amd64.whl"), "the bundle has no wheel of alpha"
    ),
    "a file that is a directory, too": (renamed(f"{LOGO}/alpha.txt"), "is both a file and a directory"),
    "a file that is not named": (lambda it: it.write({"wheels/extra.whl": b"x"}), "which its manifest does not list"),
    "a file that is missing": (lambda it: it.write({WHEEL: None}), "which its manifest lists"),
    "a file twice": (lambda it: it.write({f"{WHEEL} again": b"another one"}), "is in it twice"),
    "a symlink": (entry(external_attr=0o120777 << 16), "is not a regular file"),
    "a device": (entry(external_attr=0o020666 << 16), "is not a regular file"),
    "a directory": (entry(external_attr=0o040755 << 16), "is not a regular file"),
    "a program with rights of its owner": (entry(external_attr=0o104755 << 16), "is not a regular file"),
    "a compressed file of megabytes": (entry(bytes(64 << 20), compress_type=zipfile.ZIP_DEFLATED), "is compressed"),
    "a comment of a file": (entry(comment=b"x"), "has fields that no bundle has"),
    "extra fields of a file": (entry(extra=b"\x99\x99\x00\x00"), "has fields that no bundle has"),
    "another time of a file": (entry(date_time=(2020, 1, 1, 0, 0, 0)), "has fields that no bundle has"),
    "another size before a file than in the list": (in_local_header(22, b"\1\0\0\0"), "differs from the list"),
    "more fields before a file than in the list": (in_local_header(28, b"\1\0"), "differs from the list"),
    "another name before a file than in the list": (in_local_header(30, b"wheelz"), "differs from the list"),
    "a list of entries of gigabytes": (sparse, "its end is missing"),
    "a list of entries of another kind": (lambda it: it.with_bytes(with_end_of_another_kind), "its end is missing"),
    "a list of entries elsewhere": (lambda it: it.with_bytes(with_list_elsewhere), "is not a bundle"),
    "something before it": (lambda it: it.with_bytes(lambda data: b"#!/bin/sh\n" + data), "its end is missing"),
    "something behind it": (lambda it: it.with_bytes(lambda data: data + b"x"), "its end is missing"),
    "its end cut off": (lambda it: it.with_bytes(lambda data: data[:-30]), "its end is missing"),
    "its beginning cut off": (lambda it: it.with_bytes(lambda data: data[100:]), "its end is missing"),
    "nothing": (lambda it: it.with_bytes(lambda _: b""), "is not a bundle"),
    "a text": (lambda it: it.with_bytes(lambda _: b"hello\n" * 99), "is not a bundle"),
    "another archive": (
        lambda it: it.write({**dict.fromkeys(it.entries), "a.txt": b"x"}), "does not start with manifest.json"
    ),
    "a pipe": (pipe, "cannot be read"),
    "no file at all": (lambda it: it.place.with_name("missing.bundle"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("tamper", "reason"), TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_bundle_is_refused_with_its_reason(
    maker: Maker, site: Site, tamper: Callable[[Maker], Path], reason: str
) -> None:
    with pytest.raises(PreflightError) as refused:
        plan_install(site, InstallRequest(file=tamper(maker)))
    assert reason in refused.value.message
    assert not site.state_dir.exists()


def test_the_bundle_from_which_they_are_made_is_good(maker: Maker, site: Site) -> None:
    assert "and make it live" in plan_install(site, InstallRequest(file=maker.write({}))).would[0]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("namespaces", 'valid-before="20200101",namespaces', "(key has expired: "),
        ("namespaces", 'valid-after="21000101",namespaces', "(key is not yet valid: "),
        ("releaser-bundle", "file", "not permitted for use in signature namespace"),
        ("builder@", "!builder@", "no signer in"),
        ("builder@example.org", "#", "no signer in"),
        ("builder@", "!mallory@example.org,*@", ""),
    ],
)
def test_a_signature_counts_only_of_a_key_that_is_allowed_now(
    maker: Maker, site: Site, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    allowed = tmp_path / "signers"
    public = maker.key.with_suffix(".pub").read_text(encoding="utf-8")
    allowed.write_text(f'builder@example.org namespaces="releaser-bundle" {public}'.replace(old, new), encoding="utf-8")
    request = InstallRequest(file=maker.good, signers=allowed)
    if not reason:
        assert verify_bundle(site, request).signer == "*@example.org"
        return
    with pytest.raises(PreflightError) as refused:
        verify_bundle(site, request)
    assert reason in refused.value.message
