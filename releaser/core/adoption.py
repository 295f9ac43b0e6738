"""The interface of an adopter: it turns a venv that a person has built into the first release of a project."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from releaser.capabilities import make

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


class Adopter(ABC):
    """Adopts a venv, or another file, at the place of the symlink to the live release."""

    @abstractmethod
    def adopt(self, site: Site, log: RunLog, facts: SiteFacts) -> bool:
        """Make a venv that is no release yet the first release; true if there was one. Raises BuildError."""

    @abstractmethod
    def put_away(self, site: Site, log: RunLog) -> None:
        """Make a directory in the place of the symlink a release, so that a symlink can take its place again."""

    @abstractmethod
    def plan(self, site: Site, log: RunLog, facts: SiteFacts, base: Path) -> Release | None:
        """Return the release that `adopt` would make, with its files below `base`; None without one."""

    @abstractmethod
    def complete(self, site: Site, log: RunLog, entry: Entry) -> None:
        """Finish or undo an adoption that was cut off, by its entry in the journal."""


def adopt_venv(site: Site, log: RunLog, facts: SiteFacts) -> bool:
    """Make a venv that is no release yet the first release; true if there was one. Raises BuildError."""
    return any(adopter.adopt(site, log, facts) for adopter in make("adopters"))


def plan_adoption(site: Site, log: RunLog, facts: SiteFacts, base: Path) -> Release | None:
    """Return the release that an update would adopt first, with its files below `base`; None without one."""
    return next(filter(None, (adopter.plan(site, log, facts, base) for adopter in make("adopters"))), None)


def complete_adoption(site: Site, log: RunLog, entry: Entry) -> None:
    """Finish or undo an adoption that was cut off, by its entry in the journal."""
    for adopter in make("adopters"):
        adopter.complete(site, log, entry)


def put_away_venv(site: Site, log: RunLog) -> None:
    """Make a directory in the place of the symlink a release, so that a symlink can take its place again."""
    for adopter in make("adopters"):
        adopter.put_away(site, log)
