"""How old a version has to be before it may come in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from releaser.locking.policy import chosen

if TYPE_CHECKING:
    from releaser.locking.uploads import Uploads

Unknown = Literal["take", "refuse"]
_DAY = 86400
_ALWAYS = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Age:
    """How old versions have to be, in seconds, at the time `now`; `packages` tells so of single ones, by pattern.

    `unknown` says what becomes of versions of which the index does not tell the time.
    """

    least: float = 0.0
    packages: tuple[tuple[str, float], ...] = ()
    unknown: Unknown = "refuse"
    now: datetime = _ALWAYS

    @property
    def matters(self) -> bool:
        """Whether any package has to be of some age."""
        return bool(self.least) or any(seconds for _, seconds in self.packages)

    def of(self, name: str) -> float:
        """Return how old the versions of a package have to be, in seconds."""
        return chosen(name, self.packages, self.least)

    def latest(self, name: str) -> datetime:
        """Return when a version of a package must have been uploaded at the latest."""
        return self.now - timedelta(seconds=self.of(name))

    def objection(self, name: str, version: str, uploads: Uploads) -> str:
        """Say why a version may not come in yet; empty if it may, or does not come from an index."""
        required = self.of(name)
        times = [uploads.times[name, one] for one in version.split(", ") if (name, one) in uploads.times]
        if not required or not times:
            return ""
        known = [time for time in times if time is not None]
        if len(known) < len(times):
            return "" if self.unknown == "take" else "its index does not tell when it was uploaded"
        youngest = max(known)
        if youngest <= self.latest(name):
            return ""
        at = (youngest + timedelta(seconds=required)).astimezone(UTC)
        return f"it is {_long((self.now - youngest).total_seconds())} old, and may come in from {at:%Y-%m-%d %H:%M} UTC"


def _long(seconds: float) -> str:
    """Return a length of time in words, in whole units."""
    seconds = max(seconds, 0.0)
    for unit, name in ((_DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return "less than a minute"
