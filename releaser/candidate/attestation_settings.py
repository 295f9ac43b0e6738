"""Settings: the publishers of packages."""

from typing import Literal

from releaser.site.declaring import Part
from releaser.site.values import FilePath


class AttestationSettings(Part):
    """The publishers of packages."""

    #: Verify who published each package, by its attestations (PEP 740).
    attestations: Literal["off", "warn", "require"] = "warn"
    #: The `trusted_root.json` of Sigstore to verify attestations with, in place of the public one.
    attestations_root: FilePath | None = None

    @property
    def extra(self) -> str:
        """The extra that verifies attestations."""
        return "attestations" if self.attestations == "require" else ""
