"""The key of a release: two releases with the same key install the same packages for the same code."""

from __future__ import annotations

from releaser.system.frozen import Frozen


class ReleaseKey(Frozen):
    """The facts that two equal releases share."""

    #: The digest of the packages that the lock installs. Mirrors and upload times do not change it.
    lock_sha256: str
    #: The digest of the committed code without the lock.
    code_key: str
    python: str
    group: str | None
    #: The digest of the additional files in the bundle; empty without a bundle.
    included: str = ""
