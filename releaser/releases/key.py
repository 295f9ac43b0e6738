"""What makes two releases the same, whatever they are called and whenever they were built."""

from __future__ import annotations

from releaser.system.frozen import Frozen


class ReleaseKey(Frozen):
    """The lock, the committed code without the lock, the Python and the dependency group of a release."""

    #: The digest of what the lock installs; it is the same for another mirror, or other upload times.
    lock_sha256: str
    code_key: str
    python: str
    group: str | None
    #: The digest of the files beside the code that came with its bundle.
    included: str = ""
