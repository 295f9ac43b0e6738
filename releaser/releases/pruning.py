"""Deleting releases that the policy no longer keeps."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import os_reason
from releaser.releases import leases
from releaser.releases.retention import Verdict, judge
from releaser.releases.store import store_of
from releaser.system.files import remove_tree
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from releaser.releases.store import ReleaseStore
    from releaser.report import RunLog, Step
    from releaser.site.settings import Settings
    from releaser.site.site import Site


AT_ONCE = 200  # releases; each that is claimed takes a file descriptor, of which a process often has 1,024
UNSEEN = "in use by a process that cannot be seen from here"
_CUT_OFF = "partly deleted by an earlier run"
_MOST_NAMED = 3
IN_USE = "a process is using it"


def prune_by_settings(site: Site, log: RunLog) -> tuple[Verdict, ...]:
    """Prune by the settings, and note what could not be deleted. Raises OSError."""
    decided = prune(site.settings, store_of(site), now=datetime.now(UTC))
    for one in removals(decided):
        log.deleted(one.id)
    for one in failures(decided):
        log.undeletable(one.id, one.error)
    return decided


def prune_step(site: Site, log: RunLog, step: Step) -> None:
    """Prune as a step of a run. What cannot be deleted is reported, and does not fail the run. Raises OSError."""
    decided = prune_by_settings(site, log)
    failed, removed = failures(decided), removals(decided)
    if failed:
        step.warns(f"{len(removed)} removed, {len(failed)} could not be")
    elif removed:
        step.says(f"{len(removed)} removed")
    else:
        step.skipped("nothing to remove")


def removals(decided: Iterable[Verdict]) -> list[Verdict]:
    """Return the releases that went, or would go."""
    return [one for one in decided if not one.kept and not one.error]


def failures(decided: Iterable[Verdict]) -> list[Verdict]:
    """Return the releases that were to go, and could not be deleted."""
    return [one for one in decided if one.error]


def verdicts(settings: Settings, store: ReleaseStore, *, now: datetime) -> tuple[Verdict, ...]:
    """Decide what the policy keeps of the releases that are there now. Writes nothing."""
    snapshot = store.snapshot()
    target = snapshot.rollback_target()

    def judged(in_use: Mapping[str, str]) -> tuple[Verdict, ...]:
        rollback_target = target.id if target else None
        return judge(snapshot, settings, now=now, rollback_target=rollback_target, in_use=in_use)

    in_use = _in_use(store, [one.id for one in snapshot.releases])
    doubtful = [one.id for one in judged(in_use) if not one.kept]
    in_use |= {name: UNSEEN for name in doubtful if leases.is_used(str(store.path(name)))}
    half_gone = (Verdict(id=name, kept=False, reasons=(_CUT_OFF,)) for name in store.half_removed())
    return (*judged(in_use), *half_gone)


def _in_use(store: ReleaseStore, names: Iterable[str]) -> dict[str, str]:
    """Say who uses a release, of those that anybody uses who can be seen."""
    locks = leases.once()
    users = {name: leases.users(str(store.path(name)), locks) for name in names}
    return {
        name: f"in use by process{'' if len(found) == 1 else 'es'} {first_few(map(str, found), _MOST_NAMED)}"
        for name, found in users.items()
        if found
    }


def prune(settings: Settings, store: ReleaseStore, *, now: datetime) -> tuple[Verdict, ...]:
    """Delete what the policy does not keep; return how each release fared. Raises OSError if that cannot be recorded.

    What came into use meanwhile is kept after all, and says so; what cannot be deleted has an `error`. Neither keeps
    the others from being deleted, and both are tried again next time.
    """
    decided = verdicts(settings, store, now=now)
    doomed = [one for one in decided if not one.kept]
    fared: dict[str, Verdict] = {}
    for start in range(0, len(doomed), AT_ONCE):
        fared |= _delete(store, doomed[start : start + AT_ONCE])
    return tuple(fared.get(one.id, one) for one in decided)


def _delete(store: ReleaseStore, doomed: Iterable[Verdict]) -> dict[str, Verdict]:
    """Delete releases while nobody can begin to use them; return how each fared. Raises OSError."""
    fared, free = {one.id: one for one in doomed}, []
    failed: dict[str, OSError] = {}
    with contextlib.ExitStack() as claims:
        for name in fared:
            directory = str(store.path(name))
            claimed = leases.claim(directory)
            if claimed is not None:
                claims.callback(leases.release, claimed)
            if claimed is not None or not os.path.isdir(directory):
                free.append(name)
            elif used := _use(store, name):
                fared[name] = replace(fared[name], kept=True, reasons=(used,))
            else:
                failed[name] = OSError(errno.ENOLCK, "its lease cannot be taken", directory)
        failed |= store.remove(*free)
    return fared | {name: replace(fared[name], error=os_reason(error)) for name, error in failed.items()}


def _use(store: ReleaseStore, name: str) -> str:
    """Say by whom a release is used that could not be claimed; empty if by nobody."""
    return _in_use(store, [name]).get(name) or (UNSEEN if leases.is_used(str(store.path(name))) else "")


# One release


def remove_unless_used(site: Site, log: RunLog, name: str) -> None:
    """Delete a release; in use, it stays until it is not. Raises OSError when the ledger cannot be written."""
    with _unused(log, store_of(site).path(name)) as unused:
        for undeleted, error in store_of(site).remove(name).items() if unused else ():
            log.undeletable(undeleted, os_reason(error))


def remove_unsealed(site: Site, log: RunLog, place: Path) -> None:
    """Delete what is no whole release; one that was a release once is forgotten, which is said. Raises OSError.

    In use, it stays until it is not.
    """
    with _unused(log, place) as unused:
        if not unused:
            return
        known = store_of(site).forget([place.name])
        remove_tree(place)
    if known:
        message = f"removed release {place.name}: its manifest was missing"
        log.repaired(message, "Find out who deleted that; the site keeps running as it is.")


@contextlib.contextmanager
def _unused(log: RunLog, place: Path) -> Iterator[bool]:
    """Keep others from beginning to use a release, and tell whether nobody does; noted is what stays for that.

    On a full disk, one that has no lease file yet gets none, and can still be deleted.
    """
    claimed = leases.claim(str(place))
    try:
        unused = claimed is not None or not leases.is_used(str(place))
        if not unused:
            log.undeletable(place.name, IN_USE)
        yield unused
    finally:
        if claimed is not None:
            leases.release(claimed)
