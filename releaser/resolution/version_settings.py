"""Settings: which versions may be installed, and packages from S3."""

from datetime import datetime
from typing import Annotated, Literal

from releaser.locks.versions import LEVELS, Age, Level
from releaser.site import values
from releaser.site.declaring import Part
from releaser.site.values import Duration, FilePath, Limit, Packages, S3Prefixes


class VersionSettings(Part):
    """Which versions may be installed."""

    #: The same as `upgrade`, for single packages.
    upgrade_packages: Annotated[tuple[tuple[str, Level], ...], values.pairs(values.one_of(*LEVELS))] = ()
    #: The packages that are left as they are locked.
    ignore: Packages = ()
    #: A file of constraints, as pip takes one, that says which versions may come in.
    constraints: FilePath | None = None
    #: How long ago a version must have been uploaded to come in; 0 switches that off.
    min_age: Duration = 3 * 86400.0
    #: How old the fix of a known vulnerability must be, if its package has to be older otherwise.
    min_age_fixes: Duration = 86400.0
    #: Other minimum ages, for single packages.
    min_age_packages: Annotated[tuple[tuple[str, float], ...], values.pairs(values.duration)] = ()
    #: What happens to a version if the index does not say when it was uploaded.
    min_age_unknown: Literal["take", "refuse"] = "take"

    def age(self, now: datetime) -> Age:
        """Return how old versions have to be at a time."""
        return Age(
            least=self.min_age,
            packages=self.min_age_packages,
            unknown=self.min_age_unknown,
            fixes=self.min_age_fixes,
            now=now,
        )


class S3Settings(Part):
    """Packages from S3."""

    #: Where in S3 packages come from, beside indexes and directories.
    sources: S3Prefixes = ()
    #: The time limit of all downloads from there in one run.
    sources_timeout: Limit = 300.0
