"""What failed on sites that go first, as `update --all` tells the others, where it waits; pure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.locks.lock import Change, list_brought
from releaser.locks.rules import Rules, Withheld
from releaser.locks.versions import parse_version
from releaser.system.frozen import Frozen
from releaser.system.words import first_few, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Version = tuple[str, str]  # name and version
_LONGEST = 100_000  # bytes of a variable, of which Linux takes 128 KiB
_TOO_MUCH = "too much failed there"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class SiteFailure(Frozen):
    """What a site that goes first has trouble with: these versions, or with a `reason` nobody knows which."""

    site: str
    versions: frozenset[Version] = frozenset()
    reason: str = ""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.versions or self.reason)


def is_version(name: str, version: str) -> bool:
    """Whether these are a normalized name and a version."""
    return bool(_NAME.fullmatch(name) and parse_version(version))


def write_failures(failures: Iterable[SiteFailure]) -> str:
    """Return failures as text for the variable; if that is too long, every version waits for such a site."""
    found = list(failures)
    text = _encode(found)
    if len(text) > _LONGEST:
        text = _encode(SiteFailure(site=one.site[:500], reason=one.reason[:500] or _TOO_MUCH) for one in found)
    return text if len(text) <= _LONGEST else _encode([SiteFailure(site=found[0].site[:500], reason=_TOO_MUCH)])


def _encode(failures: Iterable[SiteFailure]) -> str:
    told = [{"site": one.site, "versions": sorted(one.versions), "reason": one.reason} for one in failures]
    return json.dumps(told)


def read_failures(text: str) -> tuple[SiteFailure, ...]:
    """Read what the variable holds; nothing, if it is empty. Raises ValueError."""
    if not text:
        return ()
    from msgspec import ValidationError, convert  # which takes long to import

    try:
        found = convert(json.loads(text), tuple[SiteFailure, ...])
    except (ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if wrong := [version for one in found for version in one.versions if not is_version(*version)]:
        message = f"{wrong[0]!r} is not a version of a package"
        raise ValueError(message)
    return tuple(replace(one, site=one_line(one.site), reason=one_line(one.reason)) for one in found)


def keep_out(failures: Iterable[SiteFailure], rules: Rules) -> Rules:
    """Return rules that keep out the versions that failed there, except for live ones; what failed here counts more."""
    found = [
        Withheld(
            name=name, version=version, by="first", reason=f"{failure.site}, which goes first, has failed with {one}"
        )
        for failure in failures
        for name, version in sorted(failure.versions)
        for one in [f"{name} {version}"]
        if version not in rules.packages.live.get(name, "").split(", ")
    ]
    return replace(rules, rejected=(*found, *rules.rejected))


def why_all_waits(failures: Iterable[SiteFailure], changes: Iterable[Change]) -> str:
    """Say why nothing of this may come in; empty if it may."""
    brought = {(name, one) for name, versions in list_brought(changes).items() for one in versions.split(", ")}
    for failure in failures if brought else ():
        if failure.reason:
            return f"it waits for {failure.site}, which goes first: {failure.reason}"
        for name, version in sorted(brought & failure.versions):
            return f"it waits, as {failure.site}, which goes first, has failed with {name} {version}"
    return ""


def say_what_waits(failures: Sequence[SiteFailure], held_back: Iterable[Withheld]) -> str:
    """Say which versions wait, and for which sites; empty for none."""
    waiting = [one for one in held_back if one.by == "first"]
    names = {one.name for one in waiting}
    sites = [one.site for one in failures if not names.isdisjoint(name for name, _ in one.versions)]
    verb = "waits" if len(waiting) == 1 else "wait"
    told = first_few(f"{one.name} {one.version}" for one in waiting)
    return f"{told} {verb} for {', '.join(sites)}, which failed first" if waiting else ""
