"""The rules that say which versions may come in: holds, policy, age, and what was rejected before."""

from __future__ import annotations

from dataclasses import field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from releaser.locks.blocks import Block
from releaser.locks.versions import (
    Age,
    Upgrade,
    Uploads,
    below_series,
    ceiling,
    is_newer,
    is_older,
    parse_version,
    permits,
    series_of,
    versions_in,
)
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.version import Version

# How a package is kept from rejected versions: at what is live; not below it; only away from these versions.
Strictness = Literal["pinned", "no_downgrade", "exclude_only"]
REJECTED = ("activation", "tests")


class Limit(Frozen):
    """What a file of constraints says of a package, and in which line."""

    specifier: str
    source: str

    def also(self, other: Limit) -> Limit:
        """Return what both say together."""
        return Limit(specifier=f"{self.specifier},{other.specifier}", source=f"{self.source}, {other.source}")


class Packages(Frozen):
    """Where packages stand, from which an update goes up; they map to versions as a lock shows them."""

    #: What the lock of the checkout has, and what the live release has.
    locked: Mapping[str, str]
    live: Mapping[str, str] = field(default_factory=dict)
    #: The packages that are part of the checkout; no rule is about them.
    local: frozenset[str] = frozenset()
    #: The versions that the project's own dependencies ask for instead of the locked ones.
    demanded: Mapping[str, str] = field(default_factory=dict)
    #: The locked packages that come as source alone.
    sources: frozenset[str] = frozenset()

    def live_version(self, name: str) -> str:
        """Return the version that is live; empty for none."""
        return self.live.get(name, "")


class Policy(Frozen):
    """What the settings say of versions."""

    upgrade: Upgrade = field(default_factory=Upgrade)
    age: Age = field(default_factory=Age)
    #: The patterns of `ignore`.
    ignored: tuple[str, ...] = ()
    #: What a file of constraints says. All else but a hold gives way to it, and so does what is locked.
    limits: Mapping[str, Limit] = field(default_factory=dict)


class Rules(Frozen):
    """All that says which versions may come in."""

    packages: Packages
    policy: Policy = field(default_factory=Policy)
    #: The packages that a person holds.
    held: tuple[Block, ...] = ()
    #: The versions that failed, `by` the tests or after they went live, oldest first.
    rejected: tuple[Block, ...] = ()
    #: The versions that fix a vulnerability: exactly these come in, and `upgrade` and `age` do not count for them.
    fixes: Mapping[str, str] = field(default_factory=dict)
    #: The packages that an update is to bring, with what these need; empty for all.
    only: frozenset[str] = frozenset()

    @property
    def unasked(self) -> frozenset[str]:
        """The locked packages that stay, unless one that is to come needs another version."""
        return frozenset(self.packages.locked) - self.only - self.packages.local if self.only else frozenset()

    def base(self, name: str) -> str | None:
        """Return the version that a package goes up from, None for one that is new."""
        base = self.packages.demanded.get(name, self.packages.locked.get(name))
        return None if base is not None and self.beyond(name, base) else base

    def beyond(self, name: str, version: str) -> str:
        """Say which constraint keeps a version out; empty if none does."""
        from packaging.specifiers import SpecifierSet

        limit = self.policy.limits.get(name) if name not in self.packages.local else None
        if limit is None or all(one in SpecifierSet(limit.specifier, prereleases=True) for one in versions_in(version)):
            return ""
        return f"constrained by {limit.source}: {name}{limit.specifier}"

    def held_at(self, name: str) -> str | None:
        """Return the version that a person holds a package at; None for one that nobody holds."""
        if not any(one.name == name for one in self.held):
            return None
        return self.packages.live.get(name, self.packages.locked.get(name))

    def keeps(self, name: str) -> bool:
        """Whether a person keeps a package as it is."""
        return self.held_at(name) is not None or self.ignores(name)

    def ignores(self, name: str) -> bool:
        """Whether a package is to be left as it is locked."""
        return name in self.packages.locked and any(fnmatchcase(name, pattern) for pattern in self.policy.ignored)

    def rejected_versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a package that failed before."""
        return tuple(one.version for one in self.rejected if one.name == name)

    # Judging versions

    def find_withheld(self, found: Mapping[str, str], uploads: Uploads) -> dict[str, Block]:
        """Return what may not come in of the versions that a resolver found, by package."""
        return {
            name: withheld
            for name, version in sorted(found.items())
            if (withheld := self._withhold(name, version, uploads)) is not None
        }

    def _withhold(self, name: str, version: str, uploads: Uploads) -> Block | None:
        held_at, has_failed = self.held_at(name), bool(self.rejected_versions(name))
        stays = has_failed and version == self.packages.live.get(name) and not self.beyond(name, version)
        if name in self.packages.local or version == held_at or stays:
            return None  # it is where it has to stay, be that newer or older than what is locked
        if held_at is not None:
            return replace(next(one for one in self.held if one.name == name), version=version)
        return self._reject(name, version) or self._refuse(name, version, uploads)

    def _reject(self, name: str, version: str) -> Block | None:
        """Withhold a version that failed, or an older one that is no substitute for it.

        After a version was rolled back, nobody has said that the tests would notice what is wrong with others: the
        package stays where it is, or where the committed lock has it, until a newer version than that one appears.
        """
        rejected = [one for one in self.rejected if one.name == name]
        several = version.split(", ")
        failed = [one for one in rejected if one.version in several]
        if failed:
            return replace(failed[-1], version=version)
        # What is live has to go itself where a constraint keeps it out: then no other version is judged by its series.
        live = self.packages.live_version(name)
        if not rejected or version == self.packages.demanded.get(name) or self.beyond(name, live):
            return None
        others = sorted(set(several).difference(live.split(", ")))
        found = (self._reject_like(rejected, other) for other in others)
        return next((replace(one, version=version) for one in found if one is not None), None)

    def _reject_like(self, rejected: Sequence[Block], version: str) -> Block | None:
        for one in reversed(rejected):
            if reason := self._what_it_says(one, version):
                return replace(one, reason=reason)
        return None

    def _what_it_says(self, rejected: Block, version: str) -> str:
        """Say why a version that has not failed is no better than one that has; empty if nobody knows."""
        new, bad = parse_version(version), parse_version(rejected.version)
        if new is None or bad is None:
            return "" if is_newer(version, rejected.version) else f"{rejected.version} failed ({rejected.reason})"
        if new > bad:
            return ""
        if rejected.by == "activation":
            is_chosen = version in self.packages.locked.get(rejected.name, "").split(", ")
            older = f"it is older than {rejected.version}, which was rolled back: {rejected.reason}"
            return "" if is_chosen else older
        if series_of(new) == series_of(bad) and not self._is_first_of_live_series(rejected):
            return f"it is older than {rejected.version}, which failed: {rejected.reason}"
        return ""

    def _is_first_of_live_series(self, rejected: Block) -> bool:
        """Whether a version is the only one of the live series with which the tests have failed.

        There, nothing lower than the series is left, so the version just older than that gets one try.
        """
        live = parse_version(self.packages.live_version(rejected.name))
        if live is None or rejected.by != "tests":
            return False
        failed = [bad for one in self.rejected_versions(rejected.name) if (bad := parse_version(one))]
        return [series_of(bad) for bad in failed if bad > live].count(series_of(live)) == 1

    def _refuse(self, name: str, version: str, uploads: Uploads) -> Block | None:
        """Withhold a version for what the settings say of it."""
        base, is_fix, locked = self.base(name), self._is_fix(name, version), self.packages.locked.get(name)
        if (beyond := self.beyond(name, version)) and not (version == locked and name in self.unasked):
            return Block(name=name, version=version, by="constraint", reason=beyond)
        if version == locked:
            return None
        if base is not None and version != base:
            if self.ignores(name):
                return Block(name=name, version=version, by="ignore", reason="`ignore` names it")
            if is_older(version, base):
                return Block(name=name, version=version, by="downgrade", reason=f"it is older than {base}")
            level = self.policy.upgrade.of(name)
            if not is_fix and not permits(base, version, level):
                below_one = ", as below 1.0 the second part counts as the first"
                why = f'`upgrade = "{level}"` keeps it out{below_one * (level == "minor" and base.startswith("0."))}'
                return Block(name=name, version=version, by="policy", reason=why)
        too_young = (self.policy.age.for_fix(name) if is_fix else self.policy.age).objection(name, version, uploads)
        return Block(name=name, version=version, by="age", reason=too_young) if too_young else None

    def _is_fix(self, name: str, version: str) -> bool:
        fix = parse_version(self.fixes.get(name, ""))
        return fix is not None and parse_version(version) == fix

    # Asking a resolver for versions that may come in

    def specifiers(
        self, found: Mapping[str, str], uploads: Uploads, *, strictness: Strictness = "pinned"
    ) -> dict[str, str | None]:
        """Say what the version of each package must satisfy so that it may come in; None leaves it as it is locked.

        `found` is what came out of a resolution without any of these.
        """
        withheld = self.find_withheld(found, uploads)
        names = sorted({*found, *self.packages.locked} - self.packages.local)
        return {name: self._specifier(name, found.get(name), withheld.get(name), uploads, strictness) for name in names}

    def _specifier(
        self, name: str, found: str | None, withheld: Block | None, uploads: Uploads, strictness: Strictness
    ) -> str | None:
        is_pinned = withheld is not None and withheld.by in REJECTED and strictness == "pinned"
        below = self.below(withheld) if is_pinned and withheld else None
        fixed = self._fixed_version(name, falls_back=is_pinned and below is None)
        if fixed is not None:
            return f"=={fixed}" if parse_version(fixed) and (found is None or parse_version(found)) else None
        if below is not None:
            return ",".join(dict.fromkeys([*below.split(","), *self._range(name, None, uploads, strictness)]))
        if name in self.unasked:
            return None
        base = self.base(name)
        if base is not None and not versions_in(base):
            return None if withheld else ""
        plain = found if found is not None and parse_version(found) else None
        return ",".join(self._range(name, plain, uploads, strictness))

    def _fixed_version(self, name: str, *, falls_back: bool) -> str | None:
        """Return the version that a package has to stay at, None if it may go up."""
        held = self.held_at(name)
        if held is not None:
            return held
        live = self.packages.live_version(name)
        if falls_back and len(versions_in(live)) < 2 and not self.beyond(name, live):  # of several, others may go up
            return live or None
        return self.base(name) if self.ignores(name) else None

    def below(self, withheld: Block) -> str | None:
        """Return the specifier of what is below a rejected version and newer than what is live; None if nothing is.

        After a version was rolled back, nothing below it comes in.
        """
        found, live = parse_version(withheld.version), parse_version(self.packages.live_version(withheld.name))
        if found is None or live is None or found <= live or withheld.by == "activation":
            return None
        if series_of(found) > series_of(live):
            return f">={live.public},<{below_series(found)}"
        return f">={live.public},<{found.public}" if self._is_first_of_live_series(withheld) else None

    def _range(self, name: str, found: str | None, uploads: Uploads, strictness: Strictness) -> Iterator[str]:
        bad = [version for version in self.rejected_versions(name) if parse_version(version)]
        base = versions_in(self.base(name) or "")
        if name in self.policy.limits:
            yield self.policy.limits[name].specifier
        if name in self.fixes:
            yield f"=={self.fixes[name]}"
        elif base:
            floor = base[0]
            # Whether what is locked came in after what is live, and failed; or is of a series that did.
            live = self.packages.live_version(name)
            is_beyond = self._reject(name, str(floor)) is not None and is_older(live, str(floor))
            if strictness != "exclude_only" and str(floor) not in bad and not is_beyond:
                yield f">={floor.public}"
            limit = ceiling(base[-1], self.policy.upgrade.of(name))
            if limit is not None:
                yield f"<{limit}"
            if found and not is_older(found, str(floor)) and self._may_stray(name, floor, uploads):
                yield f"<={found.partition('+')[0]}"  # in which uv takes no local part
        yield from (f"!={version}" for version in bad)

    def _may_stray(self, name: str, floor: Version, uploads: Uploads) -> bool:
        """Whether what was found has to be the upper bound.

        uv takes the pre-release in a bound for leave to take others, and a file without a time is in reach of no limit.
        """
        base = self.packages.locked.get(name)
        tells = any(time is not None for (one, _), time in uploads.times.items() if one == name)
        return floor.is_prerelease or bool(self.policy.age.of(name) and base and uploads.lacks(name, base) and tells)


def explain(rules: Rules, name: str, version: str, uploads: Uploads) -> Iterator[Block]:
    """Yield everything that keeps a version out, and not only the first: each rule is lifted, and the others asked."""
    while (found := rules.find_withheld({name: version}, uploads).get(name)) is not None and found.by != "downgrade":
        yield found
        lifted: dict[str, Any] = {"rejected": tuple(one for one in rules.rejected if one.by != found.by)}
        settings: dict[str, dict[str, Any]] = {
            "person": {"held": ()},
            "ignore": {"policy": replace(rules.policy, ignored=())},
            "policy": {"policy": replace(rules.policy, upgrade=Upgrade())},
            "age": {"policy": replace(rules.policy, age=Age())},
            "constraint": {"policy": replace(rules.policy, limits={})},
        }
        rules = replace(rules, **settings.get(found.by, lifted))
