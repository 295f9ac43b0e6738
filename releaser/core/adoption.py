"""The interface of an adopter: it turns a venv that a person has built into the first release of a project."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Literal

from releaser.capabilities import make
from releaser.releases.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.errors import Finding
    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts

Found = Literal["adopted", "unsealed", "directory", "symlink", "dangling", "nothing"]


class Adopter:
    """This one adopts nothing. Subclasses override all methods."""

    def find_open(self, site: Site) -> Iterable[Finding]:
        """Yield a finding if others can write a venv to adopt, and releaser may not change that."""
        return ()

    def find_unsynced(self, site: Site) -> Iterable[Finding]:
        """Yield a finding if a venv to adopt lacks locked packages, or has other versions of them."""
        return ()

    def find_dropped_packages(self, site: Site) -> Iterable[Finding]:
        """Yield a finding for packages of a venv to adopt that the next release will lack."""
        return ()

    def adopt(self, site: Site, log: RunLog, facts: SiteFacts) -> bool:
        """Turn a venv that is not a release into the first release; true if there was one. Raises BuildError."""
        return False

    def put_away(self, site: Site, log: RunLog) -> None:
        """Turn a directory in place of the symlink into a release, so that a symlink can replace it."""

    def plan(self, site: Site, log: RunLog, facts: SiteFacts, base: Path) -> Release | None:
        """Return the release that `adopt` would make, with its files below `base`; None without one."""
        return None

    def complete(self, site: Site, log: RunLog, entry: Entry) -> None:
        """Finish or undo an adoption that was cut off, by its entry in the journal."""


@functools.cache
def adopter() -> Adopter:
    """Return the adopter of all sites."""
    return next(iter(make("adopters")), Adopter())


def venv_kind(site: Site) -> Found:
    """Return the kind of file at `.venv`; `unsealed` is a live release that has lost its manifest."""
    link = site.project.venv
    if store_of(site).live() is not None:
        return "adopted"
    if store_of(site).live_id() is not None and (link / "pyvenv.cfg").is_file():
        return "unsealed"
    if not os.path.lexists(link):
        return "nothing"
    if not link.is_symlink():
        return "directory"
    return "symlink" if (link / "pyvenv.cfg").is_file() else "dangling"
