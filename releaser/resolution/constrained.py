"""Driving uv so that nothing comes in that a rule keeps out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from releaser.errors import ResolutionError, ToolError
from releaser.locks.rules import Withheld
from releaser.locks.versions import Upgrade, Uploads, is_older, parse_version
from releaser.system.words import first_few
from releaser.tools.uv import NoSolution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from releaser.locks.rules import Rules, Strictness
    from releaser.tools.uv import ExcludeNewer, Specifiers

    Versions = Mapping[str, str]


_ROUNDS = 4  # of asking again because of what came in only through what was asked before, beside one for each failure


class Resolver(Protocol):
    """Something that resolves from the same lock each time. All of it may raise ToolError."""

    def resolve(self, specifiers: Specifiers, exclude_newer: ExcludeNewer) -> Versions | NoSolution:
        """Return the versions by package within specifiers and times; without both, the newest."""

    def uploads(self) -> Uploads:
        """Return what is known of the versions that came out last, and of those that are locked."""

    def drop_time_limits(self) -> Versions | NoSolution:
        """Take the traces of times out of what came out last, and return the versions."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What came out: the versions by package, and what was withheld of those that there are."""

    versions: Versions
    withheld: tuple[Withheld, ...] = ()


def resolve_within_rules(
    resolver: Resolver,
    read_rules: Callable[[], Rules],
    *,
    locked: Versions,
    live: Versions,
    find_fixes: Callable[[], Versions] = dict,
) -> Resolved | NoSolution:
    """Resolve so that nothing comes in that a rule keeps out.

    The first resolution is free. If nothing changes by it, there is nothing to judge, and if all that does passes, that
    is it. Else the resolver is asked again within the rules. If policy, age or an earlier failure keeps anything out
    for now, `find_fixes` tells which version of a package fixes a vulnerability, and exactly that then may come in. If
    there is no free resolution, as a new version does not build, there may be one within the rules. Raises ToolError,
    or ResolutionError if what is too young is in the way.
    """
    free = resolver.resolve({}, {})
    if not isinstance(free, NoSolution) and dict(free) == dict(locked) == dict(live):
        return Resolved(versions=free)
    rules = read_rules()
    uploads = resolver.uploads() if rules.age.matters else Uploads()
    found: _Found | NoSolution
    if isinstance(free, NoSolution):  # what the rules keep out is not known then
        search, withheld = _Search(resolver=resolver, free=locked, uploads=uploads), {}
        versions = search.attempt(rules, "pinned")
        if isinstance(versions, NoSolution):
            return free
        found = _Found(versions=versions, rules=rules, strictness="pinned")
        may_be_fixed = rules.age.matters or rules.upgrade != Upgrade()
    else:
        search, withheld = _Search(resolver=resolver, free=free, uploads=uploads), rules.find_withheld(free, uploads)
        if not withheld:
            return Resolved(versions=free)
        found = search.resolve(rules)
        may_be_fixed = any(one.by in ("policy", "age") or one.name in rules.next_try for one in withheld.values())
    if isinstance(found, NoSolution):
        return found
    versions = search.add_fixes(found, find_fixes() if may_be_fixed else {})
    if isinstance(versions, NoSolution):
        return versions
    left = [one for one in withheld.values() if one.by != "downgrade" and versions.get(one.name) != one.version]
    return Resolved(versions=versions, withheld=(*left, *_find_dependent(left, search.free, versions, rules.local)))


def _find_dependent(
    withheld: Sequence[Withheld], free: Versions, versions: Versions, local: frozenset[str]
) -> Iterator[Withheld]:
    """Yield what no rule keeps out but stays back, because it needs something that a rule keeps out."""
    named = {one.name for one in withheld} | local
    causes = first_few(f"{one.name} {one.version}" for one in withheld)
    for name, version in sorted(free.items()):
        if withheld and name not in named and name in versions and is_older(versions[name], version):
            reason = f"it requires {causes}, which {'is' if len(withheld) == 1 else 'are'} held back"
            yield Withheld(name=name, version=version, by=withheld[0].by, reason=reason)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What came out within `rules`, and how strict these had to be."""

    versions: Versions
    rules: Rules
    strictness: Strictness


@dataclass(kw_only=True)
class _Search:
    """The attempts at one resolution; `free` is what came out without rules, `uploads` grows with each attempt."""

    resolver: Resolver
    free: Versions
    uploads: Uploads

    def resolve(self, rules: Rules) -> _Found | NoSolution:
        """Resolve within the rules, less strictly if they have no solution, as the project's own demands win.

        What the project demands is what even a resolution changes that upgrades nothing.
        """
        versions = self.attempt(rules, "pinned")
        if not isinstance(versions, NoSolution):
            return _Found(versions=versions, rules=rules, strictness="pinned")
        least = self.resolver.resolve(dict.fromkeys({*rules.locked, *self.free}), {})
        if isinstance(least, NoSolution):
            return least
        demanded = {name: version for name, version in least.items() if version != rules.locked.get(name)}
        self._look_at_uploads(rules)
        rules = replace(rules, demanded=demanded)
        less_strict: tuple[Strictness, ...] = ("no_downgrade", "exclude_only")
        for strictness in less_strict:
            versions = self.attempt(rules, strictness)
            if not isinstance(versions, NoSolution):
                return _Found(versions=versions, rules=rules, strictness=strictness)
        young = [
            f"{name} {version}: {why}"
            for name, version in demanded.items()
            if rules.held_at(name) is None and (why := rules.age.objection(name, version, self.uploads))
        ]
        if young:
            message = f"the project asks for versions that `min_age` keeps out: {'; '.join(young)}"
            advice = "Wait, or make an exception in `min_age_packages`."
            raise ResolutionError(message, advice=advice, output=versions.output)
        return versions

    def add_fixes(self, found: _Found, fixes: Versions) -> Versions | NoSolution:
        """Take the fixes that did not come in by themselves, all of them, or those that resolve one by one.

        The rules that gave `found` hold for all else: no package goes down for the sake of a fix.
        """
        versions, rules = found.versions, found.rules
        missing = {name: fix for name, fix in fixes.items() if name in versions and is_older(versions[name], fix)}
        alone = [{name: fix} for name, fix in missing.items()] if len(missing) > 1 else []
        is_last = True  # whether the resolver has resolved `versions` last
        for more in [missing, *alone] if missing else []:
            tried = replace(rules, fixes={**rules.fixes, **more})
            try:
                fixed = self.attempt(tried, found.strictness)
            except ToolError as error:  # of a fix that cannot be had, no update is to fail
                fixed = NoSolution(output=error.output)
            is_last = not isinstance(fixed, NoSolution)
            if not isinstance(fixed, NoSolution):
                rules, versions = tried, fixed
            if rules.fixes == missing:
                break
        return versions if is_last else self.attempt(rules, found.strictness)

    def attempt(self, rules: Rules, strictness: Strictness) -> Versions | NoSolution:
        """Resolve within the rules, and again as long as something comes in that they keep out."""
        specifiers = rules.specifiers(self.free, self.uploads, strictness=strictness)
        exclude_newer = rules.exclude_newer(self.free, self.uploads)
        for _ in range(_ROUNDS + len(rules.rejected)):
            found = self.resolver.resolve(specifiers, exclude_newer)
            if isinstance(found, NoSolution):
                return found
            self._look_at_uploads(rules)
            withheld = rules.find_withheld(found, self.uploads)
            grave = [one for one in withheld.values() if _counts(one, rules, strictness)]
            if not grave and exclude_newer:
                kept = self.resolver.drop_time_limits()
                return kept if kept == found else NoSolution(output="uv did not keep the versions that are old enough")
            if not grave:
                return found
            exclude_newer = {**rules.exclude_newer(found, self.uploads), **exclude_newer}
            specifiers |= {one.name: _exclude(one, specifiers.get(one.name), rules) for one in grave}
        return NoSolution(output="no versions were found that can be installed together")

    def _look_at_uploads(self, rules: Rules) -> None:
        if rules.age.matters:
            self.uploads = self.resolver.uploads().merge(self.uploads)


def _counts(withheld: Withheld, rules: Rules, strictness: Strictness) -> bool:
    """Whether a version may not come in even so: else, a step back may, and one to what has never been live."""
    if strictness != "pinned" and withheld.by in ("activation", "tests"):
        return any(bad in withheld.version.split(", ") for bad in rules.rejected_versions(withheld.name))
    return strictness != "exclude_only" or withheld.by != "downgrade"


def _exclude(withheld: Withheld, specifier: str | None, rules: Rules) -> str | None:
    """Tighten a specifier because of a version that came in nevertheless: the package stays as it is, if it is there.

    One that failed may come in as something of a lower series.
    """
    has_failed = withheld.by in ("activation", "tests")
    if has_failed and (below := rules.below(withheld)) is not None:
        return ",".join(filter(None, [specifier, below]))
    base = (rules.live.get(withheld.name) if has_failed else None) or rules.base(withheld.name)
    if base is not None:
        return f"=={base}" if parse_version(base) else None
    return (
        ",".join(filter(None, [specifier, f"!={withheld.version}"])) if parse_version(withheld.version) else specifier
    )
