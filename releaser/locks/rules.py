"""The rules for the versions that updates may install, and the specifiers that they give to a resolver.

To add a rule, write a subclass of `Rule`, and see capabilities.py.
"""

from __future__ import annotations

from abc import ABC
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from releaser.capabilities import make
from releaser.locks.blocks import Block, PackageWait
from releaser.locks.versions import (
    Age,
    Upgrade,
    Uploads,
    below_series,
    ceiling,
    is_newer,
    is_older,
    look_up,
    parse_version,
    permits,
    series_of,
    versions_in,
)
from releaser.system.frozen import Frozen, field, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from packaging.version import Version

#: How a package avoids versions that failed: it stays at the live version, stays at or above it, or skips only these.
Strictness = Literal["pinned", "no_downgrade", "exclude_only"]
#: The causes of blocks of versions that failed.
BY_FAILURES = ("rollback", "tests")
_NO_PACKAGE = ""


class Limit(Frozen):
    """The specifier for a package in a constraints file, and its line."""

    specifier: str
    source: str

    def also(self, other: Limit) -> Limit:
        """Return the combination of both."""
        return Limit(specifier=f"{self.specifier},{other.specifier}", source=f"{self.source}, {other.source}")


class Packages(Frozen):
    """The versions from which an update starts, by package, as a lock shows them."""

    #: The versions in the lock of the checkout, and the versions of the live release.
    locked: Mapping[str, str]
    live: Mapping[str, str] = field(default_factory=dict)
    #: The packages that are part of the checkout, to which no rule applies.
    local: frozenset[str] = frozenset()
    #: The versions that the project's own dependencies require instead of the locked ones.
    demanded: Mapping[str, str] = field(default_factory=dict)
    #: The locked packages without wheels.
    sources: frozenset[str] = frozenset()

    def live_version(self, name: str) -> str:
        """Return the live version; empty without one."""
        return self.live.get(name, "")


class Policy(Frozen):
    """The settings about versions."""

    upgrade: Upgrade = field(default_factory=Upgrade)
    age: Age = field(default_factory=Age)
    #: The patterns of `ignore`.
    ignored: tuple[str, ...] = ()
    #: The limits of the constraints file. Only holds override them; locked versions do not.
    limits: Mapping[str, Limit] = field(default_factory=dict)


class Rules(Frozen):
    """All facts and settings that decide which versions updates may install."""

    packages: Packages
    policy: Policy = field(default_factory=Policy)
    #: The packages that a person holds.
    held: tuple[Block, ...] = ()
    #: The versions that failed in the tests, or were rolled back (see `by`), oldest first.
    failed: tuple[Block, ...] = ()
    #: The versions that fix a vulnerability: updates install exactly these, `upgrade` does not apply to them, and
    #: `Age.fixes` replaces a higher age.
    fixes: Mapping[str, str] = field(default_factory=dict)
    #: The packages that an update upgrades, with their dependencies; empty for all.
    only: frozenset[str] = frozenset()
    #: The packages that wait, as in `PackageWaits`.
    waits: tuple[PackageWait, ...] = ()

    @property
    def unasked(self) -> frozenset[str]:
        """The locked packages that stay, unless an upgraded package needs another version."""
        asked = self.only | self.fixes.keys()
        return frozenset(self.packages.locked) - asked - self.packages.local if self.only else frozenset()

    def for_fixes(self) -> Rules:
        """Return the rules of a site that installs fixes alone."""
        return replace(self, policy=replace(self.policy, upgrade=replace(self.policy.upgrade, level="security")))

    @property
    def only_fixes(self) -> bool:
        """True if nothing goes up but fixes, and their requirements."""
        return self.policy.upgrade.level == "security"

    @property
    def without_upgrades(self) -> Rules:
        """The rules with which each package stays, except for `fixes` and their requirements."""
        upgrade = replace(self.policy.upgrade, level="all")
        return replace(self, policy=replace(self.policy, upgrade=upgrade), only=frozenset({_NO_PACKAGE}))

    def base(self, name: str) -> str | None:
        """Return the version that a package goes up from; None for a new package, or one beyond a constraint."""
        base = self.packages.demanded.get(name, self.packages.locked.get(name))
        return None if base is not None and self.beyond(name, base) else base

    def beyond(self, name: str, version: str) -> str:
        """Name which constraint excludes a version; empty if none does."""
        from packaging.specifiers import SpecifierSet

        limit = self.policy.limits.get(name) if name not in self.packages.local else None
        if limit is None or all(
            part in SpecifierSet(limit.specifier, prereleases=True) for part in versions_in(version)
        ):
            return ""
        return f"constrained by {limit.source}: {name}{limit.specifier}"

    def held_at(self, name: str) -> str | None:
        """Return the version at which a person holds a package; None without a hold."""
        if not any(hold.name == name for hold in self.held):
            return None
        return self.packages.live.get(name, self.packages.locked.get(name))

    def keeps(self, name: str) -> bool:
        """True if updates leave a package at its version, even if a newer one exists."""
        return self.held_at(name) is not None or self.ignores(name) or self.find_wait(name) is not None

    def ignores(self, name: str) -> bool:
        """True if the setting `ignore` keeps a package at its locked version."""
        return name in self.packages.locked and any(fnmatchcase(name, pattern) for pattern in self.policy.ignored)

    def find_wait(self, name: str) -> PackageWait | None:
        """Return why a locked package waits; None if it does not."""
        return find_wait(self.waits, name) if name in self.packages.locked else None

    def failed_versions(self, name: str) -> tuple[str, ...]:
        """Return the versions of a package that failed before."""
        return tuple(block.version for block in self.failed if block.name == name)

    # Judging versions

    def find_holds(self, found: Mapping[str, str], uploads: Uploads) -> dict[str, Block]:
        """Return the first block of each version that a resolver found and updates must skip, by package."""
        blocks = ((name, self.blocks(name, version, uploads)) for name, version in sorted(found.items()))
        return {name: first for name, each in blocks if (first := next(each, None)) is not None}

    def blocks(self, name: str, version: str, uploads: Uploads) -> Iterator[Block]:
        """Yield the blocks of a version by the rules, the most important first."""
        stays = version == self.packages.live.get(name) and self.failed_versions(name)
        if name in self.packages.local or version == self.held_at(name) or (stays and not self.beyond(name, version)):
            return  # it must stay at this version, whether newer or older than the locked one
        wanted = Wanted(name=name, version=version, rules=self, uploads=uploads)
        yield from filter(None, (rule.block(wanted) for rule in RULES))

    # Specifiers for a resolver

    def specifiers(
        self, found: Mapping[str, str], uploads: Uploads, *, strictness: Strictness = "pinned"
    ) -> dict[str, str | None]:
        """Return the specifier for the permitted versions of each package; None keeps a package as it is locked.

        `found` is the result of a resolution without specifiers.
        """
        holds = self.find_holds(found, uploads)
        names = sorted({*found, *self.packages.locked} - self.packages.local)
        return {name: self._specifier(name, found.get(name), holds.get(name), uploads, strictness) for name in names}

    def _specifier(
        self, name: str, found: str | None, hold: Block | None, uploads: Uploads, strictness: Strictness
    ) -> str | None:
        is_pinned = hold is not None and hold.by in BY_FAILURES and strictness == "pinned"
        below = find_below(self, hold) if is_pinned and hold else None
        fixed = self._fixed_version(name, falls_back=is_pinned and below is None)
        if fixed is not None:
            return f"=={fixed}" if parse_version(fixed) and (found is None or parse_version(found)) else None
        base = self.base(name)
        if below is None:
            if name in self.unasked:
                return None
            if base is not None and not versions_in(base):
                return None if hold else ""
        version = found if found is not None and below is None else ""
        wanted = Wanted(name=name, version=version, rules=self, uploads=uploads, strictness=strictness)
        demands = [below or "", *(rule.specifier(wanted) for rule in RULES)]
        parts = dict.fromkeys(part for demand in demands for part in demand.split(",") if part)
        return ",".join(sorted(parts, key=lambda part: part.startswith("!=")))

    def _fixed_version(self, name: str, *, falls_back: bool) -> str | None:
        """Return the version at which a package must stay; None if it may go up."""
        held = self.held_at(name)
        if held is not None:
            return held
        live = self.packages.live_version(name)
        if falls_back and len(versions_in(live)) < 2 and not self.beyond(name, live):  # others of several may go up
            return live or None
        return self.base(name) if self.keeps(name) else None


class Wanted(Frozen):
    """A version of a package that a resolver has found; the version is empty without one."""

    name: str
    version: str
    #: The rules and facts of the site.
    rules: Rules
    #: When versions were uploaded.
    uploads: Uploads
    strictness: Strictness = "pinned"

    @property
    def base(self) -> str | None:
        """The version that the package goes up from; None for a new package."""
        return self.rules.base(self.name)

    @property
    def is_locked(self) -> bool:
        """True if the lock of the checkout has exactly this version."""
        return self.version == self.rules.packages.locked.get(self.name)

    @property
    def is_move(self) -> bool:
        """True if the package moves from another version to this one."""
        return self.base not in (None, self.version)

    @property
    def is_fix(self) -> bool:
        """True if the version fixes a vulnerability, so that updates may install it early."""
        fix = self.rules.fixes.get(self.name)
        version = parse_version(self.version) if fix else None
        return version is not None and version == parse_version(fix or "")

    @property
    def range(self) -> tuple[Version, ...]:
        """The versions that the package goes up from, lowest first; empty for a new package, or for a fix."""
        return versions_in(self.base or "") if self.name not in self.rules.fixes else ()


class Rule(ABC):
    """A rule for the versions that updates may install. Subclasses override the methods that differ."""

    #: The name of the rule in `by` of a block.
    name: str
    #: True if it may object to a locked version, which mostly stays.
    judges_locked = False
    #: The way to let a version in, for people; `{name}` is its package.
    remedy = ""

    def objection(self, wanted: Wanted) -> str:
        """Return the reason against a version; empty without one."""
        return ""

    def block(self, wanted: Wanted) -> Block | None:
        """Return the objection as a block; None without one."""
        reason = self.objection(wanted) if self.judges_locked or not wanted.is_locked else ""
        return Block(name=wanted.name, version=wanted.version, by=self.name, reason=reason) if reason else None

    def specifier(self, wanted: Wanted) -> str:
        """Return the specifier for the versions of a package, such as `<2`; empty for any version.

        `wanted` is the version that uv has found without it. The base version, `wanted.base`, must satisfy it, too.
        """
        return ""


# The rules


class Held(Rule):
    """A package that a person holds stays at the live version."""

    name = "person"
    remedy = "`releaser unhold {name}`"

    def block(self, wanted: Wanted) -> Block | None:
        """Return the hold."""
        held = next((hold for hold in wanted.rules.held if hold.name == wanted.name), None)
        if held is None or wanted.rules.held_at(wanted.name) in (None, wanted.version):
            return None
        return Block(name=held.name, version=wanted.version, by=self.name, reason=held.reason, since=held.since)


class Failed(Rule):
    """Skip a version that failed, or that is older than a failed one and no substitute for it.

    Its blocks are `by` the tests or by a rollback (`rollback`).
    """

    name = "tests"
    remedy = "`releaser unhold {name}`"

    def block(self, wanted: Wanted) -> Block | None:
        """Return the failure that blocks a version."""
        return find_failed(wanted.rules, wanted.name, wanted.version)

    def specifier(self, wanted: Wanted) -> str:
        """Exclude each version that failed."""
        versions = wanted.rules.failed_versions(wanted.name)
        return ",".join(f"!={version}" for version in versions if parse_version(version))


class Constraint(Rule):
    """The file in the setting `constraints` has precedence over everything but holds."""

    name = "constraint"
    judges_locked = True
    remedy = "change that line, and commit it"

    def objection(self, wanted: Wanted) -> str:
        """Object to versions that the file excludes, unless the package is locked and not to be upgraded."""
        is_left = wanted.is_locked and wanted.name in wanted.rules.unasked
        return "" if is_left else wanted.rules.beyond(wanted.name, wanted.version)

    def specifier(self, wanted: Wanted) -> str:
        """Return the specifier in the file."""
        limit = wanted.rules.policy.limits.get(wanted.name)
        return limit.specifier if limit is not None else ""


class Ignored(Rule):
    """A package in the setting `ignore` stays at the locked version."""

    name = "ignore"
    remedy = "change `ignore`: `releaser config ignore` names its file"

    def objection(self, wanted: Wanted) -> str:
        """Object to every other version."""
        return "`ignore` names it" if wanted.is_move and wanted.rules.ignores(wanted.name) else ""


class ClosedWindow(Rule):
    """A package whose window is closed stays at the locked version."""

    name = "window"
    remedy = "`releaser update --now {name}`"

    def objection(self, wanted: Wanted) -> str:
        """Object to every other version."""
        wait = wanted.rules.find_wait(wanted.name) if wanted.is_move else None
        return wait.reason if wait is not None and wait.by == self.name else ""


class Reviewed(ClosedWindow):
    """A package that goes live only after a review stays at the locked version."""

    name = "publish"


class Downgrade(Rule):
    """No package goes down."""

    name = "downgrade"

    def objection(self, wanted: Wanted) -> str:
        """Object to older versions."""
        base = wanted.base
        return f"it is older than {base}" if base and wanted.is_move and is_older(wanted.version, base) else ""

    def specifier(self, wanted: Wanted) -> str:
        """Require the base version or a newer one.

        The base version is no minimum if it failed, or if it is newer than the live version and blocked by a failure.
        """
        if not wanted.range or wanted.strictness == "exclude_only":
            return ""
        floor, rules, name = wanted.range[0], wanted.rules, wanted.name
        came_after = is_older(rules.packages.live_version(name), str(floor))
        has_failed = str(floor) in rules.failed_versions(name)
        if has_failed or (came_after and find_failed(rules, name, str(floor)) is not None):
            return ""
        return f">={floor.public}"


class Level(Rule):
    """The setting `upgrade` limits how far a package may go at once; a fix of a vulnerability may go further."""

    name = "policy"
    remedy = 'set `upgrade_packages = {{{name} = "all"}}`'

    def objection(self, wanted: Wanted) -> str:
        """Object to versions beyond that limit."""
        base = wanted.base
        if base is None or not wanted.is_move or wanted.is_fix:
            return ""
        levels = wanted.rules.policy.upgrade
        if levels.excludes(wanted.name):
            return '`upgrade = "security"` excludes it'
        level = levels.of(wanted.name)
        if permits(base, wanted.version, level):
            return ""
        below_one = ", as below 1.0 the second part counts as the first"
        return f'`upgrade = "{level}"` excludes it{below_one * (level == "minor" and base.startswith("0."))}'

    def specifier(self, wanted: Wanted) -> str:
        """Require a version below the next step, or exactly the version of a fix."""
        if fix := wanted.rules.fixes.get(wanted.name):
            return f"=={fix}"
        limit = ceiling(wanted.range[-1], wanted.rules.policy.upgrade.of(wanted.name)) if wanted.range else None
        return f"<{limit}" if limit else ""


class TooYoung(Rule):
    """A version must have a minimum age; the upload limits for uv are in `releaser.locks.limits`."""

    name = "age"
    remedy = 'set `min_age_packages = {{{name} = "0"}}`'

    def objection(self, wanted: Wanted) -> str:
        """Object to younger versions."""
        age = wanted.rules.policy.age
        age = age.for_fix(wanted.name) if wanted.is_fix else age
        return age.objection(wanted.name, wanted.version, wanted.uploads)

    def specifier(self, wanted: Wanted) -> str:
        """Require no newer version than the found one, if uv could otherwise choose a version beyond the limits."""
        floor = wanted.range[0] if wanted.range and parse_version(wanted.version) else None
        if floor is None or is_older(wanted.version, str(floor)) or not _may_stray(wanted, floor):
            return ""
        return f"<={wanted.version.partition('+')[0]}"  # where uv accepts no local part


def _may_stray(wanted: Wanted, floor: Version) -> bool:
    """True if the found version must be the upper bound.

    With a pre-release in a bound, uv accepts other pre-releases, and no limit applies to a file without a time.
    """
    name, base = wanted.name, wanted.rules.packages.locked.get(wanted.name)
    reports = any(time is not None for (one, _), time in wanted.uploads.times.items() if one == name)
    has_no_limit = wanted.rules.policy.age.of(name) and base and wanted.uploads.lacks(name, base) and reports
    return floor.is_prerelease or bool(has_no_limit)


# Versions that failed, and their consequences for others


def find_failed(rules: Rules, name: str, version: str) -> Block | None:
    """Return the block of a version that failed, or that is older than a failed one and no substitute for it.

    After a rollback, the tests may miss the same fault in other versions: the package stays at its version, or at that
    of the committed lock, until a newer version than the one that was rolled back appears.
    """
    holds = [hold for hold in rules.failed if hold.name == name]
    several = version.split(", ")
    failed = [hold for hold in holds if hold.version in several]
    if failed:
        return replace(_block_like(failed[-1], version, failed[-1].reason), tests=failed[-1].tests)
    # If a constraint excludes the live version, the package must leave it: then failures do not block other versions.
    live = rules.packages.live_version(name)
    if not holds or version == rules.packages.demanded.get(name) or rules.beyond(name, live):
        return None
    others = sorted(set(several).difference(live.split(", ")))
    for other in others:
        for hold in reversed(holds):
            if reason := _explain_older(rules, hold, other):
                return _block_like(hold, version, reason)
    return None


def _block_like(hold: Block, version: str, reason: str) -> Block:
    return Block(name=hold.name, version=version, by=hold.by, reason=reason, since=hold.since)


def _explain_older(rules: Rules, hold: Block, version: str) -> str:
    """Explain why a version that has not failed is no substitute for one that has; empty if it may be one."""
    new, bad = parse_version(version), parse_version(hold.version)
    if new is None or bad is None:
        return "" if is_newer(version, hold.version) else f"{hold.version} failed ({hold.reason})"
    if new > bad:
        return ""
    if hold.by == "rollback":
        is_chosen = version in rules.packages.locked.get(hold.name, "").split(", ")
        older = f"it is older than {hold.version}, which was rolled back: {hold.reason}"
        return "" if is_chosen else older
    if series_of(new) == series_of(bad) and not _is_first_of_live_series(rules, hold):
        return f"it is older than {hold.version}, which failed: {hold.reason}"
    return ""


def _is_first_of_live_series(rules: Rules, hold: Block) -> bool:
    """True if the version is the only one of the live series, newer than the live one, that failed the tests.

    Then no lower series remains to try, so the next lower version gets one try.
    """
    live = parse_version(rules.packages.live_version(hold.name))
    if live is None or hold.by != "tests":
        return False
    failed = [bad for version in rules.failed_versions(hold.name) if (bad := parse_version(version))]
    return [series_of(bad) for bad in failed if bad > live].count(series_of(live)) == 1


def find_below(rules: Rules, failed: Block) -> str | None:
    """Return the specifier for versions from the live one up to below a failed one; None if none may be tried.

    After a rollback, updates skip all versions below the one that was rolled back.
    """
    found, live = parse_version(failed.version), parse_version(rules.packages.live_version(failed.name))
    if found is None or live is None or found <= live or failed.by == "rollback":
        return None
    if series_of(found) > series_of(live):
        return f">={live.public},<{below_series(found)}"
    return f">={live.public},<{found.public}" if _is_first_of_live_series(rules, failed) else None


RULES: Sequence[Rule] = make("rules")


def find_wait(waits: Iterable[PackageWait], name: str) -> PackageWait | None:
    """Return why a package waits; None if it does not."""
    found = look_up(name, [(wait.packages, wait) for wait in waits], None)
    return found if found is not None and found.reason else None


def find_command(by: str, name: str) -> str:
    """Return the command that lets in a version that is blocked `by` a rule; empty if only a setting does."""
    remedy = find_remedy(by, name)
    return remedy if remedy.startswith("`releaser ") else ""


def find_remedy(by: str, name: str) -> str:
    """Return the way to let in a version that is blocked `by` a rule; empty if the rule names none."""
    rule = Failed.name if by in BY_FAILURES else by
    return next((one.remedy.format(name=name) for one in RULES if one.name == rule), "")


def explain(rules: Rules, name: str, version: str, uploads: Uploads) -> Iterable[Block]:
    """Return all blocks of a version, not only the first, up to the block of the rule `downgrade`."""
    return takewhile(lambda block: block.by != "downgrade", rules.blocks(name, version, uploads))
