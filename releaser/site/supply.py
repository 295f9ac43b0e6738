"""What a source provides, and what it does without: one value, asked by all who lock, install and publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.locks.lock import LockFile


class Provenance(Frozen):
    """Where a release was made that was brought here: its name there, its place in time, its digest, who signed."""

    release: str
    sequence: int
    sha256: str
    signer: str
    #: The digest of the files beside the code, and which of these were not here before.
    included_sha256: str = ""
    brought: tuple[str, ...] = ()


#: The provenance of a release that was made here.
MADE_HERE = Provenance(release="", sequence=-1, sha256="", signer="")


class Supply(Frozen):
    """What a source provides. By default nothing: the settings say which index, remote and service is asked."""

    #: Returns the lock that goes live as it is; None if the rules of the site choose the versions.
    read_lock: Callable[[], LockFile] | None = None
    #: What messages call that lock, such as "what git has locked".
    takes: str = ""
    #: Whether the lock of the live release is committed and pushed.
    publishes: bool = True
    #: Whether indexes, the remote and services are asked.
    asks_others: bool = True
    #: Whether the tests of the project run here.
    runs_tests: bool = True
    #: The environment variables for uv.
    variables: Mapping[str, str] = field(default_factory=dict)
    #: Returns the lock that uv installs from, for the one that was resolved.
    to_install: Callable[[bytes], bytes] = bytes
    #: The files beside the code, by their paths in the project.
    included: Mapping[str, Path] = field(default_factory=dict)
    #: What to do if building the project needs other files; empty for what helps in a checkout.
    advice: str = ""
    #: The packages from elsewhere that releases are built to try; such a release never goes live.
    overrides: tuple[str, ...] = ()
    #: What the manifest of a release keeps of it.
    provenance: Provenance | None = None

    @property
    def upgrades(self) -> bool:
        """Whether the rules of this site choose the versions."""
        return self.read_lock is None

    @property
    def made_elsewhere(self) -> bool:
        """Whether it brings a release of another host, whose lock is compared with no other."""
        return self.provenance is not None

    @property
    def included_sha256(self) -> str:
        """The digest of the files beside the code; empty without any."""
        return self.provenance.included_sha256 if self.provenance is not None else ""
