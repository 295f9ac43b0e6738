"""What sites that go first have failed with, as `update --all` hands it to the others: that waits there; pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from releaser.locks.lock import brought_in
from releaser.locks.rules import Withheld
from releaser.locks.versions import parse_version
from releaser.system.words import first_few, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from releaser.locks.lock import Change
    from releaser.locks.rules import Rules

Version = tuple[str, str]  # name and version
_LONGEST = 100_000  # bytes of a variable, of which Linux takes 128 KiB
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Doubt:
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


def write_doubts(doubts: Iterable[Doubt]) -> str:
    """Return doubts as text for the variable; where that gets too long, every version of such a site is in doubt."""
    found = list(doubts)
    text = _encode(found)
    if len(text) > _LONGEST:
        text = _encode(Doubt(site=one.site[:500], reason=one.reason[:500] or "too much fails there") for one in found)
    return text if len(text) <= _LONGEST else _encode([Doubt(site=found[0].site[:500], reason="too much is in doubt")])


def _encode(doubts: Iterable[Doubt]) -> str:
    told = [{"site": one.site, "versions": sorted(one.versions), "reason": one.reason} for one in doubts]
    return json.dumps(told)


def read_doubts(text: str) -> tuple[Doubt, ...]:
    """Read what the variable holds; nothing is in doubt if it is empty. Raises ValueError."""
    if not text:
        return ()
    from msgspec import ValidationError, convert  # which takes long to import

    try:
        found = convert(json.loads(text), tuple[Doubt, ...])
    except (ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if wrong := [version for one in found for version in one.versions if not is_version(*version)]:
        message = f"{wrong[0]!r} is no version of a package"
        raise ValueError(message)
    return tuple(replace(one, site=one_line(one.site), reason=one_line(one.reason)) for one in found)


def keep_out(doubts: Iterable[Doubt], rules: Rules) -> Rules:
    """Return rules by which no version in doubt comes in, unless it is live; what failed here counts more."""
    found = [
        Withheld(
            name=name, version=version, by="first", reason=f"{doubt.site}, which goes first, has failed with {one}"
        )
        for doubt in doubts
        for name, version in sorted(doubt.versions)
        for one in [f"{name} {version}"]
        if version not in rules.live.get(name, "").split(", ")
    ]
    return replace(rules, rejected=(*found, *rules.rejected))


def why_all_waits(doubts: Iterable[Doubt], changes: Iterable[Change]) -> str:
    """Say why nothing of this may come in; empty if it may."""
    brought = {(name, one) for name, versions in brought_in(changes).items() for one in versions.split(", ")}
    for doubt in doubts if brought else ():
        if doubt.reason:
            return f"it waits for {doubt.site}, which goes first: {doubt.reason}"
        for name, version in sorted(brought & doubt.versions):
            return f"it waits, as {doubt.site}, which goes first, has failed with {name} {version}"
    return ""


def what_waits(doubts: Sequence[Doubt], held_back: Iterable[Withheld]) -> str:
    """Say which versions wait, and for which sites; empty for none."""
    waiting = [one for one in held_back if one.by == "first"]
    names = {one.name for one in waiting}
    sites = [one.site for one in doubts if not names.isdisjoint(name for name, _ in one.versions)]
    verb = "waits" if len(waiting) == 1 else "wait"
    told = first_few(f"{one.name} {one.version}" for one in waiting)
    return f"{told} {verb} for {', '.join(sites)}, which failed first" if waiting else ""
