"""When the versions in a lock were uploaded, and the limits that the project itself sets to that."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from releaser.locking.lockfile import LockFile

_SPAN = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_SECONDS = (365 * 86400, 30 * 86400, 7 * 86400, 86400, 3600, 60, 1)


@dataclass(frozen=True, kw_only=True)
class Uploads:
    """What is known of the versions from package indexes.

    `times` maps name and version to when the first file of it was uploaded, or to None if the index does not tell; what
    comes from elsewhere, such as git, is not in it. `limit` and `limits` (by package; None: no limit) are what the
    project says itself, by `exclude-newer` of uv.
    """

    times: Mapping[tuple[str, str], datetime | None] = field(default_factory=dict)
    limit: datetime | None = None
    limits: Mapping[str, datetime | None] = field(default_factory=dict)

    def knows(self, name: str, version: str) -> bool:
        """Whether an index tells when a version was uploaded."""
        return self.times.get((name, version)) is not None

    def lacks(self, name: str, version: str) -> bool:
        """Whether a version, or one of several, comes from an index that does not tell when it was uploaded."""
        return any((name, one) in self.times and not self.knows(name, one) for one in version.split(", "))

    def beside(self, other: Uploads) -> Uploads:
        """Return these with what another lock tells in addition; the limits stay these."""
        return replace(self, times={**other.times, **self.times})

    def own_limit(self, name: str) -> datetime | None:
        """Return the time after which the project itself takes no version of a package."""
        return self.limits.get(name, self.limit)


def uploads_in(lock: LockFile, now: datetime) -> Uploads:
    """Read the upload times in a uv.lock. Spans of time, which uv counts back from its own run, count from `now`."""
    content = tomllib.loads(lock.data.decode("utf-8")) if lock.data else {}
    options = content.get("options", {})
    span = options.get("exclude-newer-span")
    own = options.get("exclude-newer-package", {})
    return Uploads(
        times=times_of(one for one in content.get("package", []) if "registry" in one.get("source", {})),
        limit=_limit({"timestamp": options.get("exclude-newer"), "span": span}, now),
        limits={name: _limit(value, now) for name, value in own.items()},
    )


def times_of(packages: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], datetime | None]:
    """Return when the packages of a uv.lock, or of a pylock.toml, were uploaded, by name and version."""
    found: dict[tuple[str, str], datetime | None] = {}
    for package in packages:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        times = [time for file in files if (time := _time(file.get("upload-time"))) is not None]
        found[package["name"], str(package.get("version", "unknown"))] = min(times, default=None)
    return found


def _limit(value: Any, now: datetime) -> datetime | None:
    if not isinstance(value, dict):
        return _time(value)
    found = _SPAN.fullmatch(str(value.get("span") or ""))
    if found is None or not any(found.groups()):
        return _time(value.get("timestamp"))
    return now - timedelta(
        seconds=sum(int(number or 0) * unit for number, unit in zip(found.groups(), _SECONDS, strict=True))
    )


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
