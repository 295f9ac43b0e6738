"""The interface of a delay: a capability's answer to the question of when an update may start."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from releaser.capabilities import gather
from releaser.locks.blocks import PackageWait
from releaser.system.frozen import Frozen
from releaser.system.sections import Section

if TYPE_CHECKING:
    from datetime import datetime

    from releaser.site.site import Site


class OnlyFixes(Section):
    """The request for fixes of known vulnerabilities alone."""

    limits_update: ClassVar[bool] = True
    #: True if the run installs only fixes of known vulnerabilities of the live release, and their requirements.
    only_security: bool = False


#: The keys of requests whose releases go live, in the maintenance window.
GOES_LIVE = frozenset({"only_security"})


class Due(Frozen):
    """The time at which an update may start, and the reason to wait; an empty reason means that it may start now."""

    #: None if that is unknown.
    at: datetime | None
    reason: str = ""
    #: When a person ordered the delay; None if that is unknown, or if none did.
    since: datetime | None = None
    advice: str = "To update now, run `releaser update --now`."
    #: The facts with which an update by the rules of the site may start in spite of the reason; empty if none may.
    anyway: tuple[Section, ...] = ()
    #: True if that holds for packages that a person names, too.
    for_named: bool = False

    def known(self, otherwise: datetime) -> datetime:
        """Return the time, or another one if it is unknown."""
        return self.at or otherwise

    @property
    def shown(self) -> str | None:
        """The time, as ISO 8601; None if it is unknown."""
        return self.at.isoformat(timespec="seconds") if self.at else None


def find_delay(site: Site, limits: frozenset[str] = frozenset()) -> Due | None:
    """Return the first reason of a capability to delay updates, `limits` as in `Timing`; None if they may start."""
    return next(filter(None, (find(site, limits) for find in gather("delays"))), None)


def find_package_waits(site: Site, at: datetime, *, regardless: bool = False) -> tuple[PackageWait, ...]:
    """Return the packages that wait in an update that begins then; `regardless` ignores windows, as `--now` does."""
    return tuple(wait for find in gather("package_waits") for wait in find(site, at, regardless=regardless))
