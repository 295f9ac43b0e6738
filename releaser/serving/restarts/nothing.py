"""`restart = "none"`: nothing is restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.restart import Restart
from releaser.site.restart_settings import RestartSettings

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.report import Step
    from releaser.site.site import Site


class Nothing(Restart):
    """Restarts nothing: the project is a script, or another program restarts the site."""

    word = "none"

    def selected_by(self, setting: tuple[str, ...]) -> Restart | None:
        """Return this method for its word, and for the default, if that method is missing."""
        return self if setting in ((self.word,), RestartSettings().restart) else None

    def restarts_processes(self, site: Site) -> bool:
        """Return False."""
        return False

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Skip the step."""
        step.skip("switched off")
