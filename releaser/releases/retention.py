"""Which releases are kept and which go, each with its reasons."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from releaser.system.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from releaser.releases.release import Release
    from releaser.releases.store import StoreSnapshot


Action = Literal["keep", "remove"]


@dataclass(frozen=True, kw_only=True)
class KeepPolicy:
    """How many good releases beside the live one and for how long; how many that failed, and of those backed out.

    Nothing younger than `keep_at_least` goes, whatever it is: a process may have begun to use it that has no lease yet.
    """

    keep: int
    keep_within: timedelta
    keep_failed: int
    keep_at_least: timedelta


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to happen to one release, and why: every reason to keep it, or why none applies.

    `error` says what kept one from being deleted that was to go.
    """

    id: str
    kept: bool
    reasons: tuple[str, ...]
    error: str = ""

    @property
    def action(self) -> Action:
        """What is to be done with it."""
        return "keep" if self.kept else "remove"

    @property
    def reason(self) -> str:
        """All that there is to say, in one line."""
        return "; ".join([*self.reasons, *([f"could not be deleted: {self.error}"] if self.error else [])])


def judge(
    snapshot: StoreSnapshot,
    policy: KeepPolicy,
    *,
    now: datetime,
    rollback_target: str | None,
    in_use: Mapping[str, str],
) -> tuple[Verdict, ...]:
    """Decide on every release, newest first by the record, and at the end on what has a damaged manifest.

    `in_use` says of a release who uses it. A release that failed or was backed out takes none of the places of the good
    ones, nor does one that was built to try an override; and one that is kept for another reason does not give up its
    own.
    """
    places: collections.Counter[str] = collections.Counter()
    decided = []
    for release in snapshot.releases:
        kind = _kind(release)
        places[kind] += 1
        reasons = (
            *_ties(release, snapshot, rollback_target, in_use),
            *_place(release, policy, places[kind]),
            *_youth(release, policy, now),
        )
        decided.append(Verdict(id=release.id, kept=bool(reasons), reasons=reasons or (_why_it_goes(release, policy),)))
    return (*decided, *(_left_alone(name, wrong, snapshot) for name, wrong in snapshot.damaged.items()))


def _ties(release: Release, snapshot: StoreSnapshot, target: str | None, in_use: Mapping[str, str]) -> Iterator[str]:
    """Yield what ties a release to the present, whatever its place and its age."""
    if release.live:
        yield "live"
    if release.pinned:
        yield "pinned"
    if release.id == target:
        yield "the release that a rollback goes to"
    if release.id == snapshot.just_left:
        yield "was live until the last flip"
    if release.id in in_use:
        yield in_use[release.id]


def _place(release: Release, policy: KeepPolicy, place: int) -> Iterator[str]:
    """Yield the place that a release has among its like."""
    if place <= _places(release, policy):
        yield _among(_places(release, policy), _kind(release))


def _kind(release: Release) -> str:
    """Return among which releases one has its place: those of its state, or those that try an override."""
    return "override" if release.manifest.origin == "override" and not release.live else release.state


def _places(release: Release, policy: KeepPolicy) -> int:
    failed = policy.keep_failed
    return {"good": policy.keep, "failed": failed, "bad": failed, "override": failed}.get(_kind(release), 0)


def _youth(release: Release, policy: KeepPolicy, now: datetime) -> Iterator[str]:
    """Yield why a release is too young to go; that of one from the future nobody can tell."""
    age = now - release.manifest.created_at
    if age < timedelta(0):
        yield f"dated {duration(-age.total_seconds())} ahead of the clock"
        return
    if release.state == "good" and age < policy.keep_within:
        yield f"younger than {duration(policy.keep_within.total_seconds(), exact=True)}"
    if age < policy.keep_at_least:
        yield f"not yet {duration(policy.keep_at_least.total_seconds(), exact=True)} old"


def _why_it_goes(release: Release, policy: KeepPolicy) -> str:
    state, places = _kind(release), _places(release, policy)
    if state == "candidate":
        return "sealed, but it never went live"
    lacks = [f"not {_among(places, state)}"] if places else []
    if state == "good" and policy.keep_within:
        lacks.append(f"older than {duration(policy.keep_within.total_seconds(), exact=True)}")
    return (
        f"{state}, but {', and '.join(lacks)}"
        if lacks
        else f"{state}, and " + ("`keep_failed` is 0" if state == "failed" else f"no {state} releases are kept")
    )


def _among(number: int, state: str) -> str:
    return f"the newest {state} one" if number == 1 else f"one of the {number} newest {state} ones"


def _left_alone(name: str, wrong: str, snapshot: StoreSnapshot) -> Verdict:
    """Keep what nothing is known of; a person may want to look at it."""
    ties = [
        *(["live"] if name == snapshot.live_id else []),
        *(["pinned"] if name in snapshot.ledger.pins else []),
    ]
    return Verdict(id=name, kept=True, reasons=(*ties, f"left alone, as its manifest {wrong}"))
