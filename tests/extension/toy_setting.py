"""A capability in one file, with a setting of a new kind: nothing is updated while the moon is in one of its phases.

The test copies it into the package, and adds it to the list of capabilities.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from releaser.errors import Finding
from releaser.site.declaring import Part, once_live
from releaser.site.values import kind, pattern, refuse

if TYPE_CHECKING:
    from releaser.site.site import Site

_PHASES = ("new", "waxing", "full", "waning")


@kind("phase of the moon", pattern("^(new|waxing|full|waning) moon$"), spell=lambda value: f"{_PHASES[value]} moon")
def phase(value: Any) -> int:
    """A phase of the moon, such as `full moon`."""
    phases = [f"{one} moon" for one in _PHASES]
    return phases.index(value) if value in phases else refuse("must be a phase of the moon")


Phase = Annotated[int, phase]


class MoonSettings(Part):
    """The moon."""

    #: The phase of the moon in which nothing is updated.
    quiet_moon: Phase | None = once_live(default=None)

    def is_quiet(self, phase: int) -> bool:
        """Whether nothing is updated in this phase."""
        return self.quiet_moon == phase


def moon_findings(site: "Site") -> Iterator[Finding]:
    """Find that the moon is in the phase in which nothing is updated."""
    now = (site.project.outer / "moon").read_text(encoding="utf-8")
    if MoonSettings.of(site).is_quiet(phase(now)):
        yield Finding("moon", f"it is {now}", advice="Wait for another phase.")
