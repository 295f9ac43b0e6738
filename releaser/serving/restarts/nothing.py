"""`restart = "none"`: nothing is restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.serving.restarts.base import Restart

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.report import Step
    from releaser.site.site import Site


class Nothing(Restart):
    """Restarts nothing, as for a script, or where somebody else does it."""

    word = "none"

    def tells(self, site: Site) -> bool:  # noqa: ARG002
        """Tell that nobody is told."""
        return False

    def restart(self, site: Site, venv: Path, step: Step) -> None:  # noqa: ARG002
        """Do nothing."""
        step.skip("switched off")
