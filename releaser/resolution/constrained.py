"""Makes uv resolve within the rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from releaser.errors import ResolutionError, ToolError
from releaser.locks.blocks import Block
from releaser.locks.limits import bound_held, exclude_newer, find_never_built, first_bounds
from releaser.locks.rules import BY_FAILURES, Rules, Strictness, find_below
from releaser.locks.versions import Upgrade, Uploads, is_newer, is_older, newest, parse_version
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, Mutable, field, replace
from releaser.system.words import first_few
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from releaser.tools.uv_arguments import ExcludeNewer, Specifiers

    Versions = Mapping[str, str]

_FILTERED = expression(r"`([^`]+)` was filtered by `exclude-newer`")  # as uv 0.13 says it
_STUCK = "it is too young, or needs versions that the rules do not permit"
_ROUNDS = 4  # questions to uv, in addition to one for each failed version, as each answer may have new blocked versions


class Resolver(Protocol):
    """Resolves from the same lock each time. All methods may raise ToolError."""

    def resolve(
        self, specifiers: Specifiers, exclude_newer: ExcludeNewer, no_build: frozenset[str] = frozenset()
    ) -> Versions | NoSolution:
        """Return the versions by package within these limits, else the newest; `no_build` packages only as wheels."""

    def uploads(self) -> Uploads:
        """Return the upload times of the versions in the last answer and in the lock, and of files without a time.

        A time limit hid the latter.
        """

    def newest(self) -> tuple[Versions, Uploads]:
        """Return the versions that are newer than the locked ones and that all requirements admit; builds nothing."""

    def drop_time_limits(self) -> Versions | NoSolution:
        """Remove the time limits from the last answer, and return its versions."""

    def own_limits(self) -> Uploads:
        """Return the limits that uv itself wrote into the last answer, from the project's settings."""


class Resolved(Frozen):
    """The result: the versions by package, and the blocked newer versions."""

    versions: Versions
    holds: tuple[Block, ...] = ()
    #: Newer versions that uv did not see, by mistake: no rule, no requirement and no limit of uv itself blocks them.
    #: Known only if newer versions were asked for.
    unseen: Versions = field(default_factory=dict)


def resolve_within_rules(
    resolver: Resolver,
    read_rules: Callable[[], Rules],
    *,
    locked: Versions,
    live: Versions,
    find_fixes: Callable[[], Versions] = dict,
) -> Resolved | NoSolution:
    """Resolve within the rules.

    The first resolution does not see versions that are too young, and builds none that are blocked in any case. It is
    the result if nothing changes and nothing newer exists, or if all changes pass the rules. Otherwise the resolver is
    asked again, within the rules. If policy or age block versions, `find_fixes` returns the versions that fix a
    vulnerability, and exactly these are permitted. If the first resolution fails, as a new version does not build,
    another one within the rules may succeed. Raises ToolError, or ResolutionError if the project requires versions that
    are too young.
    """
    rules = read_rules()
    search = _Search(
        resolver=resolver, free=locked, uploads=resolver.uploads() if rules.policy.age.matters else Uploads()
    )
    if rules.only_fixes:
        return _resolve_fixes(search, rules.without_upgrades, find_fixes)
    free = search.look(rules)
    found: _Resolution | NoSolution
    if isinstance(free, NoSolution):  # the blocked versions are unknown then
        holds: dict[str, Block] = {}
        found = search.resolve_strictly(rules) if search.is_free else search.resolve(rules)
        if isinstance(found, NoSolution):
            return free if search.is_free else found
        may_be_fixed = rules.policy.age.matters or rules.policy.upgrade != Upgrade()
    else:
        ahead = search.find_ahead(free)
        if not ahead and dict(free) == dict(locked) == dict(live):
            return search.finish(free, rules)
        newest_holds = rules.find_holds(free, search.uploads)
        holds = {**newest_holds, **rules.find_holds(ahead, search.uploads)}
        if not holds:
            return search.finish(free, rules)
        search.free = free
        found = search.resolve(rules) if newest_holds else _Resolution(versions=free, rules=rules)
        may_be_fixed = any(hold.by in ("policy", "age") for hold in holds.values())
    if isinstance(found, NoSolution):
        return found
    versions = search.add_fixes(found, find_fixes() if may_be_fixed else {})
    if isinstance(versions, NoSolution):
        return versions
    left = [hold for hold in holds.values() if hold.by != "downgrade" and versions.get(hold.name) != hold.version]
    blocked = (*left, *_find_dependent(left, search.free, versions, rules.packages.local))
    return search.finish(versions, rules, blocked)


def _resolve_fixes(search: _Search, rules: Rules, find_fixes: Callable[[], Versions]) -> Resolved | NoSolution:
    """Resolve to the locked versions, except for fixes and their requirements; the blocks are those of other fixes."""
    found = search.resolve(rules)
    if isinstance(found, NoSolution):
        return found
    fixes = find_fixes()
    versions = search.add_fixes(found, fixes)
    if isinstance(versions, NoSolution):
        return versions
    missing = {name: fix for name, fix in fixes.items() if name in versions and is_older(versions[name], fix)}
    holds = replace(rules, fixes=missing).find_holds(missing, search.uploads)
    stuck = (Block(name=name, version=fix, by="age", reason=_STUCK) for name, fix in missing.items())
    return search.finish(versions, rules, [holds.get(block.name, block) for block in stuck])


def _find_dependent(
    holds: Sequence[Block], free: Versions, versions: Versions, local: frozenset[str]
) -> Iterator[Block]:
    """Yield the upgrades that no rule blocks, but that need a blocked version."""
    named = {hold.name for hold in holds} | local
    causes = first_few(f"{hold.name} {hold.version}" for hold in holds)
    for name, version in sorted(free.items()):
        if holds and name not in named and name in versions and is_older(versions[name], version):
            reason = f"it requires {causes}, which {'is' if len(holds) == 1 else 'are'} on hold"
            yield Block(name=name, version=version, by=holds[0].by, reason=reason)


class _Resolution(Frozen):
    """The versions that were found within `rules`, and the strictness with which they were applied."""

    versions: Versions
    rules: Rules
    strictness: Strictness = "pinned"


class _Search(Mutable):
    """The attempts at one resolution; `free` has the versions of the first one, `uploads` grows with each attempt."""

    resolver: Resolver
    free: Versions
    uploads: Uploads
    #: True if the first resolution did not see all versions; True if the last lock has its time limits.
    is_limited: bool = False
    has_limits: bool = False
    #: True if no rule affected the first resolution.
    is_free: bool = True
    #: The bounds and the limits of the last question, and the versions that are newer than in the first answer.
    specifiers: Specifiers = field(default_factory=dict)
    limits: ExcludeNewer = field(default_factory=dict)
    ahead: Versions = field(default_factory=dict)

    def look(self, rules: Rules) -> Versions | NoSolution:
        """Resolve with as few limits as possible, but without a build of a blocked version."""
        bounds, no_build = first_bounds(rules, self.uploads), find_never_built(rules, self.uploads)
        found = self._ask(rules, bounds, exclude_newer(rules, (), self.uploads), no_build)
        self.is_limited = self.has_limits or bool(bounds)
        self.is_free = not self.is_limited and not no_build
        return found

    def _ask(
        self, rules: Rules, specifiers: Specifiers, limits: ExcludeNewer, no_build: frozenset[str] = frozenset()
    ) -> Versions | NoSolution:
        """Resolve; once more if permitted versions were hidden only because their upload time is unknown."""
        found, self.has_limits = self.resolver.resolve(specifiers, limits, no_build), bool(limits)
        self.specifiers, self.limits = specifiers, limits
        if rules.policy.age.matters:
            self.uploads = self.resolver.uploads().merge(self.uploads)
        now = exclude_newer(rules, limits.keys() - {"*"}, self.uploads) if limits else {}
        lifted = {
            name: None
            for name in {*now, *limits} - {"*"}
            if limits.get(name, limits.get("*")) is not None and now.get(name, now.get("*")) is None
        }
        if not lifted:
            return found
        self.limits = {**limits, **lifted}
        return self.resolver.resolve(specifiers, self.limits, no_build)

    def find_ahead(self, found: Versions) -> Versions:
        """Return the newer versions that the first resolution did not see."""
        if not self.is_limited:
            return {}
        versions, uploads = self.resolver.newest()
        self.uploads = self.uploads.merge(uploads)
        self.ahead = {name: one for name, one in versions.items() if name in found and is_newer(one, found[name])}
        return self.ahead

    def finish(self, versions: Versions, rules: Rules, holds: Sequence[Block] = ()) -> Resolved | NoSolution:
        """Return `versions`, the last answer, as the result, and remove time limits from the lock.

        `rules` are those of the answer. Returns NoSolution if the versions change without the limits.
        """
        kept = self.resolver.drop_time_limits() if self.has_limits else versions
        if kept != versions:
            return NoSolution(output="uv did not keep the versions that are old enough")
        return Resolved(versions=versions, holds=tuple(holds), unseen=self._find_unseen(versions, rules))

    def _find_unseen(self, versions: Versions, rules: Rules) -> Versions:
        """Return newer versions than the result's that nothing blocks, but that were hidden from uv.

        Versions that uv saw and did not choose do not fit the rest.
        """
        missing = {
            name: version
            for name, version in self.ahead.items()
            if name in versions and is_newer(version, newest(versions[name].split(", ")))
        }
        holds = rules.find_holds(missing, self.uploads) if missing else {}
        hidden = {name: one for name, one in missing.items() if name not in holds and self._hides(name, one)}
        own = self.resolver.own_limits() if hidden else Uploads()
        return {name: one for name, one in hidden.items() if not self._is_beyond(own.own_limit(name), name, one)}

    def _hides(self, name: str, version: str) -> bool:
        """True if the last question hid a version from uv."""
        from packaging.specifiers import SpecifierSet

        bound = self.specifiers.get(name, "")
        if bound is None or not SpecifierSet(bound).contains(version, prereleases=True):
            return True
        return self._is_beyond(self.limits.get(name, self.limits.get("*")), name, version)

    def _is_beyond(self, limit: datetime | None, name: str, version: str) -> bool:
        time = self.uploads.times.get((name, version))
        return limit is not None and (time is None or time >= limit)

    def resolve_strictly(self, rules: Rules) -> _Resolution | NoSolution:
        """Resolve with the strictest rules."""
        versions = self.attempt(rules, "pinned")
        return versions if isinstance(versions, NoSolution) else _Resolution(versions=versions, rules=rules)

    def resolve(self, rules: Rules) -> _Resolution | NoSolution:
        """Resolve within the rules, less strictly without a solution, as the project's own requirements win.

        These are the versions that change even in a resolution without upgrades.
        """
        strict = self.resolve_strictly(rules)
        if not isinstance(strict, NoSolution):
            return strict
        limits = exclude_newer(rules, self.free, self.uploads)
        pinned, no_build = bound_held(rules)
        least = self._ask(rules, {**dict.fromkeys({*rules.packages.locked, *self.free}), **pinned}, limits, no_build)
        if isinstance(least, NoSolution):
            if limits:
                offered, uploads = self.resolver.newest()
                self.uploads = self.uploads.merge(uploads)
                self._refuse_young(rules, least.output, offered)
            return least
        demanded = {name: version for name, version in least.items() if version != rules.packages.locked.get(name)}
        rules = replace(rules, packages=replace(rules.packages, demanded=demanded))
        less_strict: tuple[Strictness, ...] = ("no_downgrade", "exclude_only")
        for strictness in less_strict:
            versions = self.attempt(rules, strictness)
            if not isinstance(versions, NoSolution):
                return _Resolution(versions=versions, rules=rules, strictness=strictness)
        self._refuse_young(rules, "", demanded)
        return strict

    def _refuse_young(self, rules: Rules, output: str, demanded: Versions) -> None:
        """Raise ResolutionError if the project requires versions that are too young."""
        filtered = set(_FILTERED.findall(output))
        young = [
            f"{name} {version}: {why}"
            for name, version in demanded.items()
            if rules.held_at(name) is None
            and (not output or re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", output))
            and (why := rules.policy.age.objection(name, version, self.uploads))
        ]
        young += [
            f"{name}: all versions that fit are younger" for name in sorted(filtered - rules.packages.locked.keys())
        ]
        if young:
            message = f"the project requires versions that are younger than `min_age` permits: {'; '.join(young)}"
            advice = "Wait until they are old enough, or add an exception to `min_age_packages`."
            raise ResolutionError(message, advice, output=output)

    def add_fixes(self, found: _Resolution, fixes: Versions) -> Versions | NoSolution:
        """Add the fixes that `found` lacks: all together, or else one by one as far as they resolve.

        The rules of `found` apply to all other packages: none is downgraded for a fix.
        """
        versions, rules = found.versions, found.rules
        missing = {name: fix for name, fix in fixes.items() if name in versions and is_older(versions[name], fix)}
        alone = [{name: fix} for name, fix in missing.items()] if len(missing) > 1 else []
        is_last = True  # whether `versions` are the last answer of the resolver
        for more in [missing, *alone] if missing else []:
            tried = replace(rules, fixes={**rules.fixes, **more})
            try:
                fixed = self.attempt(tried, found.strictness)
            except ToolError as error:  # an unavailable fix must not fail the update
                fixed = NoSolution(output=error.output)
            is_last = not isinstance(fixed, NoSolution)
            if not isinstance(fixed, NoSolution):
                rules, versions = tried, fixed
            if rules.fixes == missing:
                break
        return versions if is_last else self.attempt(rules, found.strictness)

    def attempt(self, rules: Rules, strictness: Strictness) -> Versions | NoSolution:
        """Resolve within the rules, and again as long as an answer has blocked versions."""
        specifiers = rules.specifiers(self.free, self.uploads, strictness=strictness)
        limits = exclude_newer(rules, self.free, self.uploads)
        for _ in range(_ROUNDS + len(rules.failed)):
            found = self._ask(rules, specifiers, limits)
            if isinstance(found, NoSolution):
                return found
            holds = rules.find_holds(found, self.uploads)
            grave = [hold for hold in holds.values() if _counts(hold, rules, strictness)]
            if not grave:
                return found
            limits = {**exclude_newer(rules, found, self.uploads), **limits}
            specifiers |= {block.name: _exclude(block, specifiers.get(block.name), rules) for block in grave}
        return NoSolution(output="no set of versions can be installed together")


def _counts(hold: Block, rules: Rules, strictness: Strictness) -> bool:
    """True if a block counts at this strictness.

    Unless it is "pinned", failures block only the failed versions themselves. "exclude_only" permits downgrades.
    """
    if strictness != "pinned" and hold.by in BY_FAILURES:
        return any(bad in hold.version.split(", ") for bad in rules.failed_versions(hold.name))
    return strictness != "exclude_only" or hold.by != "downgrade"


def _exclude(hold: Block, specifier: str | None, rules: Rules) -> str | None:
    """Tighten a specifier after an answer with a blocked version: the package keeps its version, if it has one.

    After a failed version, a lower series is permitted.
    """
    has_failed = hold.by in BY_FAILURES
    if has_failed and (below := find_below(rules, hold)) is not None:
        return ",".join(filter(None, [specifier, below]))
    base = (rules.packages.live.get(hold.name) if has_failed else None) or rules.base(hold.name)
    if base is not None:
        return f"=={base}" if parse_version(base) else None
    return ",".join(filter(None, [specifier, f"!={hold.version}"])) if parse_version(hold.version) else specifier
