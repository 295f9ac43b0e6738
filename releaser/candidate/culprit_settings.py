"""Settings: The search for the upgrades that break the tests."""

from typing import Literal

from releaser.site.declaring import Part


class CulpritSettings(Part):
    """The search for the upgrades that break the tests."""

    #: `hold` puts the upgrades that break the tests on hold, and the others go live. With `report`, releaser only
    #: names them; with `off`, it does not search. In both cases, nothing goes live.
    culprits: Literal["hold", "report", "off"] = "hold"
    #: The most test runs that the search for a culprit takes in one update, not counting repeated runs.
    culprit_runs: int = 20
    #: The search for a culprit starts no test run after this many minutes.
    culprit_minutes: int = 120

    @property
    def limits(self) -> str:
        """The limits of the search, with the names of their settings."""
        return f"culprit_runs {self.culprit_runs}, culprit_minutes {self.culprit_minutes}"
