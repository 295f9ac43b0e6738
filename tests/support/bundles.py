"""Bundles of sample sites, made by hand from what is live, in a few milliseconds each."""

import hashlib
import tempfile
import zipfile
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from releaser.bundles.bundle import (
    BUILT,
    CODE,
    LOCK,
    MANIFEST,
    REQUIREMENTS,
    WHEELS,
    BundledPackage,
    Manifest,
    hash_member,
    name_platform,
    write_bundle,
)
from tests.support.sites import SampleSite
from tests.support.wheels import module_name


def read_manifest(bundle: Path) -> Manifest:
    """Return the manifest of a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        return msgspec.json.decode(archive.read(MANIFEST), type=Manifest)


def make_bundle(site: SampleSite, path: Path, *, base: Path | None = None, **facts: object) -> Path:
    """Write a bundle of what a site has live; with `base`, without what that has. `facts` replace those of it."""
    release, versions = site.release(), site.versions()
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        place, before = Path(name), read_manifest(base) if base else None
        wheels = [site.index / f"{module_name(each)}-{version}-py3-none-any.whl" for each, version in versions.items()]
        files = {f"{WHEELS}{wheel.name}": wheel for wheel in wheels} | {LOCK: release / "uv.lock"}
        hashes = [
            f"{canonicalize_name(each)}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
            for wheel, (each, version) in zip(wheels, versions.items(), strict=True)
        ]
        files[REQUIREMENTS] = place / REQUIREMENTS
        files[REQUIREMENTS].write_text("\n".join(hashes) + "\n", "utf-8")
        built = release / "built"
        files |= {f"{BUILT}{each.relative_to(built)}": each for each in built.rglob("*") if each.is_file()}
        span = [f"^{before.commit}"] if before else []
        if before is None or before.commit != site.head():
            files[CODE] = place / CODE
            site.git("bundle", "create", "--quiet", files[CODE], "HEAD", "main", *span)
        members = {each: hash_member(file) for each, file in files.items()}
        omitted = tuple(each for each in members if before and members[each] == before.members.get(each))
        python = site.python("import platform; print(platform.python_version())")
        manifest = Manifest(
            project=site.path.name,
            release=site.live(),
            commit=site.head(),
            branch="main",
            python=python,
            tags=name_platform(python),
            lock_sha256=members[LOCK].sha256,
            selection="--group local",
            members=members,
            packages=tuple(BundledPackage(name, version, "index") for name, version in versions.items()),
            base=hashlib.sha256(_read(base)).hexdigest() if base else None,
            base_commit=before.commit if before else None,
            omitted=omitted,
        )
        manifest = msgspec.structs.replace(manifest, **facts)
        write_bundle(path, manifest, {each: file for each, file in files.items() if each not in omitted}, None)
    return path


def _read(bundle: Path) -> bytes:
    with zipfile.ZipFile(bundle) as archive:
        return archive.read(MANIFEST)
