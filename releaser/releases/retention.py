"""Decides which releases to keep, each with its reasons, and deletes the others."""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from releaser.errors import os_reason
from releaser.listener import Gauge
from releaser.releases import leases
from releaser.releases.contents import DiskUsage
from releaser.releases.release import DOOMED
from releaser.releases.retention_settings import RetentionSettings
from releaser.releases.store import store_of
from releaser.system.frozen import Frozen, field, replace
from releaser.system.reserve import has_little_left
from releaser.system.words import duration, first_few

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore, StoreSnapshot
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


Action = Literal["keep", "remove"]


class RetentionDecision(Frozen):
    """The decision on one release: every reason to keep it, or why none applies.

    `error` says why a release that should go could not be deleted.
    """

    id: str
    kept: bool
    reasons: tuple[str, ...]
    error: str = ""

    @property
    def action(self) -> Action:
        """The decision, in one word."""
        return "keep" if self.kept else "remove"

    @property
    def reason(self) -> str:
        """The reason the release is kept or removed, or could not be deleted, in one line."""
        return "; ".join([*self.reasons, *([f"could not be deleted: {self.error}"] if self.error else [])])


class Present(Frozen):
    """The present facts that count in addition to the settings."""

    now: datetime
    rollback_target: str | None = None
    #: The processes that use a release, in words, for each release in use.
    in_use: Mapping[str, str] = field(default_factory=dict)
    #: True if the disk is full.
    is_full: bool = False


def judge(snapshot: StoreSnapshot, settings: RetentionSettings, present: Present) -> tuple[RetentionDecision, ...]:
    """Decide on every release, newest first by the record, then on those with a damaged manifest.

    Failed releases, those that were rolled back, and overrides take no places of good releases. A release that is kept
    for another reason still takes its place. Releases younger than `keep_at_least` stay: a process without a lease yet
    may have begun to use one. On a full disk, places and age keep no release that was never live: nothing runs on it.
    """
    counts: collections.Counter[str] = collections.Counter()
    decided = []
    for release in snapshot.releases:
        kind = "override" if release.manifest.origin == "override" and not release.live else release.state
        is_spare = present.is_full and kind in ("failed", "override", "candidate")
        places = settings.places(kind)
        among = f"the newest {kind} one" if places == 1 else f"one of the {places} newest {kind} ones"
        counts[kind] += 1
        reasons = (
            *_ties(release, snapshot, present),
            *(
                []
                if is_spare
                else [*([among] if counts[kind] <= places else []), *_youth(release, settings, present.now)]
            ),
        )
        target = _explain_removal(kind, among if places else "", settings, is_full=is_spare)
        decided.append(RetentionDecision(id=release.id, kept=bool(reasons), reasons=reasons or (target,)))
    for name, wrong in snapshot.damaged.items():  # a person may want to look at a release with a damaged manifest
        lifecycle = snapshot.lifecycles.get(name)
        ties = {"live": name == snapshot.live_id, "pinned": lifecycle is not None and lifecycle.pinned}
        reasons = (*(tie for tie, holds in ties.items() if holds), f"left alone, as its manifest {wrong}")
        decided.append(RetentionDecision(id=name, kept=True, reasons=reasons))
    return tuple(decided)


def _ties(release: Release, snapshot: StoreSnapshot, present: Present) -> Iterator[str]:
    """Yield the reasons to keep a release, whatever its place and its age."""
    if release.live:
        yield "live"
    if release.pinned:
        yield "pinned"
    if release.id == present.rollback_target:
        yield "the release that a rollback goes to"
    if release.id == snapshot.live_before_flip:
        yield "was live until the last flip"
    if release.id in present.in_use:
        yield present.in_use[release.id]


def _youth(release: Release, settings: RetentionSettings, now: datetime) -> Iterator[str]:
    """Yield why a release is too young to go; the age of one from the future is unknown."""
    age = (now - release.manifest.created_at).total_seconds()
    if age < 0:
        yield f"dated {duration(-age)} ahead of the clock"
        return
    if release.state == "good" and age < settings.keep_within:
        yield f"younger than {duration(settings.keep_within, exact=True)}"
    if age < settings.keep_at_least:
        yield f"not yet {duration(settings.keep_at_least, exact=True)} old"


def _explain_removal(kind: str, among: str, settings: RetentionSettings, *, is_full: bool = False) -> str:
    """Explain why no reason applies; `among` describes the places of its kind, empty without any."""
    if is_full:
        return "never live, and the disk is full"
    if kind == "candidate":
        return "sealed, but it never went live"
    lacks = [f"not {among}"] if among else []
    if kind == "good" and settings.keep_within:
        lacks.append(f"older than {duration(settings.keep_within, exact=True)}")
    if lacks:
        return f"{kind}, but {', and '.join(lacks)}"
    return f"{kind}, and " + ("`keep_failed` is 0" if kind == "failed" else f"no {kind} releases are kept")


AT_ONCE = 200  # releases; each claim takes a file descriptor, of which a process often has 1,024
UNSEEN = "in use by a process that cannot be seen from here"
_FORGOTTEN = timedelta(days=30)  # after which a release that no person has asked for may go
_CUT_OFF = "partly deleted by an earlier run"
_MOST_NAMED = 3
IN_USE = "a process is using it"


def prune_by_settings(site: Site, log: RunLog, *, is_full: bool = False) -> tuple[RetentionDecision, ...]:
    """Prune by the settings, and record releases that could not be deleted. Raises OSError.

    `is_full` says that the disk was full before this run freed space.
    """
    decided = prune(
        RetentionSettings.of(site), store_of(site), now=datetime.now(UTC), measure=log.measure, is_full=is_full
    )
    for removal in removals(decided):
        log.undeleted.pop(removal.id, None)
    for failure in failures(decided):
        log.undeletable(failure.id, failure.error)
    return decided


def prune_step(site: Site, log: RunLog, step: Step) -> None:
    """Prune as a step of a run. A failed deletion is reported, and does not fail the run. Raises OSError."""
    store = store_of(site)
    # Cheap first: can anything go at all? Only then look for the rollback target and for processes.
    present = Present(now=datetime.now(UTC), is_full=has_little_left(store.state_dir))
    first = judge(store.snapshot(), RetentionSettings.of(site), present)
    if all(decision.kept for decision in first) and not store.half_removed():
        step.skip("nothing to remove")
        return
    decided = prune_by_settings(site, log)
    failed, removed = failures(decided), removals(decided)
    if failed:
        step.warns(f"{len(removed)} removed, {len(failed)} could not be")
    elif removed:
        step.says(f"{len(removed)} removed: {', '.join(removal.id for removal in removed)}")
    else:
        step.skip("nothing to remove")


def removals(decided: Iterable[RetentionDecision]) -> list[RetentionDecision]:
    """Return the decisions on releases that were deleted, or would be."""
    return [decision for decision in decided if not decision.kept and not decision.error]


def failures(decided: Iterable[RetentionDecision]) -> list[RetentionDecision]:
    """Return the decisions on releases that could not be deleted."""
    return [decision for decision in decided if decision.error]


def decide_retention(
    settings: RetentionSettings, store: ReleaseStore, *, now: datetime, is_full: bool = False
) -> tuple[RetentionDecision, ...]:
    """Decide which of the present releases the settings keep. Writes nothing."""
    snapshot = store.snapshot()
    target = snapshot.rollback_target()
    waiting = {name: f"ready, and {reason}" for name, reason in snapshot.list_reserved().items()}
    if (newest := snapshot.find_waiting()) is not None:
        waiting[newest.id] = f"ready, and waits: {snapshot.lifecycles[newest.id].waits}"
    if (newest := snapshot.find_requestable()) is not None and (now - newest.manifest.created_at) < _FORGOTTEN:
        waiting[newest.id] = f"ready, and waits for `{snapshot.lifecycles[newest.id].request}`"
    present = Present(
        now=now,
        rollback_target=target.id if target else None,
        in_use=_in_use(store, [release.id for release in snapshot.releases]) | waiting,
        is_full=is_full or has_little_left(store.state_dir),
    )
    decided = judge(snapshot, settings, present)
    return (*decided, *(RetentionDecision(id=name, kept=False, reasons=(_CUT_OFF,)) for name in store.half_removed()))


def _in_use(store: ReleaseStore, names: Iterable[str]) -> dict[str, str]:
    """Describe the users of each release in use."""
    locks = functools.cache(leases.read_file_locks)
    used = {}
    for name in names:
        directory = str(store.path(name))
        if found := leases.users(directory, locks):
            users = f"process{'' if len(found) == 1 else 'es'} {first_few(map(str, found), _MOST_NAMED)}"
            used[name] = f"in use by {users}"
        elif leases.is_used(directory):
            used[name] = UNSEEN
    return used


def prune(
    settings: RetentionSettings,
    store: ReleaseStore,
    *,
    now: datetime,
    measure: Callable[[Gauge], None] | None = None,
    is_full: bool = False,
) -> tuple[RetentionDecision, ...]:
    """Delete the releases that the settings do not keep; return the outcomes. Raises OSError if these are not recorded.

    A release that came into use meanwhile is kept, with that reason; one that cannot be deleted has an `error`. In both
    cases the others are deleted, and the next run tries again.
    """
    decided = decide_retention(settings, store, now=now, is_full=is_full)
    doomed = [decision for decision in decided if not decision.kept]
    if doomed and measure is not None:
        measure(_gauge(store, {name.id for name in doomed}))
    fared: dict[str, RetentionDecision] = {}
    for start in range(0, len(doomed), AT_ONCE):
        fared |= _delete(store, doomed[start : start + AT_ONCE])
    return tuple(fared.get(decision.id, decision) for decision in decided)


def _gauge(store: ReleaseStore, names: set[str]) -> Gauge:
    """Return the gauge that shows the bytes of the deleted releases."""
    sizes = {release.id: DiskUsage.of(release.manifest).size_bytes for release in store.all() if release.id in names}

    def read() -> int:
        existing = set(os.listdir(store.directory))
        return sum(size for name, size in sizes.items() if not existing & {name, DOOMED + name})

    return Gauge(total=sum(sizes.values()), read=read)


def _delete(store: ReleaseStore, doomed: Iterable[RetentionDecision]) -> dict[str, RetentionDecision]:
    """Delete releases while no process can begin to use them; return the outcomes. Raises OSError."""
    fared, free = {decision.id: decision for decision in doomed}, []
    failed: dict[str, OSError] = {}
    with contextlib.ExitStack() as claims:
        for name in fared:
            directory = str(store.path(name))
            claimed = leases.claim(directory)
            if claimed is not None:
                claims.callback(os.close, claimed)
            if claimed is not None or not os.path.isdir(directory):
                free.append(name)
            elif used := _in_use(store, [name]).get(name):
                fared[name] = replace(fared[name], kept=True, reasons=(used,))
            else:
                failed[name] = OSError(errno.ENOLCK, "its lease cannot be taken", directory)
        failed |= store.remove(*free)
    return fared | {name: replace(fared[name], error=os_reason(error)) for name, error in failed.items()}


# One release


def remove_unless_used(site: Site, log: RunLog, name: str) -> None:
    """Delete a release unless it is in use. Raises OSError if the ledger cannot be written."""
    with _keep_unused(log, store_of(site).path(name)) as unused:
        for undeleted, error in store_of(site).remove(name).items() if unused else ():
            log.undeletable(undeleted, os_reason(error))


def remove_unsealed(site: Site, log: RunLog, place: Path) -> None:
    """Delete an incomplete release unless it is in use, and report it if it was complete once. Raises OSError."""
    with _keep_unused(log, place) as unused:
        if not unused:
            return
        known = place.name in store_of(site).ledger().named
        for error in store_of(site).remove(place.name).values():
            raise error
    if known:
        message = f"removed release {place.name}: its manifest was missing"
        log.note_repair(message, "Check who deleted it; the site keeps running.")


@contextlib.contextmanager
def _keep_unused(log: RunLog, place: Path) -> Iterator[bool]:
    """Yield whether a release is unused, and prevent new users meanwhile; record a release that is in use.

    On a full disk, a release without a lease file gets none, and can still be deleted.
    """
    claimed = leases.claim(str(place))
    try:
        unused = claimed is not None or not leases.is_used(str(place))
        if not unused:
            log.undeletable(place.name, IN_USE)
        yield unused
    finally:
        if claimed is not None:
            os.close(claimed)
