"""Looking at a bundle, verifying it, and comparing two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.bundles.archive import open_archive
from releaser.bundles.details import BundleDetails, BundleDifference
from releaser.bundles.manifest import LOCK
from releaser.locks.lock import LockFile, changes_between
from releaser.pipelines.bundle_install import trust_of, verify_signature

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.pipelines.bundle_install import InstallRequest
    from releaser.site.site import Site


def show_bundle(file: Path) -> BundleDetails:
    """Say what a bundle says of itself, which nobody has verified. Raises PreflightError."""
    with open_archive(file) as archive:
        return BundleDetails.of(archive.manifest(), signer=None, path=str(file), size=file.stat().st_size)


def verify_bundle(site: Site, wanted: InstallRequest) -> BundleDetails:
    """Verify the signature of a bundle and the hash of each of its files. Raises PreflightError."""
    with open_archive(wanted.file) as archive:
        signer = verify_signature(site.runner, archive, wanted, trust_of(site, wanted.signers))
        manifest = archive.manifest()
        archive.verify(manifest)
        return BundleDetails.of(manifest, signer=signer, path=str(wanted.file), size=wanted.file.stat().st_size)


def compare_bundles(before: Path, after: Path) -> BundleDifference:
    """Say what changes from one bundle to another. Raises PreflightError."""
    with open_archive(before) as old, open_archive(after) as new:
        was, now = old.manifest(), new.manifest()
        locks = [
            LockFile.parse(one.read(found)).versions if (found := it.find(LOCK)) and not found.in_base else None
            for one, it in ((old, was), (new, now))
        ]
        known = {(one.path, one.sha256) for one in was.files}
        return BundleDifference(
            before=was.release,
            after=now.release,
            commits=(was.commit, now.commit),
            changes=changes_between(locks[0], locks[1]) if locks[0] is not None and locks[1] is not None else (),
            new_bytes=sum(one.size for one in now.files if (one.path, one.sha256) not in known),
        )
