"""What commands tell of bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.bundles.manifest import WHEELS
from releaser.locks.lock import Change
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.bundles.manifest import BundleManifest


class BundleDetails(Frozen):
    """A bundle; `signer` is who has signed it, if that was verified."""

    path: str
    size_bytes: int
    project: str
    release: str
    sequence: int
    #: As ISO 8601; `expires` is None if it never does.
    created: str
    expires: str | None
    commit: str | None
    lock_sha256: str
    group: str | None
    python: str
    platform: str
    libc: str
    targets: tuple[str, ...]
    #: The release whose bundle a delta builds on.
    base: str | None
    signer: str | None
    #: The wheels of the site, and how many files there are in all.
    wheels: tuple[str, ...]
    files: int

    @classmethod
    def of(cls, manifest: BundleManifest, *, signer: str | None, path: str, size: int) -> BundleDetails:
        """Tell of a manifest."""
        return cls(
            path=path,
            size_bytes=size,
            project=manifest.project,
            release=manifest.release,
            sequence=manifest.sequence,
            created=manifest.created,
            expires=manifest.expires,
            commit=manifest.commit,
            lock_sha256=manifest.lock_sha256,
            group=manifest.group,
            python=manifest.python,
            platform=manifest.platform,
            libc=manifest.libc,
            targets=tuple(map(str, manifest.targets)),
            base=manifest.base.release if manifest.base is not None else None,
            signer=signer,
            wheels=tuple(one.path.removeprefix(WHEELS) for one in manifest.below(WHEELS)),
            files=len(manifest.files),
        )


class BundleDifference(Frozen):
    """What changes from one bundle to another, both named by their releases."""

    before: str
    after: str
    commits: tuple[str | None, str | None]
    changes: tuple[Change, ...]
    #: The size of the files that only the second one has.
    new_bytes: int
