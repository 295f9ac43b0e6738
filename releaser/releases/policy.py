"""Which releases are kept and which go, each with its reason."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from releaser.releases.release import Release


@dataclass(frozen=True, kw_only=True)
class KeepPolicy:
    """How many good releases beside the live one and for how long; how many that failed, and of those backed out."""

    keep: int
    keep_within: timedelta
    keep_failed: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What happens to one release, and why."""

    release: Release
    kept: bool
    reason: str


def judge(
    releases: Sequence[Release],
    policy: KeepPolicy,
    *,
    now: datetime,
    rollback_target: str | None,
    in_use: frozenset[str] = frozenset(),
) -> tuple[Verdict, ...]:
    """Decide on every release, given newest first by the record.

    A release that failed or was backed out takes none of the places of the good ones.
    """
    return tuple(_verdicts(releases, policy, now, rollback_target, in_use))


def _verdicts(
    releases: Sequence[Release], policy: KeepPolicy, now: datetime, target: str | None, in_use: frozenset[str]
) -> Iterator[Verdict]:
    seen: collections.Counter[str] = collections.Counter()
    for release in releases:
        reason = _protection(release, target, in_use)
        seen[release.state] += 1
        if not reason and release.state == "good":
            reason = _good_reason(release, policy, now, seen["good"])
        elif not reason and release.state in ("failed", "bad") and seen[release.state] <= policy.keep_failed:
            reason = f"one of the {policy.keep_failed} newest {release.state} ones"
        yield Verdict(release=release, kept=bool(reason), reason=reason or _removal(release, policy))


def _protection(release: Release, target: str | None, in_use: frozenset[str]) -> str:
    if release.live:
        return "live"
    if release.pinned:
        return "pinned"
    if release.id == target:
        return "the release that a rollback goes to"
    return "in use" if release.id in in_use else ""


def _good_reason(release: Release, policy: KeepPolicy, now: datetime, place: int) -> str:
    if place <= policy.keep:
        return f"one of the {policy.keep} newest good ones"
    if now - release.manifest.created_at <= policy.keep_within:
        return f"younger than {_days(policy.keep_within)}"
    return ""


def _removal(release: Release, policy: KeepPolicy) -> str:
    if release.state == "good":
        return f"good, but not one of the {policy.keep} newest, and older than {_days(policy.keep_within)}"
    if release.state == "candidate":
        return "sealed, but it never went live"
    return f"{release.state}, and not one of the {policy.keep_failed} newest {release.state} ones"


def _days(length: timedelta) -> str:
    days = length / timedelta(days=1)
    return f"{days:g} {'day' if days == 1 else 'days'}"
