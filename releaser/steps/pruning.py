"""Deleting releases that the policy no longer keeps."""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from releaser.errors import os_reason
from releaser.releases import leases
from releaser.releases.disk_use import note_again
from releaser.releases.policy import KeepPolicy, Verdict, judge
from releaser.releases.soundness import is_sound
from releaser.steps.follow_ups import attempt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from releaser.project.settings import Settings
    from releaser.releases.processes import Process
    from releaser.releases.store import ReleaseStore
    from releaser.report.recorder import Step
    from releaser.run import Run

AT_ONCE = 200  # releases; each that is claimed takes a file descriptor, of which a process often has 1,024
UNSEEN = "in use by a process that cannot be seen from here"
_CUT_OFF = "half deleted by an earlier run"
_MOST_NAMED = 3


def prune_after(run: Run) -> None:
    """Prune as the last of the follow-ups. What cannot be deleted is reported, and does not fail the run."""
    attempt(run, "prune", lambda step: _prune(run, step))


def pruned(run: Run) -> tuple[Verdict, ...]:
    """Prune by the settings, and note what could not be deleted. Raises OSError."""
    decided = prune(keep_policy(run.site.settings), run.store, now=datetime.now(UTC))
    for one in removals(decided):
        run.draft.undeleted.pop(one.id, None)
    for one in failures(decided):
        run.note_undeleted(one.id, one.error)
    return decided


def _prune(run: Run, step: Step) -> None:
    decided = pruned(run)
    failed, removed = failures(decided), removals(decided)
    if failed:
        step.warns(f"{len(removed)} removed, {len(failed)} could not be")
    elif removed:
        step.says(f"{len(removed)} removed")
    else:
        step.skipped("nothing to remove")


def keep_policy(settings: Settings) -> KeepPolicy:
    """Return the policy that the settings describe."""
    return KeepPolicy(
        keep=settings.keep,
        keep_within=timedelta(seconds=settings.keep_within),
        keep_failed=settings.keep_failed,
        keep_at_least=timedelta(seconds=settings.keep_at_least),
    )


def removals(decided: Iterable[Verdict]) -> list[Verdict]:
    """Return the releases that went, or would go."""
    return [one for one in decided if not one.kept and not one.error]


def failures(decided: Iterable[Verdict]) -> list[Verdict]:
    """Return the releases that were to go, and could not be deleted."""
    return [one for one in decided if one.error]


def verdicts(policy: KeepPolicy, store: ReleaseStore, *, now: datetime) -> tuple[Verdict, ...]:
    """Decide what the policy keeps of the releases that are there now. Writes nothing."""
    census = store.census()
    target = next(filter(is_sound, census.rollback_order()), None)

    def judged(in_use: Mapping[str, str]) -> tuple[Verdict, ...]:
        rollback_target = target.id if target else None
        return judge(census, policy, now=now, rollback_target=rollback_target, in_use=in_use)

    in_use = _in_use(store, [one.id for one in census.releases])
    doubtful = [one.id for one in judged(in_use) if not one.kept]
    in_use |= {name: UNSEEN for name in doubtful if leases.is_used(str(store.path(name)))}
    half_gone = (Verdict(id=name, kept=False, reasons=(_CUT_OFF,)) for name in store.half_removed())
    return (*judged(in_use), *half_gone)


def _in_use(store: ReleaseStore, names: Iterable[str]) -> dict[str, str]:
    """Say who uses a release, of those that anybody uses who can be seen."""
    locks = leases.once()
    users = {name: leases.users(str(store.path(name)), locks) for name in names}
    return {name: _named(found) for name, found in users.items() if found}


def _named(found: Sequence[Process]) -> str:
    shown = ", ".join(map(str, found[:_MOST_NAMED]))
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f"in use by process{'' if len(found) == 1 else 'es'} {shown}{more}"


def prune(policy: KeepPolicy, store: ReleaseStore, *, now: datetime) -> tuple[Verdict, ...]:
    """Delete what the policy does not keep; return how each release fared. Raises OSError if that cannot be recorded.

    What came into use meanwhile is kept after all, and says so; what cannot be deleted has an `error`. Neither keeps
    the others from being deleted, and both are tried again next time.
    """
    decided = verdicts(policy, store, now=now)
    doomed = [one for one in decided if not one.kept]
    fared: dict[str, Verdict] = {}
    for start in range(0, len(doomed), AT_ONCE):
        fared |= _delete(store, doomed[start : start + AT_ONCE])
    if doomed:
        note_again(store)
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
