"""The rules that say which versions of packages may come in, and what they come to for a resolver.

To add one, write a `Rule`, and see capabilities.py.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import field
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from releaser.capabilities import make
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
    from collections.abc import Iterable, Iterator, Mapping

    from packaging.version import Version

#: How a package is kept from versions that failed: at what is live; not below it; only away from these versions.
Strictness = Literal["pinned", "no_downgrade", "exclude_only"]
#: What the blocks of versions that failed are by.
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
        blocks = ((name, self.blocks(name, version, uploads)) for name, version in sorted(found.items()))
        return {name: first for name, each in blocks if (first := next(each, None)) is not None}

    def blocks(self, name: str, version: str, uploads: Uploads) -> Iterator[Block]:
        """Yield what the rules say against a version, the most important first."""
        stays = version == self.packages.live.get(name) and self.rejected_versions(name)
        if name in self.packages.local or version == self.held_at(name) or (stays and not self.beyond(name, version)):
            return  # it is where it has to stay, be that newer or older than what is locked
        wanted = Wanted(name=name, version=version, rules=self, uploads=uploads)
        yield from filter(None, (rule.block(wanted) for rule in RULES))

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
        below = find_below(self, withheld) if is_pinned and withheld else None
        fixed = self._fixed_version(name, falls_back=is_pinned and below is None)
        if fixed is not None:
            return f"=={fixed}" if parse_version(fixed) and (found is None or parse_version(found)) else None
        base = self.base(name)
        if below is None:
            if name in self.unasked:
                return None
            if base is not None and not versions_in(base):
                return None if withheld else ""
        version = found if found is not None and below is None else ""
        wanted = Wanted(name=name, version=version, rules=self, uploads=uploads, strictness=strictness)
        demands = [below or "", *(rule.specifier(wanted) for rule in RULES)]
        parts = dict.fromkeys(part for one in demands for part in one.split(",") if part)
        return ",".join(sorted(parts, key=lambda one: one.startswith("!=")))

    def _fixed_version(self, name: str, *, falls_back: bool) -> str | None:
        """Return the version that a package has to stay at, None if it may go up."""
        held = self.held_at(name)
        if held is not None:
            return held
        live = self.packages.live_version(name)
        if falls_back and len(versions_in(live)) < 2 and not self.beyond(name, live):  # of several, others may go up
            return live or None
        return self.base(name) if self.ignores(name) else None


class Wanted(Frozen):
    """A version of a package that a resolver has found; empty where it has found none."""

    name: str
    version: str
    #: All that is known of the site.
    rules: Rules
    #: When versions were uploaded.
    uploads: Uploads
    strictness: Strictness = "pinned"

    @property
    def base(self) -> str | None:
        """The version that the package goes up from; None for a new one."""
        return self.rules.base(self.name)

    @property
    def is_locked(self) -> bool:
        """Whether the lock of the checkout has the very version."""
        return self.version == self.rules.packages.locked.get(self.name)

    @property
    def is_move(self) -> bool:
        """Whether the package moves from another version to this one."""
        return self.base not in (None, self.version)

    @property
    def is_fix(self) -> bool:
        """Whether the version fixes a vulnerability, and so may come in early."""
        fix = self.rules.fixes.get(self.name)
        version = parse_version(self.version) if fix else None
        return version is not None and version == parse_version(fix or "")

    @property
    def range(self) -> tuple[Version, ...]:
        """The versions that the package goes up from, lowest first; none if it is new, or is to come as a fix."""
        return versions_in(self.base or "") if self.name not in self.rules.fixes else ()


class Rule(ABC):
    """Says which versions may come in. Subclasses override what differs."""

    #: The word for it in `by` of what is on hold.
    name: str
    #: Whether it may object to a version that is locked already, which mostly stays.
    judges_locked = False

    def objection(self, wanted: Wanted) -> str:
        """Say why a version may not come in; empty if it may."""
        return ""

    def block(self, wanted: Wanted) -> Block | None:
        """Return the objection with all that is known of it; None without one."""
        reason = self.objection(wanted) if self.judges_locked or not wanted.is_locked else ""
        return Block(name=wanted.name, version=wanted.version, by=self.name, reason=reason) if reason else None

    def specifier(self, wanted: Wanted) -> str:
        """Say for uv what the version of a package must satisfy, such as `<2`; empty for no demand.

        `wanted` is what uv has found without that. What is locked, `wanted.base`, must satisfy it, too.
        """
        return ""


# The rules


class Held(Rule):
    """A package that a person holds stays at the version that is live."""

    name = "person"

    def block(self, wanted: Wanted) -> Block | None:
        """Return the hold."""
        held = next((one for one in wanted.rules.held if one.name == wanted.name), None)
        if held is None or wanted.rules.held_at(wanted.name) in (None, wanted.version):
            return None
        return Block(name=held.name, version=wanted.version, by=self.name, reason=held.reason, since=held.since)


class Failed(Rule):
    """No version comes in that failed, or that is older than one that did and no substitute for it.

    Its blocks are `by` the tests or the rollback (`activation`) that the site knows of.
    """

    name = "tests"

    def block(self, wanted: Wanted) -> Block | None:
        """Return the failure that keeps a version out."""
        return find_rejection(wanted.rules, wanted.name, wanted.version)

    def specifier(self, wanted: Wanted) -> str:
        """Exclude each version that failed."""
        versions = wanted.rules.rejected_versions(wanted.name)
        return ",".join(f"!={version}" for version in versions if parse_version(version))


class Constraint(Rule):
    """The file that the setting `constraints` names has the last word, but for holds."""

    name = "constraint"
    judges_locked = True

    def objection(self, wanted: Wanted) -> str:
        """Object to what the file excludes; a package that nobody asked for may stay there."""
        is_left = wanted.is_locked and wanted.name in wanted.rules.unasked
        return "" if is_left else wanted.rules.beyond(wanted.name, wanted.version)

    def specifier(self, wanted: Wanted) -> str:
        """Pass on what the file says."""
        limit = wanted.rules.policy.limits.get(wanted.name)
        return limit.specifier if limit is not None else ""


class Ignored(Rule):
    """A package that the setting `ignore` names stays at the version that is locked."""

    name = "ignore"

    def objection(self, wanted: Wanted) -> str:
        """Object to every other version."""
        return "`ignore` names it" if wanted.is_move and wanted.rules.ignores(wanted.name) else ""


class Downgrade(Rule):
    """No package goes down."""

    name = "downgrade"

    def objection(self, wanted: Wanted) -> str:
        """Object to what is older."""
        base = wanted.base
        return f"it is older than {base}" if base and wanted.is_move and is_older(wanted.version, base) else ""

    def specifier(self, wanted: Wanted) -> str:
        """Ask for what is locked, or for anything newer.

        That is no floor if it failed, or came in after what is live and is of a series that failed.
        """
        if not wanted.range or wanted.strictness == "exclude_only":
            return ""
        floor, rules, name = wanted.range[0], wanted.rules, wanted.name
        came_after = is_older(rules.packages.live_version(name), str(floor))
        has_failed = str(floor) in rules.rejected_versions(name)
        if has_failed or (came_after and find_rejection(rules, name, str(floor)) is not None):
            return ""
        return f">={floor.public}"


class Level(Rule):
    """The setting `upgrade` says how far a package may go at once; what fixes a vulnerability may go further."""

    name = "policy"

    def objection(self, wanted: Wanted) -> str:
        """Object to what is further away."""
        base = wanted.base
        if base is None or not wanted.is_move or wanted.is_fix:
            return ""
        level = wanted.rules.policy.upgrade.of(wanted.name)
        if permits(base, wanted.version, level):
            return ""
        below_one = ", as below 1.0 the second part counts as the first"
        return f'`upgrade = "{level}"` keeps it out{below_one * (level == "minor" and base.startswith("0."))}'

    def specifier(self, wanted: Wanted) -> str:
        """Ask for less than the next such step, or for the very version that is a fix."""
        if fix := wanted.rules.fixes.get(wanted.name):
            return f"=={fix}"
        limit = ceiling(wanted.range[-1], wanted.rules.policy.upgrade.of(wanted.name)) if wanted.range else None
        return f"<{limit}" if limit else ""


class TooYoung(Rule):
    """A version has to be of some age; the times after which uv looks at none are in `releaser.locks.limits`."""

    name = "age"

    def objection(self, wanted: Wanted) -> str:
        """Object to what is younger."""
        age = wanted.rules.policy.age
        age = age.for_fix(wanted.name) if wanted.is_fix else age
        return age.objection(wanted.name, wanted.version, wanted.uploads)

    def specifier(self, wanted: Wanted) -> str:
        """Ask for no more than what was found, if uv could take something else for want of a limit."""
        floor = wanted.range[0] if wanted.range and parse_version(wanted.version) else None
        if floor is None or is_older(wanted.version, str(floor)) or not _may_stray(wanted, floor):
            return ""
        return f"<={wanted.version.partition('+')[0]}"  # in which uv takes no local part


def _may_stray(wanted: Wanted, floor: Version) -> bool:
    """Whether what was found has to be the upper bound.

    uv takes the pre-release in a bound for leave to take others, and a file without a time is in reach of no limit.
    """
    name, base = wanted.name, wanted.rules.packages.locked.get(wanted.name)
    tells = any(time is not None for (one, _), time in wanted.uploads.times.items() if one == name)
    has_no_limit = wanted.rules.policy.age.of(name) and base and wanted.uploads.lacks(name, base) and tells
    return floor.is_prerelease or bool(has_no_limit)


# What failed before, and what it says of other versions


def find_rejection(rules: Rules, name: str, version: str) -> Block | None:
    """Return the block of a version that failed, or of an older one that is no substitute for it.

    After a version was rolled back, nobody has said that the tests would notice what is wrong with others: the
    package stays where it is, or where the committed lock has it, until a newer version than that one appears.
    """
    rejected = [one for one in rules.rejected if one.name == name]
    several = version.split(", ")
    failed = [one for one in rejected if one.version in several]
    if failed:
        return _block_like(failed[-1], version, failed[-1].reason)
    # What is live has to go itself where a constraint keeps it out: then no other version is judged by its series.
    live = rules.packages.live_version(name)
    if not rejected or version == rules.packages.demanded.get(name) or rules.beyond(name, live):
        return None
    others = sorted(set(several).difference(live.split(", ")))
    for other in others:
        for one in reversed(rejected):
            if reason := _what_it_says(rules, one, other):
                return _block_like(one, version, reason)
    return None


def _block_like(rejected: Block, version: str, reason: str) -> Block:
    return Block(name=rejected.name, version=version, by=rejected.by, reason=reason, since=rejected.since)


def _what_it_says(rules: Rules, rejected: Block, version: str) -> str:
    """Say why a version that has not failed is no better than one that has; empty if nobody knows."""
    new, bad = parse_version(version), parse_version(rejected.version)
    if new is None or bad is None:
        return "" if is_newer(version, rejected.version) else f"{rejected.version} failed ({rejected.reason})"
    if new > bad:
        return ""
    if rejected.by == "activation":
        is_chosen = version in rules.packages.locked.get(rejected.name, "").split(", ")
        older = f"it is older than {rejected.version}, which was rolled back: {rejected.reason}"
        return "" if is_chosen else older
    if series_of(new) == series_of(bad) and not _is_first_of_live_series(rules, rejected):
        return f"it is older than {rejected.version}, which failed: {rejected.reason}"
    return ""


def _is_first_of_live_series(rules: Rules, rejected: Block) -> bool:
    """Whether a version is the only one of the live series with which the tests have failed.

    There, nothing lower than the series is left, so the version just older than that gets one try.
    """
    live = parse_version(rules.packages.live_version(rejected.name))
    if live is None or rejected.by != "tests":
        return False
    failed = [bad for one in rules.rejected_versions(rejected.name) if (bad := parse_version(one))]
    return [series_of(bad) for bad in failed if bad > live].count(series_of(live)) == 1


def find_below(rules: Rules, failed: Block) -> str | None:
    """Return the specifier of what is below a rejected version and newer than what is live; None if nothing is.

    After a version was rolled back, nothing below it comes in.
    """
    found, live = parse_version(failed.version), parse_version(rules.packages.live_version(failed.name))
    if found is None or live is None or found <= live or failed.by == "activation":
        return None
    if series_of(found) > series_of(live):
        return f">={live.public},<{below_series(found)}"
    return f">={live.public},<{found.public}" if _is_first_of_live_series(rules, failed) else None


RULES: tuple[Rule, ...] = make("rules")


def explain(rules: Rules, name: str, version: str, uploads: Uploads) -> Iterable[Block]:
    """Return everything that keeps a version out, and not only the first; of an older one, what people say."""
    return takewhile(lambda one: one.by != "downgrade", rules.blocks(name, version, uploads))
