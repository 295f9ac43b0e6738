"""Settings: The search for what breaks the tests."""

from typing import Literal

from releaser.site.declaring import Part


class CulpritSettings(Part):
    """The search for what breaks the tests."""

    #: What happens if the tests fail with an update, and pass with the live release.
    culprits: Literal["hold", "report", "off"] = "hold"
    #: How many test runs the search for what breaks the tests may take in one update, beside repeated ones and that
    #: with the next lower versions.
    culprit_runs: int = 20
    #: After how many minutes this search starts no further run.
    culprit_minutes: int = 120

    @property
    def limits(self) -> str:
        """The limits of the search, with the names of their settings."""
        return f"culprit_runs {self.culprit_runs}, culprit_minutes {self.culprit_minutes}"
