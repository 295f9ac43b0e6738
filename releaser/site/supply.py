"""What a source brings along for an installation, and whom that does not ask: one value, asked by all who install."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path

from releaser.system.frozen import Frozen


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
    """What a source brings along. By default nothing: the settings say which index, remote and service is asked."""

    #: Whether it brings the lock, which is installed as it is and compared with no other.
    brings_lock: bool = False
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
    def included_sha256(self) -> str:
        """The digest of the files beside the code; empty without any."""
        return self.provenance.included_sha256 if self.provenance is not None else ""
