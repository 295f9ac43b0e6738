"""Which releases are kept and which go, each with its reasons."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from releaser.system.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from releaser.releases.release import Release
    from releaser.releases.store import StoreSnapshot
    from releaser.site.settings import Settings


Action = Literal["keep", "remove"]


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
        """Why the release is kept or removed, and why it could not be deleted, in one line."""
        return "; ".join([*self.reasons, *([f"could not be deleted: {self.error}"] if self.error else [])])


def judge(
    snapshot: StoreSnapshot,
    settings: Settings,
    *,
    now: datetime,
    rollback_target: str | None,
    in_use: Mapping[str, str],
) -> tuple[Verdict, ...]:
    """Decide on every release, newest first by the record, and at the end on what has a damaged manifest.

    `in_use` says of a release who uses it. A release that failed or was backed out takes none of the places of the good
    ones, nor does one that was built to try an override; and one that is kept for another reason does not give up its
    own. Nothing younger than `keep_at_least` goes, whatever it is: a process may have begun to use it that has no lease
    yet.
    """
    taken: collections.Counter[str] = collections.Counter()
    decided = []
    for release in snapshot.releases:
        kind = "override" if release.manifest.origin == "override" and not release.live else release.state
        places = {"good": settings.keep, "candidate": 0, "live": 0}.get(kind, settings.keep_failed)
        among = f"the newest {kind} one" if places == 1 else f"one of the {places} newest {kind} ones"
        taken[kind] += 1
        reasons = (
            *_ties(release, snapshot, rollback_target, in_use),
            *([among] if taken[kind] <= places else []),
            *_youth(release, settings, now),
        )
        goes = _why_it_goes(kind, among if places else "", settings)
        decided.append(Verdict(id=release.id, kept=bool(reasons), reasons=reasons or (goes,)))
    for name, wrong in snapshot.damaged.items():  # a person may want to look at what nothing is known of
        ties = {"live": name == snapshot.live_id, "pinned": name in snapshot.ledger.pins}
        reasons = (*(tie for tie, holds in ties.items() if holds), f"left alone, as its manifest {wrong}")
        decided.append(Verdict(id=name, kept=True, reasons=reasons))
    return tuple(decided)


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


def _youth(release: Release, settings: Settings, now: datetime) -> Iterator[str]:
    """Yield why a release is too young to go; that of one from the future nobody can tell."""
    age = (now - release.manifest.created_at).total_seconds()
    if age < 0:
        yield f"dated {duration(-age)} ahead of the clock"
        return
    if release.state == "good" and age < settings.keep_within:
        yield f"younger than {duration(settings.keep_within, exact=True)}"
    if age < settings.keep_at_least:
        yield f"not yet {duration(settings.keep_at_least, exact=True)} old"


def _why_it_goes(kind: str, among: str, settings: Settings) -> str:
    """Say why no reason applies; `among` are the places of its kind, empty if there are none."""
    if kind == "candidate":
        return "sealed, but it never went live"
    lacks = [f"not {among}"] if among else []
    if kind == "good" and settings.keep_within:
        lacks.append(f"older than {duration(settings.keep_within, exact=True)}")
    if lacks:
        return f"{kind}, but {', and '.join(lacks)}"
    return f"{kind}, and " + ("`keep_failed` is 0" if kind == "failed" else f"no {kind} releases are kept")
