"""The base of the sources that take the code of a release from the branch of the remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.checkout.pull import fetch
from releaser.core.source import Source

if TYPE_CHECKING:
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


class FromGit(Source):
    """A source for the code of the branch. Subclasses say which lock goes with it."""

    def fetch(self, site: Site, log: RunLog, facts: SiteFacts, *, follow: bool) -> str | None:
        """Fetch the branch."""
        return fetch(site, log, facts, follow=follow)
