"""Driving a resolver so that nothing comes in that a gate keeps out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from releaser.errors import ResolutionError, ToolError
from releaser.locking.gates import Kept
from releaser.locking.policy import Upgrade, is_older, parsed
from releaser.locking.uploads import Uploads
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from releaser.locking.gates import Gates, Strictness, Way
    from releaser.tools.uv import Bounds, Cuts

_ROUNDS = 4  # of asking again because of what came in only through what was asked before, beside one for each failure
_MOST_NAMED = 5  # versions in one reason
_MOST_HOLDS = 10  # that are lifted for a try, one by one, to find the one in the way


class Resolver(Protocol):
    """Something that resolves from the same lock each time."""

    def resolve(self, bounds: Bounds, cuts: Cuts) -> Mapping[str, str]:
        """Return the versions by package within bounds and times; without both, the newest. Raises ToolError."""

    def uploads(self) -> Uploads:
        """Return what is known of the versions that came out last, and of those that are locked."""

    def settle(self) -> Mapping[str, str]:
        """Take the traces of times out of what came out last, and return the versions. Raises ToolError."""


@dataclass(frozen=True, kw_only=True)
class Restrained:
    """What came out: the versions by package, and what was kept out of those that there are."""

    versions: Mapping[str, str]
    kept: tuple[Kept, ...] = ()


def resolve_within(
    resolver: Resolver,
    make_gates: Callable[[], Gates],
    *,
    locked: Mapping[str, str],
    live: Mapping[str, str],
    fixes: Callable[[], Mapping[str, str]] = dict,
) -> Restrained:
    """Resolve so that nothing comes in that a gate keeps out.

    The first resolution is free. If nothing changes by it, there is nothing to judge, and if all that does passes, that
    is it. Else the resolver is asked again within bounds. If policy or age keep anything out, `fixes` tells to which
    version a package has to go for the sake of security, and so far it then may. If there is no free resolution, as a
    new version does not build, there may be one within bounds that keep it out. Raises ToolError, or ResolutionError if
    what a person holds, or what is too young, is in the way.
    """
    try:
        free = resolver.resolve({}, {})
    except ToolError as error:
        if error.returncode != NO_SOLUTION or error.timed_out:
            raise
        return _resolve_unfreely(resolver, make_gates(), locked, fixes, error)
    if dict(free) == dict(locked) == dict(live):
        return Restrained(versions=free)
    gates = make_gates()
    search = _Search(resolver=resolver, free=free, known=resolver.uploads() if gates.age.matters else Uploads())
    faults = gates.faults(free, search.known)
    versions = free
    if faults:
        found = search.within(gates)
        wanted = fixes() if any(one.waits or one.by in ("policy", "age") for one in faults.values()) else {}
        versions = search.with_fixes(found, wanted)
    kept = [one for one in faults.values() if one.by != "downgrade" and versions.get(one.name) != one.version]
    return Restrained(versions=versions, kept=(*kept, *_dependent(kept, free, versions, gates.local)))


def _dependent(
    kept: Sequence[Kept], free: Mapping[str, str], versions: Mapping[str, str], local: frozenset[str]
) -> Iterator[Kept]:
    """Yield what no gate keeps out, and what stays behind all the same, as it needs something that one does."""
    if not kept:
        return
    named = {one.name for one in kept} | local
    causes = ", ".join(f"{one.name} {one.version}" for one in kept[:_MOST_NAMED])
    more = f" and {len(kept) - _MOST_NAMED} more" if len(kept) > _MOST_NAMED else ""
    for name, version in sorted(free.items()):
        if name not in named and name in versions and is_older(versions[name], version):
            reason = f"it comes only together with what is kept out: {causes}{more}"
            yield Kept(name=name, version=version, by=kept[0].by, reason=reason)


def _resolve_unfreely(
    resolver: Resolver,
    gates: Gates,
    locked: Mapping[str, str],
    fixes: Callable[[], Mapping[str, str]],
    reason: ToolError,
) -> Restrained:
    """Resolve within bounds alone; what these keep out is not known then. Raises `reason` if there is no solution."""
    search = _Search(resolver=resolver, free=locked, known=resolver.uploads() if gates.age.matters else Uploads())
    found = search.strictly(gates)
    if found is None:
        raise reason
    wanted = fixes() if gates.age.matters or gates.upgrade != Upgrade() else {}
    return Restrained(versions=search.with_fixes(found, wanted))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came out within the bounds of `gates`, and how strict these had to be."""

    versions: Mapping[str, str]
    gates: Gates
    strictness: Strictness


@dataclass(kw_only=True)
class _Search:
    """The attempts at one resolution; `free` is what came out without bounds, `known` tells upload times."""

    resolver: Resolver
    free: Mapping[str, str]
    known: Uploads

    def within(self, gates: Gates) -> Found:
        """Resolve within bounds, wide ones if the narrow ones have no solution, as the project's own demands win.

        What the project demands is what even a resolution changes that upgrades nothing. Raises as `resolve_within`.
        """
        found = self.strictly(gates)
        if found is not None:
            return found
        everything = dict.fromkeys({*gates.locked, *self.free})
        least = self.resolver.resolve(everything, {})
        demanded = {name: version for name, version in least.items() if version != gates.locked.get(name)}
        if gates.age.matters:
            self.known = self.resolver.uploads().beside(self.known)
        wider = replace(gates, demanded=demanded)
        steps: tuple[Strictness, ...] = ("floor", "avoid")
        for strictness in steps:
            try:
                return Found(versions=self._attempt(wider, strictness), gates=wider, strictness=strictness)
            except ToolError as error:
                if error.returncode != NO_SOLUTION:
                    raise
                last = error
        self._blame(wider, last)
        raise last

    def strictly(self, gates: Gates) -> Found | None:
        """Resolve within the narrow bounds; None if they have no solution. Raises ToolError."""
        try:
            return Found(versions=self._attempt(gates, "stay"), gates=gates, strictness="stay")
        except ToolError as error:
            if error.returncode != NO_SOLUTION:
                raise
        return None

    def with_fixes(self, found: Found, fixes: Mapping[str, str]) -> Mapping[str, str]:
        """Take the fixes early that did not come in by themselves, all of them or those that can be had.

        The bounds that gave `found` hold for all else: no package goes down for the sake of a fix.
        """
        versions = found.versions
        missing = {name: fix for name, fix in fixes.items() if name in versions and is_older(versions[name], fix)}
        together = [missing] if missing else []
        alone = [{name: fix} for name, fix in missing.items()] if len(missing) > 1 else []
        taken, last = found.gates, versions
        for attempt in together + alone:
            for way in _ways(found.gates, attempt):
                gates = replace(
                    taken, early={**taken.early, **attempt}, early_as={**taken.early_as, **dict.fromkeys(attempt, way)}
                )
                last = self._fixed(gates, found.strictness)
                if last:
                    taken, versions = gates, last
                    break
            if taken.early == missing:
                break
        return versions if last is versions else self._attempt(taken, found.strictness)

    def _fixed(self, gates: Gates, strictness: Strictness) -> Mapping[str, str]:
        """Resolve with the fixes in `gates.early`; nothing if they cannot all be had, or built."""
        try:
            versions = self._attempt(gates, strictness)
        except ToolError:
            return {}
        had = all(name in versions and not is_older(versions[name], fix) for name, fix in gates.early.items())
        return versions if had else {}

    def _attempt(self, gates: Gates, strictness: Strictness) -> Mapping[str, str]:
        bounds = gates.bounds(self.free, self.known, strictness=strictness)
        cuts = gates.cuts(self.free, self.known)
        for _ in range(_ROUNDS + len(gates.barred)):
            found = self.resolver.resolve(bounds, cuts)
            if gates.age.matters:
                self.known = self.resolver.uploads().beside(self.known)
            faults = dict(_grave(gates, gates.faults(found, self.known), strictness))
            if not faults:
                return self._settled(found) if cuts else found
            cuts = {**gates.cuts(found, self.known), **cuts}
            bounds = {**bounds, **{name: _without(bounds.get(name), gates, one) for name, one in faults.items()}}
        message = "no versions could be found that may come in together"
        raise ToolError(message, returncode=NO_SOLUTION)

    def _settled(self, found: Mapping[str, str]) -> Mapping[str, str]:
        settled = self.resolver.settle()
        if dict(settled) != dict(found):
            message = "uv did not keep the versions that are old enough"
            raise ToolError(message, returncode=NO_SOLUTION)
        return settled

    def _blame(self, gates: Gates, error: ToolError) -> None:
        """Raise ResolutionError if there would be a solution without a gate that nothing opens by itself."""
        in_the_way = list(self._holds_in_the_way(gates))
        if in_the_way:
            names = [name for name, _ in in_the_way]
            message = f"no lock can be made that keeps what is held: {'; '.join(words for _, words in in_the_way)}"
            advice = (
                f"Lift it with `releaser unhold {names[0]}`, or relax what asks for another version; see uv's message."
            )
            raise ResolutionError(message, advice=advice, output=error.output) from error
        young = [
            f"{name} {version}: {why}"
            for name, version in gates.demanded.items()
            if (why := gates.age.objection(name, version, self.known))
        ]
        if young:
            message = f"the project asks for versions that `min_age` keeps out: {'; '.join(young)}"
            advice = "Wait, or make an exception in `min_age_packages`."
            raise ResolutionError(message, advice=advice, output=error.output) from error

    def _holds_in_the_way(self, gates: Gates) -> Iterator[tuple[str, str]]:
        holds = gates.held[:_MOST_HOLDS]
        alone = [one for one in holds if self._helps(replace(gates, held=tuple(x for x in gates.held if x != one)))]
        if not alone and holds and self._helps(replace(gates, held=())):
            alone = list(holds)
        for one in alone:
            asked = gates.demanded.get(one.name)
            against = f", but the project asks for {asked}" if asked else ""
            since = f" since {one.since[:10]}" if one.since else ""
            why = f" ({one.reason})" if one.reason else ""
            yield one.name, f"{one.name} is held at {gates.held_at(one.name)} by a person{since}{why}{against}"

    def _helps(self, gates: Gates) -> bool:
        try:
            self._attempt(gates, "avoid")
        except ToolError:
            return False
        return True


def _ways(gates: Gates, fixes: Mapping[str, str]) -> tuple[Way, ...]:
    """Return the ways to let fixes in early, the one that asks for the least leave first."""
    return ("aged", "exact", "any") if any(gates.age.of(name) for name in fixes) else ("any",)


def _grave(gates: Gates, faults: Mapping[str, Kept], strictness: Strictness) -> Iterator[tuple[str, Kept]]:
    """Yield the faults that count: within wide bounds, a step back does not, nor one to what has never been live."""
    for name, fault in faults.items():
        if strictness != "stay" and fault.by in ("activation", "tests"):
            if any(bad in fault.version.split(", ") for bad in gates.bad_versions(name)):
                yield name, fault
        elif strictness != "avoid" or fault.by != "downgrade":
            yield name, fault


def _without(bound: str | None, gates: Gates, fault: Kept) -> str | None:
    """Tighten a bound because of a version that came in nevertheless: the package stays as it is, if it is there.

    One that stands behind a version that failed may come in as something of a lower series.
    """
    lower = gates.below(fault) if fault.by in ("activation", "tests") else None
    if lower is not None:
        return ",".join(filter(None, [bound, lower]))
    base = gates.live.get(fault.name) if fault.by in ("activation", "tests") else None
    base = base or gates.base(fault.name)
    if base is not None:
        return f"=={base}" if parsed(base) else None
    return ",".join(filter(None, [bound, f"!={fault.version}"])) if parsed(fault.version) else bound
