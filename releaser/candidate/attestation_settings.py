"""Settings: Who has published a package."""

from typing import Literal

from releaser.site.declaring import Part
from releaser.site.values import FilePath


class AttestationSettings(Part):
    """Who has published a package."""

    #: Verify who has published a package, by its attestations (PEP 740).
    attestations: Literal["off", "warn", "require"] = "warn"
    #: The `trusted_root.json` of Sigstore that attestations are verified with, in place of the public one.
    attestations_root: FilePath | None = None
