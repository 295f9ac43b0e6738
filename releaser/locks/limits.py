"""The limits for uv from the first resolution on, so that uv builds no version that updates skip."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from releaser.locks.versions import Age, Uploads, is_newer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from releaser.locks.rules import Rules


def find_never_built(rules: Rules, uploads: Uploads) -> frozenset[str]:
    """Return the packages that uv need not build: they have wheels, and stay at the locked version."""
    return _find_staying(rules, uploads) - rules.packages.sources


def first_bounds(rules: Rules, uploads: Uploads) -> dict[str, str | None]:
    """Return the versions that uv may look at in the first resolution, as `Rules.specifiers`; empty for all.

    Bounds are for packages that stay and have no wheels, for those that this update does not upgrade, and for those
    that `upgrade` or a constraint limits.
    """
    staying = (_find_staying(rules, uploads) & rules.packages.sources) | rules.unasked
    bounded = (
        staying
        | rules.policy.limits.keys()
        | {
            name
            for name in rules.packages.locked.keys() - rules.packages.local
            if rules.policy.upgrade.of(name) != "all"
        }
    )
    if not bounded:
        return {}
    bounds = rules.specifiers({}, uploads, strictness="exclude_only")
    return {name: (one or (None if name in staying else "")) if name in bounded else "" for name, one in bounds.items()}


def bound_held(rules: Rules) -> tuple[dict[str, str | None], frozenset[str]]:
    """Return bounds that keep held packages without wheels as they are, and the names of held packages with wheels."""
    names = frozenset(name for name in rules.packages.locked if rules.held_at(name) is not None)
    bounds = rules.specifiers({}, Uploads()) if names & rules.packages.sources else {}
    return {name: bounds[name] for name in names & rules.packages.sources}, names - rules.packages.sources


def _find_staying(rules: Rules, uploads: Uploads) -> frozenset[str]:
    """Return the locked packages that stay at their version because they are held, ignored or of unknown age."""
    age = rules.policy.age
    return frozenset(
        name
        for name, version in rules.packages.locked.items()
        if name not in rules.packages.local
        and (rules.keeps(name) or (age.unknown == "refuse" and age.of(name) and uploads.lacks(name, version)))
    )


def exclude_newer(rules: Rules, found: Iterable[str], uploads: Uploads) -> dict[str, datetime | None]:
    """Return the latest upload times that uv may accept, by package; `*` is for all others.

    Locked versions stay available, however young. Without any known time, there is no limit.
    """
    age = rules.policy.age
    names = {*found, *rules.packages.locked, *(name for name, _ in uploads.times)} - rules.packages.local
    limits = {name: _limit(rules, name, uploads) for name in sorted(names)}
    if age.least and (any(uploads.times.values()) or (age.unknown == "refuse" and uploads.times)):
        general = age.now - timedelta(seconds=age.least)
        named = {name: uploads.own_limit(name) if one is None else one for name, one in limits.items()}
        return {"*": min(general, uploads.limit or general), **named}
    return {name: limit for name, limit in limits.items() if limit is not None}


def limits_of_builds(age: Age, uploads: Uploads) -> dict[str, datetime | None]:
    """Return the latest upload times for build dependencies, as `exclude_newer` does.

    `uploads` are those of the lock, which does not name build dependencies.
    """
    if not any(uploads.times.values()):
        return {}
    named = {name for name, _ in age.packages if not {*name} & {*"*?["}}  # uv knows no patterns
    limits: dict[str, datetime | None] = {}
    for name in named | {name for name, _ in uploads.last}:
        last = max((time for (one, _), time in uploads.last.items() if one == name and time), default=None)
        limit = age.latest(name)
        if last is not None and last >= limit:  # locked versions stay available
            limits[name] = last + timedelta(seconds=1)
        elif name in named:
            limits[name] = limit if age.of(name) else None
    general = age.now - timedelta(seconds=age.least)
    return {"*": min(general, uploads.limit or general), **limits} if age.least else limits


def without_limits(text: str) -> str:
    """Return the text of a uv.lock without its time limits."""
    head, start, packages = text.partition("[[package]]\n")  # a long text, which has limits only in its head
    if "exclude-newer" not in head and "[options]" not in head:
        return text
    head = re.sub(r"^\[options\.exclude-newer-package\]\n(?:[^\[\n].*\n)*\n?", "", head, flags=re.MULTILINE)
    head = re.sub(r"^exclude-newer(?:-span)? = .*\n", "", head, flags=re.MULTILINE)
    return re.sub(r"^\[options\]\n+(?=\[|\Z)", "", head, flags=re.MULTILINE) + start + packages


def _limit(rules: Rules, name: str, uploads: Uploads) -> datetime | None:
    age = rules.policy.age.for_fix(name) if name in rules.fixes else rules.policy.age
    if not age.of(name) or rules.keeps(name):
        return None
    locked, own = rules.packages.locked.get(name), uploads.own_limit(name)
    newer_without_time = (
        one == name and (locked is None or is_newer(version, locked)) for one, version in uploads.without_time
    )
    if age.unknown == "take" and any(newer_without_time):
        return None
    limit = age.latest(name) if own is None else min(age.latest(name), own)
    if locked is None:
        return limit
    since = [uploads.last.get((name, word)) for word in locked.split(", ")]
    # A limit would exclude a locked version of unknown time; uv accepts uploads before the limit, not at it.
    return max([limit, *(time + timedelta(seconds=1) for time in since if time)]) if all(since) else None
