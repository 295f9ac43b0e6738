"""Which releases are kept and which go, each with its reason."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
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
    just_left: str | None = None,
) -> tuple[Verdict, ...]:
    """Decide on every release, given newest first by the record.

    `just_left` was live until the last flip: what is not restarted yet still runs on it. A release that failed or was
    backed out takes none of the places of the good ones.
    """
    protected: dict[str | None, str] = dict.fromkeys(in_use, "in use")
    protected[just_left] = "was live until the last flip"
    protected[rollback_target] = "the release that a rollback goes to"
    return tuple(_verdicts(releases, policy, now, protected))


def _verdicts(
    releases: Sequence[Release], policy: KeepPolicy, now: datetime, protected: Mapping[str | None, str]
) -> Iterator[Verdict]:
    seen: collections.Counter[str] = collections.Counter()
    for release in releases:
        reason = _protection(release, protected)
        seen[release.state] += 1
        if not reason and release.state == "good":
            reason = _good_reason(release, policy, now, seen["good"])
        elif not reason and release.state in ("failed", "bad") and seen[release.state] <= policy.keep_failed:
            reason = f"one of the {policy.keep_failed} newest {release.state} ones"
        yield Verdict(release=release, kept=bool(reason), reason=reason or _removal(release, policy))


def _protection(release: Release, protected: Mapping[str | None, str]) -> str:
    if release.live:
        return "live"
    if release.pinned:
        return "pinned"
    return protected.get(release.id, "")


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
