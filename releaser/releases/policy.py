"""Which releases are kept and which go, each with its reasons."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from releaser.releases.census import Census
    from releaser.releases.release import Release

_UNITS = (
    ("day", timedelta(days=1)),
    ("hour", timedelta(hours=1)),
    ("minute", timedelta(minutes=1)),
    ("second", timedelta(seconds=1)),
)


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
    def action(self) -> str:
        """What is to be done with it."""
        return "keep" if self.kept else "remove"

    @property
    def reason(self) -> str:
        """All that there is to say, in one line."""
        return "; ".join([*self.reasons, *([f"could not be deleted: {self.error}"] if self.error else [])])

    def as_json(self) -> dict[str, Any]:
        """Return what `prune --json` prints."""
        return {
            "release": self.id,
            "action": self.action,
            "reason": self.reason,
            "reasons": list(self.reasons),
            "error": self.error or None,
        }


def judge(
    census: Census,
    policy: KeepPolicy,
    *,
    now: datetime,
    rollback_target: str | None,
    in_use: Mapping[str, str],
) -> tuple[Verdict, ...]:
    """Decide on every release, newest first by the record, and at the end on what has a damaged manifest.

    `in_use` says of a release who uses it. A release that failed or was backed out takes none of the places of the good
    ones, nor does one that was built to try an override, or one in whose place another one was rebuilt; and one that
    is kept for another reason does not give up its own.
    """
    places: collections.Counter[str] = collections.Counter()
    decided = []
    replaced = census.replaced
    for release in census.releases:
        successor = None if release.live else replaced.get(release.id)
        kind = _kind(release)
        places[kind] += not successor
        reasons = (
            *_ties(release, census, rollback_target, in_use),
            *(() if successor else _place(release, policy, places[kind])),
            *_youth(release, policy, now, of_use=not successor),
        )
        why = f"rebuilt as {successor}" if successor else _why_it_goes(release, policy)
        decided.append(Verdict(id=release.id, kept=bool(reasons), reasons=reasons or (why,)))
    return (*decided, *(_left_alone(name, wrong, census) for name, wrong in census.damaged.items()))


def _ties(release: Release, census: Census, target: str | None, in_use: Mapping[str, str]) -> Iterator[str]:
    """Yield what ties a release to the present, whatever its place and its age."""
    if release.live:
        yield "live"
    if release.pinned:
        yield "pinned"
    if release.id == target:
        yield "the release that a rollback goes to"
    if release.id == census.just_left:
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


def _youth(release: Release, policy: KeepPolicy, now: datetime, *, of_use: bool) -> Iterator[str]:
    """Yield why a release is too young to go; that of one from the future nobody can tell.

    What is not `of_use` any more, as another one stands in its place, only gets the time that everything gets.
    """
    age = now - release.manifest.created_at
    if age < timedelta(0):
        yield f"dated {in_words(-age)} ahead of the clock"
        return
    if of_use and release.state == "good" and age < policy.keep_within:
        yield f"younger than {in_words(policy.keep_within)}"
    if age < policy.keep_at_least:
        yield f"not yet {in_words(policy.keep_at_least)} old"


def _why_it_goes(release: Release, policy: KeepPolicy) -> str:
    state, places = _kind(release), _places(release, policy)
    if state == "candidate":
        return "sealed, but it never went live"
    lacks = [f"not {_among(places, state)}"] if places else []
    if state == "good" and policy.keep_within:
        lacks.append(f"older than {in_words(policy.keep_within)}")
    return f"{state}, but {', and '.join(lacks)}" if lacks else f"{state}, and no {state} ones are kept for being that"


def _among(number: int, state: str) -> str:
    return f"the newest {state} one" if number == 1 else f"one of the {number} newest {state} ones"


def _left_alone(name: str, wrong: str, census: Census) -> Verdict:
    """Keep what nothing is known of; a person may want to look at it."""
    ties = [
        *(["live"] if name == census.live_id else []),
        *(["pinned"] if name in census.ledger.pins else []),
    ]
    return Verdict(id=name, kept=True, reasons=(*ties, f"left alone, as its manifest {wrong}"))


def in_words(length: timedelta) -> str:
    """Write a length of time for people: in the largest unit of which it is a whole number, else rounded."""
    for name, unit in _UNITS:
        if length >= unit and length % unit == timedelta(0):
            number = length // unit
            return f"{number} {name}{'' if number == 1 else 's'}"
    for name, unit in _UNITS:
        if length >= unit:
            return f"{length / unit:.1f} {name}s"
    return "less than a second" if length else "0 seconds"
