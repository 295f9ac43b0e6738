"""What a way to restart a site has to tell and to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.errors import Finding
    from releaser.report import Step
    from releaser.site.site import Site


class Restart:
    """A way to restart a site; what it does not say otherwise is as here."""

    #: The value of the setting `restart` that chooses it.
    word = ""
    #: Whether it has nothing to do where the command `start` has just started the site.
    yields_to_start = False

    def tells(self, site: Site) -> bool:  # noqa: ARG002 - others look
        """Whether it tells the site's processes anything, so that one can wait for new ones."""
        return True

    def file(self, site: Site) -> Path | None:  # noqa: ARG002
        """Return the file that it writes, which git ignores then; None if there is none."""
        return None

    def program(self, site: Site) -> str | None:  # noqa: ARG002
        """Return the program that it starts, which `check` looks for; None if there is none, or it looks itself."""
        return None

    def findings(self, site: Site) -> Iterator[Finding]:  # noqa: ARG002
        """Find what would keep it from its work."""
        yield from ()

    def restart(self, site: Site, venv: Path, step: Step) -> None:
        """Restart the site, whose live venv this is. Raises ToolError."""
        raise NotImplementedError
