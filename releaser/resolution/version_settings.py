"""Settings: which versions may be installed, and packages from S3."""

from datetime import datetime
from typing import Annotated, Literal

from releaser.locks.versions import LEVELS, Age, Level
from releaser.site import values
from releaser.site.declaring import Part
from releaser.site.values import Duration, FilePath, Limit, Packages, S3Prefixes


class VersionSettings(Part):
    """Which versions may be installed."""

    #: The largest upgrade of single packages, like `upgrade`.
    upgrade_packages: Annotated[tuple[tuple[str, Level], ...], values.pairs(values.one_of(*LEVELS))] = ()
    #: The packages that updates keep at the locked version.
    ignore: Packages = ()
    #: A constraints file, in pip's format, that limits the versions.
    constraints: FilePath | None = None
    #: The age that a version must have on the index before updates install it; 0 means any age.
    min_age: Duration = 3 * 86400.0
    #: The minimum age of a version that fixes a known vulnerability, if `min_age` is higher.
    min_age_fixes: Duration = 86400.0
    #: The minimum age of single packages, in place of `min_age`.
    min_age_packages: Annotated[tuple[tuple[str, float], ...], values.pairs(values.duration)] = ()
    #: Install (`take`) or skip (`refuse`) a version whose index does not report its upload time.
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

    #: S3 buckets with packages, in addition to indexes and directories.
    sources: S3Prefixes = ()
    #: The time limit of all downloads from `sources` in one run.
    sources_timeout: Limit = 300.0

    @property
    def extra(self) -> str:
        """The extra with the client for S3."""
        return "s3" if self.sources else ""
