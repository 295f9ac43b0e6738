"""Gates: which version of a package may come in, and how to ask a resolver for versions that may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from releaser.locking.age import Age
from releaser.locking.policy import (
    Upgrade,
    below_series,
    ceiling,
    is_newer,
    is_older,
    parsed,
    permits,
    series_of,
    versions_in,
)
from releaser.locking.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from packaging.version import Version

By = Literal["person", "ignore", "activation", "tests", "policy", "age", "downgrade"]
# How a package is kept from versions that failed: at what is live; not below it; only away from these versions.
Strictness = Literal["stay", "floor", "avoid"]
# How a fix comes in early: in a version that is old enough; in exactly the version of the fix; in any from there on.
Way = Literal["aged", "exact", "any"]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A version that may not come in, by which gate, why, and since when (an ISO time) if that is known."""

    name: str
    version: str
    by: By
    reason: str
    since: str = ""
    #: Whether it does not come in only because its turn is later.
    waits: bool = False


@dataclass(frozen=True, kw_only=True)
class Held:
    """A package that a person holds."""

    name: str
    reason: str
    since: str


@dataclass(frozen=True, kw_only=True)
class Barred:
    """A version that failed before: `by` says whether in the tests or after it went live."""

    name: str
    version: str
    by: Literal["activation", "tests"]
    reason: str
    since: str
    #: When one that is newer may be tried, as ISO 8601; empty if that is now.
    newer_from: str = ""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """All that says which versions may come in.

    `locked` are the versions in the checkout's lock, `live` those of the live release, `local` the packages that are
    part of the checkout, `demanded` the versions that the project's own dependencies ask for instead of locked ones.
    `early` maps packages to the version that fixes a vulnerability. The policy begins to count there, and from there on
    no age is asked for, unless `early_as` says of a package that it has to be old enough all the same.
    """

    locked: Mapping[str, str]
    live: Mapping[str, str] = field(default_factory=dict)
    local: frozenset[str] = frozenset()
    demanded: Mapping[str, str] = field(default_factory=dict)
    held: tuple[Held, ...] = ()
    ignored: tuple[str, ...] = ()
    barred: tuple[Barred, ...] = ()
    upgrade: Upgrade = field(default_factory=Upgrade)
    age: Age = field(default_factory=Age)
    early: Mapping[str, str] = field(default_factory=dict)
    early_as: Mapping[str, Way] = field(default_factory=dict)
    #: At which versions packages are to stay, as something else is tried.
    stay: Mapping[str, str] = field(default_factory=dict)
    #: Packages of which a version that is just older than one that failed is no worse than others.
    near: frozenset[str] = frozenset()

    def base(self, name: str) -> str | None:
        """Return the version that a package goes up from, None for one that is new."""
        return self.demanded.get(name, self.locked.get(name))

    def held_at(self, name: str) -> str | None:
        """Return the version that a person holds a package at; None for one that nobody holds."""
        if not any(one.name == name for one in self.held):
            return None
        return self.live.get(name, self.locked.get(name))

    def ignores(self, name: str) -> bool:
        """Whether a package is to be left as it is locked."""
        return name in self.locked and any(fnmatchcase(name, pattern) for pattern in self.ignored)

    def bad_versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a package that failed before."""
        return tuple(one.version for one in self.barred if one.name == name)

    def faults(self, found: Mapping[str, str], uploads: Uploads) -> dict[str, Kept]:
        """Return what may not come in of the versions that a resolver found, by package."""
        kept = (self._fault(name, version, uploads) for name, version in sorted(found.items()))
        return {one.name: one for one in kept if one is not None}

    def _fault(self, name: str, version: str, uploads: Uploads) -> Kept | None:
        if name in self.local or self._is_where_it_has_to_stay(name, version):
            return None
        return (
            self._held(name, version)
            or self._staying(name, version)
            or self._barred(name, version)
            or self._unwelcome(name, version, uploads)
        )

    def _is_where_it_has_to_stay(self, name: str, version: str) -> bool:
        """Whether a version is the one to stay at, be it newer or older than what is locked."""
        return version == self.held_at(name) or (bool(self.bad_versions(name)) and version == self.live.get(name))

    def _held(self, name: str, version: str) -> Kept | None:
        if self.held_at(name) is None:
            return None
        hold = next(one for one in self.held if one.name == name)
        return Kept(name=name, version=version, by="person", reason=hold.reason, since=hold.since)

    def _staying(self, name: str, version: str) -> Kept | None:
        if version == self.stay.get(name, version):
            return None
        failed = " and ".join(self.bad_versions(name)) or "another one"
        reason = f"it is tried another night: {failed} failed, and one such package is tried at a time"
        return Kept(name=name, version=version, by="tests", reason=reason)

    def _barred(self, name: str, version: str) -> Kept | None:
        """Find fault with a version that failed, or that one which failed tells something about.

        An older one of the same series is no substitute for it, and a newer one may have to wait for its turn. After a
        version was backed out, nobody has said that the tests would find out about others: only those of the series
        that is live come in below it.
        """
        bars = [one for one in self.barred if one.name == name]
        several = version.split(", ")
        failed = [one for one in bars if one.version in several]
        if failed:
            bar = failed[-1]
            return Kept(name=name, version=version, by=bar.by, reason=bar.reason, since=bar.since)
        if not bars or version == self.demanded.get(name):
            return None
        others = set(several).difference(self.live.get(name, "").split(", "))
        found = (self._barred_by(bars, other) for other in sorted(others))
        return next((replace(one, version=version) for one in found if one is not None), None)

    def _barred_by(self, bars: Sequence[Barred], version: str) -> Kept | None:
        for bar in reversed(bars):
            reason = "" if self._is_near(bar.name, version, bars) else self._what_it_says(bar, version)
            if reason:
                return Kept(name=bar.name, version=version, by=bar.by, reason=reason, since=bar.since)
        versions = [one.version for one in bars]
        waits = [one for one in bars if one.newer_from and follows(version, one.version, versions)]
        last = waits[-1] if waits else None
        if last is None or (last.name in self.early and not is_older(version, self.early[last.name])):
            return None
        reason = f"{last.version} failed when it was tried last; the next try is from {last.newer_from[:10]} on"
        return Kept(name=last.name, version=version, by=last.by, reason=reason, since=last.since, waits=True)

    def _is_near(self, name: str, version: str, bars: Sequence[Barred]) -> bool:
        """Whether a version is to be tried although one of its series has failed: it is older than all that have."""
        return name in self.near and all(one.by == "tests" and is_older(version, one.version) for one in bars)

    def _what_it_says(self, bar: Barred, version: str) -> str:
        """Say why a version that has not failed is no better than one that has; empty if nobody knows."""
        new, bad = parsed(version), parsed(bar.version)
        if new is None or bad is None:
            return "" if is_newer(version, bar.version) else f"{bar.version} failed ({bar.reason})"
        if new > bad:
            return ""
        if series_of(new) == series_of(bad):
            return f"it is older than {bar.version}, which failed: {bar.reason}"
        live = versions_in(self.live.get(bar.name, ""))
        if bar.by == "activation" and series_of(new) not in {series_of(one) for one in live}:
            return f"it is older than {bar.version}, which was backed out: {bar.reason}"
        return ""

    def _unwelcome(self, name: str, version: str, uploads: Uploads) -> Kept | None:
        base = self.base(name)
        if version == self.locked.get(name):
            return None
        if base is not None and version != base:
            if self.ignores(name):
                return Kept(name=name, version=version, by="ignore", reason="`ignore` names it")
            if is_older(version, base):
                return Kept(name=name, version=version, by="downgrade", reason=f"it is older than {base}")
            if not permits(self._start(name) or base, version, self.upgrade.of(name)):
                return Kept(name=name, version=version, by="policy", reason=self._policy_reason(name, base))
        if name in self._ageless and not is_older(version, self.early[name]):
            return None
        too_young = self.age.objection(name, version, uploads)
        return Kept(name=name, version=version, by="age", reason=too_young) if too_young else None

    @property
    def _ageless(self) -> frozenset[str]:
        """The packages that may come in at their fix however young it is."""
        return frozenset(name for name in self.early if self.early_as.get(name) != "aged")

    def _policy_reason(self, name: str, base: str) -> str:
        level = self.upgrade.of(name)
        below_one = level == "minor" and base.startswith("0.")
        return f'`upgrade = "{level}"` keeps it out' + (
            ", as below 1.0 the second part counts as the first" * below_one
        )

    def bounds(
        self, found: Mapping[str, str], uploads: Uploads, *, strictness: Strictness = "stay"
    ) -> dict[str, str | None]:
        """Say what the version of each package must satisfy so that it may come in; None leaves it as it is locked.

        `found` is what came out without bounds. With strictness `avoid`, nothing keeps packages from going down.
        """
        faults = self.faults(found, uploads)
        names = sorted({*found, *self.locked} - self.local)
        return {name: self._bound(name, found.get(name), faults.get(name), uploads, strictness) for name in names}

    def _bound(
        self, name: str, found: str | None, fault: Kept | None, uploads: Uploads, strictness: Strictness
    ) -> str | None:
        fixed = self._fixed(name, fault, strictness)
        if fixed is not None:
            return f"=={fixed}" if parsed(fixed) and (found is None or parsed(found)) else None
        if fault is not None and fault.by in ("activation", "tests") and strictness == "stay":
            lower = self.below(fault)
            if lower is not None:
                return ",".join(dict.fromkeys([*lower.split(","), *self._range(name, None, uploads, strictness)]))
        base = self.base(name)
        if base is not None and not versions_in(base):
            return None if fault else ""
        plain = found if found is not None and parsed(found) else None
        return ",".join(self._range(name, plain, uploads, strictness))

    def _fixed(self, name: str, fault: Kept | None, strictness: Strictness) -> str | None:
        """Return the version that a package has to stay at, None if it may go up."""
        held = self.held_at(name)
        if held is not None:
            return held
        if name in self.stay:
            return self.stay[name]
        if fault is not None and fault.by in ("activation", "tests") and strictness == "stay":
            live = self.live.get(name)
            if len(versions_in(live or "")) < 2 and self.below(fault) is None:  # of several, others may go up
                return live
        return self.base(name) if self.ignores(name) else None

    def below(self, fault: Kept) -> str | None:
        """Return the bound below which there may be something newer than what is live; None if there is nothing.

        After a version was backed out, that is the series that is live, else the next lower one.
        """
        found, live = parsed(fault.version), parsed(self.live.get(fault.name, ""))
        if found is None or live is None or fault.name in self.stay or found <= live:
            return None
        if fault.name in self.near and fault.by == "tests":
            failed = filter(None, (parsed(one.version) for one in self.barred if one.name == fault.name))
            return f">={live.public},<{min(failed).public}"
        if series_of(found) <= series_of(live):
            return None
        if fault.by == "activation":
            return f">={live.public},<{ceiling(live, 'patch')}"
        return f">={live.public},<{below_series(found)}"

    def _range(self, name: str, found: str | None, uploads: Uploads, strictness: Strictness) -> Iterator[str]:
        bad = [version for version in self.bad_versions(name) if parsed(version)]
        start = versions_in(self._start(name) or "")
        if self.early_as.get(name) == "exact":
            yield f"=={self.early[name]}"
        elif start:
            floor = start[0]
            if strictness != "avoid" and str(floor) not in bad and not self._is_beyond(name, floor):
                yield f">={floor.public}"
            limit = ceiling(start[-1], self.upgrade.of(name))
            if limit is not None:
                yield f"<{limit}"
            if found and not is_older(found, str(floor)) and self._may_stray(name, floor, uploads):
                yield f"<={found}"
        yield from (f"!={version}" for version in bad)

    def _is_beyond(self, name: str, floor: Version) -> bool:
        """Whether what is locked came in after what is live, and failed; or is of a series that did."""
        return self._barred(name, str(floor)) is not None and is_older(self.live.get(name, ""), str(floor))

    def _start(self, name: str) -> str | None:
        """Return what a package goes up from, which is its fix if that is the newer one."""
        base, fix = self.base(name), self.early.get(name)
        return fix if base and fix and is_newer(fix, base) else base

    def _may_stray(self, name: str, floor: Version, uploads: Uploads) -> bool:
        """Whether a bound on what was found is needed.

        uv takes the pre-release in a bound for leave to take others, and a file without a time is within no cut.
        """
        base = self.locked.get(name)
        return floor.is_prerelease or bool(self.age.of(name) and base and uploads.lacks(name, base))

    def cuts(self, found: Mapping[str, str], uploads: Uploads) -> dict[str, datetime]:
        """Return the times after which versions of each package may not have been uploaded.

        What is locked already stays in reach, however young it is.
        """
        cuts: dict[str, datetime] = {}
        for name in sorted({*found, *self.locked} - self.local - self._ageless):
            if self.held_at(name) is None and not self.ignores(name):
                cut = self._cut(name, found.get(name), uploads)
                if cut is not None:
                    cuts[name] = cut
        return cuts

    def _cut(self, name: str, found: str | None, uploads: Uploads) -> datetime | None:
        locked, own = self.locked.get(name), uploads.own_limit(name)
        unknown = found is not None and uploads.lacks(name, found)
        if not self.age.of(name) or (unknown and self.age.unknown == "take"):
            return None
        cut = self.age.latest(name) if own is None else min(self.age.latest(name), own)
        if locked is None:
            return cut
        since = [uploads.times.get((name, one)) for one in locked.split(", ")]
        # What is locked would be out of reach if nobody knows its time; uv takes what was uploaded before, not at, one.
        return max([cut, *(time + timedelta(seconds=1) for time in since if time)]) if all(since) else None


def follows(version: str, failed: str, others: Sequence[str]) -> bool:
    """Whether a version is the next try after one that failed: of its series, or newer than all that failed."""
    new, bad = parsed(version), parsed(failed)
    if new is None or bad is None:
        return version != failed
    return new > bad and (series_of(new) == series_of(bad) or all(is_newer(version, other) for other in others))
