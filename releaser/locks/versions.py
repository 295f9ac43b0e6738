"""Versions: newer or older, how far an upgrade goes, and how old a version is."""

from __future__ import annotations

import functools
import operator
import re
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from releaser.system.expression import expression
from releaser.system.frozen import Frozen, field, replace
from releaser.system.words import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from packaging.version import Version

    from releaser.locks.lock import LockFile

Level = Literal["all", "minor", "patch"]
LEVELS: tuple[Level, ...] = ("all", "minor", "patch")
T = TypeVar("T")
_LEVEL = r"[<>]=?\s*\d+(?:\.\d+)*"
_PLAIN_RANGE = expression(rf"(?a){_LEVEL}(?:\s*,\s*{_LEVEL})*")
_PLAIN = expression(r"(?a)\d+(?:\.\d+)*")
_FINAL = expression(r"(?a)\d+(?:\.\d+)*(?:\.post\d+)?")
_BOUND = r"([<>]=?|==|!=)\s*(\d+(?:\.\d+)*)(\.post\d+)?"
_PLAIN_BOUND, _PLAIN_BOUNDS = expression(f"(?a){_BOUND}"), expression(rf"(?a)\s*{_BOUND}(?:\s*,\s*{_BOUND})*\s*")
_EQUAL = {"==": True, "!=": False}
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Upgrade(Frozen):
    """The bump policy of a project: a level, and by pattern of names the levels of single packages."""

    #: `security`: only fixes of vulnerabilities go up, and their requirements, by the levels of single packages.
    level: Level | Literal["security"] = "all"
    packages: tuple[tuple[str, Level], ...] = ()

    def excludes(self, name: str) -> bool:
        """True if only a fix of this package, or one that needs it, may change it."""
        return self.level == "security" and not any(fnmatchcase(name, pattern) for pattern, _ in self.packages)

    def of(self, name: str) -> Level:
        """Return the level of a package."""
        return look_up(name, self.packages, "all" if self.level == "security" else self.level)


def normalize_name(name: str) -> str:
    """Return the normalized name of a package (PEP 503), or of a pattern."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def look_up(name: str, table: Iterable[tuple[str, T]], default: T) -> T:
    """Return the value for a package in a table: by its exact name, else by the first pattern that matches."""
    fitting = [(pattern, value) for pattern, value in table if fnmatchcase(name, pattern)]
    return next((value for pattern, value in fitting if pattern == name), fitting[0][1] if fitting else default)


def parse_version(version: str) -> Version | None:
    """Parse a version as a lock shows it; None for several versions and for a commit."""
    from packaging.version import InvalidVersion, Version  # here, as every command imports this module for the settings

    try:
        return Version(version)
    except InvalidVersion:
        return None


def is_prerelease(version: str) -> bool:
    """True for a pre-release as a lock shows it; False for several versions and for a commit."""
    if _FINAL.fullmatch(version):  # as most are; for others, `packaging` is imported
        return False
    found = parse_version(version)
    return found is not None and found.is_prerelease


def versions_in(shown: str) -> tuple[Version, ...]:
    """Return the versions that a lock shows for one package, lowest first; empty if one of them is a commit."""
    found = [parse_version(word) for word in shown.split(", ")]
    return tuple(sorted(version for version in found if version is not None)) if all(found) else ()


def ceiling(locked: Version, level: Level) -> str | None:
    """Return the version that an upgrade must stay below, also with pre-releases; None without a limit."""
    if level == "all":
        return None
    if level == "minor" and locked.major:
        return f"{_epoch(locked)}{locked.major + 1}"
    return f"{_epoch(locked)}{locked.major}.{locked.minor + 1}"


def series_of(version: Version) -> tuple[int, int, int]:
    """Return the series of a version: the epoch and the first two parts."""
    return version.epoch, version.major, version.minor


def below_series(version: Version) -> str:
    """Return the first version of the series of a version."""
    return f"{_epoch(version)}{version.major}.{version.minor}"


def _epoch(version: Version) -> str:
    return f"{version.epoch}!" if version.epoch else ""


def permits(locked: str, version: str, level: Level) -> bool:
    """True if a level lets a package go from the locked version to another.

    Of several locked versions, one must be near enough. A version with a git commit is judged without the commit.
    """
    if level == "all":
        return True
    return all(any(_near(old, new, level) for old in locked.split(", ")) for new in version.split(", "))


def _near(locked: str, version: str, level: Level) -> bool:
    old, new = parse_version(locked.partition(" ")[0]), parse_version(version.partition(" ")[0])
    if old is None or new is None:
        return locked == version
    if (old.epoch, old.major) != (new.epoch, new.major) or new < old:
        return False
    return (level == "minor" and old.major > 0) or old.minor == new.minor


def newest(versions: Iterable[str]) -> str:
    """Return the newest version; texts that are not versions count as oldest. Raises ValueError without any."""
    found = list(versions)
    if len(found) == 1:
        return found[0]
    final = all(map(_FINAL.fullmatch, found))  # as most are; for others, `packaging` is imported
    return max(found, key=_order_of_final if final else order)


def order(version: str) -> tuple[bool, Version | str]:
    """Return the key by which versions are sorted; texts that are not versions come first."""
    found = parse_version(version)
    return (found is not None, found or version)


def is_newer(version: str, than: str) -> bool:
    """True if a version is newer, or if it differs and one of the two is not a version."""
    if _FINAL.fullmatch(version) and _FINAL.fullmatch(than):  # as most are; for others, `packaging` is imported
        return _order_of_final(version) > _order_of_final(than)
    new, old = parse_version(version), parse_version(than)
    return version != than if new is None or old is None else new > old


def is_older(version: str, than: str) -> bool:
    """True if a version is older; False if one of the two is not a version.

    Of several versions, for several platforms or Pythons, True if the lowest or the highest is older.
    """
    if _FINAL.fullmatch(version) and _FINAL.fullmatch(than):  # as most are; for others, `packaging` is imported
        return _order_of_final(version) < _order_of_final(than)
    new, old = versions_in(version), versions_in(than)
    return bool(new and old) and (new[0] < old[0] or new[-1] < old[-1])


def _order_of_final(version: str) -> tuple[list[int], int]:
    plain, _, post = version.partition(".post")
    return _plain_parts(plain), int(post or -1)


def _plain_parts(version: str) -> list[int]:
    parts = [int(part) for part in version.split(".")]
    while parts and not parts[-1]:  # 1.0 is 1.0.0
        parts.pop()
    return parts


def is_range(text: str) -> bool:
    """True if a text is a range of versions, such as `>=3.11`; empty admits all."""
    if _PLAIN_RANGE.fullmatch(text):
        return True
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # slow to import

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True


def admits_plainly(text: str, version: str) -> bool | None:
    """Return if a range admits a version; None for those that only `packaging` knows, which is slow to import."""
    if not _PLAIN.fullmatch(version) or (text and not _PLAIN_BOUNDS.fullmatch(text)):
        return None
    parts = _plain_parts(version)
    for sign, bound, post in _PLAIN_BOUND.findall(text):
        if sign in _EQUAL:  # a plain version is no post-release
            admitted = (not post and _plain_parts(bound) == parts) is _EQUAL[sign]
        elif post:
            return None
        else:
            admitted = _COMPARE[sign](parts, _plain_parts(bound))
        if not admitted:
            return False
    return True


Unknown = Literal["take", "refuse"]
_DAY = 86400
_ALWAYS = datetime.max.replace(tzinfo=UTC)
# As uv writes spans; a span with `ago` gets a sign, which has no meaning (seen with 0.13).
_SPAN = r"[+-]?P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?"
_SECONDS = (365 * _DAY, 30 * _DAY, 7 * _DAY, _DAY, 3600, 60, 1)
# As people write them, such as `1 week, 2 days ago`.
_PART = r"(\d+(?:\.\d+)?)\s*(w(?:(?:ee)?ks?)?|d(?:ays?)?|h(?:(?:ou)?rs?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?)"
_PARTS = rf"(?i)\+?\s*{_PART}(?:\s*,?\s*{_PART})*(?:\s+ago)?"
_UNITS = {"w": 7 * _DAY, "d": _DAY, "h": 3600, "m": 60, "s": 1}


class Uploads(Frozen):
    """The upload times of versions from package indexes, and the limits that the project itself sets."""

    #: When the first file of a name and version was uploaded; None if its index does not say. Packages from
    #: elsewhere, such as git, are not included.
    times: Mapping[tuple[str, str], datetime | None] = field(default_factory=dict)
    #: The same for the last file.
    last: Mapping[tuple[str, str], datetime | None] = field(default_factory=dict)
    #: `exclude-newer` of uv, and the same by package (None: no limit).
    limit: datetime | None = None
    limits: Mapping[str, datetime | None] = field(default_factory=dict)

    @functools.cached_property
    def without_time(self) -> tuple[tuple[str, str], ...]:
        """The names and versions whose index does not say when they were uploaded."""
        return tuple(one for one, time in self.times.items() if time is None)

    def times_of(self, name: str, version: str) -> list[datetime | None]:
        """Return the times of a version, or of several comma-separated ones, for each that comes from an index."""
        return [self.times[name, word] for word in version.split(", ") if (name, word) in self.times]

    def lacks(self, name: str, version: str) -> bool:
        """True if a version, or one of several, comes from an index that does not say when it was uploaded."""
        return None in self.times_of(name, version)

    def merge(self, other: Uploads) -> Uploads:
        """Add the times of another lock; the limits stay the same."""
        last = {key: max(filter(None, (self.last.get(key), time)), default=None) for key, time in other.last.items()}
        return replace(self, times={**other.times, **self.times}, last={**self.last, **last})

    def own_limit(self, name: str) -> datetime | None:
        """Return the time after which the project itself accepts no upload of a package; None without a limit."""
        return self.limits.get(name, self.limit)


class Age(Frozen):
    """How old versions must be, in seconds, at the time `now`; `packages` has other ages for some, by pattern."""

    least: float = 0.0
    packages: tuple[tuple[str, float], ...] = ()
    #: How updates treat versions whose index does not say the time.
    unknown: Unknown = "take"
    #: How old the fix of a vulnerability must be, if that is less.
    fixes: float = 0.0
    now: datetime = _ALWAYS

    @property
    def matters(self) -> bool:
        """True if any package must have some age."""
        return bool(self.least) or any(seconds for _, seconds in self.packages)

    def of(self, name: str) -> float:
        """Return how old the versions of a package must be, in seconds."""
        return look_up(name, self.packages, self.least)

    def for_fix(self, name: str) -> Age:
        """Return the ages that count for the fix of a package."""
        return replace(self, packages=((name, min(self.of(name), self.fixes)), *self.packages))

    def latest(self, name: str) -> datetime:
        """Return the latest permitted upload time of a package."""
        return self.now - timedelta(seconds=self.of(name))

    def objection(self, name: str, version: str, uploads: Uploads) -> str:
        """Explain why a version is too young; empty if it is not, or does not come from an index."""
        required, times = self.of(name), uploads.times_of(name, version)
        if not required or not times:
            return ""
        known = [time for time in times if time is not None]
        if len(known) < len(times):
            return "" if self.unknown == "take" else "its index does not say when it was uploaded"
        youngest = max(known)
        if youngest <= self.latest(name):
            return ""
        at = (youngest + timedelta(seconds=required)).astimezone(UTC)
        age = duration((self.now - youngest).total_seconds())
        return f"it is {age} old, and updates skip it until {at:%Y-%m-%d %H:%M} UTC"


def uploads_in(lock: LockFile, now: datetime) -> Uploads:
    """Read the upload times in a uv.lock. Spans of time, which uv counts back from its own run, count from `now`."""
    options = lock.content.get("options", {})
    own = options.get("exclude-newer-package", {})
    packages = [package for package in lock.packages if "registry" in package.get("source", {})]
    return Uploads(
        times=times_of(packages),
        last=times_of(packages, max),
        limit=_limit({"timestamp": options.get("exclude-newer"), "span": options.get("exclude-newer-span")}, now),
        limits={name: _limit(value, now) for name, value in own.items()},
    )


def limits_in_force(
    uploads: Uploads, settings: Iterable[Mapping[str, Any]], environ: Mapping[str, str], now: datetime
) -> Uploads:
    """Return uploads with the limits that uv would apply: those in its settings, of which the first value counts.

    uv drops a limit that only the lock has. If only uv understands a setting, such as `1 month ago`, its value comes
    from the lock, into which uv has written it.
    """
    by_package: dict[str, Any] = {}
    general = environ.get("UV_EXCLUDE_NEWER") or None
    for setting in settings:
        general = general if general is not None else setting.get("exclude-newer")
        table = setting.get("exclude-newer-package")
        own = table if isinstance(table, dict) else {}
        by_package = {**{normalize_name(name): value for name, value in own.items()}, **by_package}
    limits: dict[str, datetime | None] = {}
    for name, value in by_package.items():
        limit = None if value is False else _configured(value, now) or uploads.limits.get(name)
        if value is False or limit is not None:
            limits[name] = limit
    limit = None if general is None else _configured(general, now) or uploads.limit
    return replace(uploads, limit=limit, limits=limits)


def _configured(value: Any, now: datetime) -> datetime | None:
    """Parse a limit as people write it; None if only uv understands it."""
    if isinstance(value, dict):
        return _limit(value, now)
    text = str(value).strip()
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):  # to the end of that day
        day = _time(text)
        return None if day is None else day.replace(tzinfo=None).astimezone() + timedelta(days=1)
    if re.fullmatch(_PARTS, text):
        return now - timedelta(
            seconds=sum(float(number) * _UNITS[unit[0].lower()] for number, unit in re.findall(f"(?i){_PART}", text))
        )
    return _limit({"span": text, "timestamp": text}, now)


def files_of(package: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the source and the wheels of a package of a uv.lock or a pylock.toml."""
    return [*([package["sdist"]] if "sdist" in package else []), *package.get("wheels", ())]


def times_of(
    packages: Iterable[Mapping[str, Any]], pick: Callable[[list[datetime]], datetime] = min
) -> dict[tuple[str, str], datetime | None]:
    """Return when the packages of a uv.lock, or of a pylock.toml, were uploaded, by name and version.

    `pick` chooses among the files: the first one, or by `max` the last.
    """
    found: dict[tuple[str, str], datetime | None] = {}
    for package in packages:
        times = [time for file in files_of(package) if (time := _time(file.get("upload-time"))) is not None]
        found[package["name"], str(package.get("version", "unknown"))] = pick(times) if times else None
    return found


def _limit(value: Any, now: datetime) -> datetime | None:
    if not isinstance(value, dict):
        return _time(value)
    span = str(value.get("span") or "")
    found = re.fullmatch(_SPAN, span) if span else None
    if found is None or not any(found.groups()):
        time = _time(value.get("timestamp"))
        return None if time is None or time.year == 1 else time  # which uv writes with a span, and which has no meaning
    return now - timedelta(
        seconds=sum(float(number or 0) * unit for number, unit in zip(found.groups(), _SECONDS, strict=True))
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
