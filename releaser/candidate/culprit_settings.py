"""Settings: The search for the upgrades that break the tests."""

from typing import Literal

from releaser.site.declaring import Part


class CulpritSettings(Part):
    """The search for the upgrades that break the tests."""

    #: The reaction to tests that fail with an update and pass with the live release.
    culprits: Literal["hold", "report", "off"] = "hold"
    #: The most test runs of this search in one update, not counting repeated runs and the run with the next lower
    #: versions.
    culprit_runs: int = 20
    #: After this many minutes, the search starts no further run.
    culprit_minutes: int = 120

    @property
    def limits(self) -> str:
        """The limits of the search, with the names of their settings."""
        return f"culprit_runs {self.culprit_runs}, culprit_minutes {self.culprit_minutes}"
