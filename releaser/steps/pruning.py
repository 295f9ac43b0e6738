"""Deleting releases that the policy no longer keeps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from releaser.releases import leases
from releaser.releases.policy import KeepPolicy, Verdict, judge
from releaser.steps.publish import attempt

if TYPE_CHECKING:
    from releaser.project.settings import Settings
    from releaser.releases.store import ReleaseStore
    from releaser.report.recorder import Step
    from releaser.run import Run


def prune_after(run: Run) -> None:
    """Prune as the last of the follow-ups; a failure is reported."""
    attempt(run, "prune", lambda step: _prune(run, step))


def verdicts(policy: KeepPolicy, store: ReleaseStore) -> tuple[Verdict, ...]:
    """Decide what the policy keeps of the releases that are there now."""
    releases = store.all()
    target = store.rollback_target()
    in_use = frozenset(one.id for one in releases if leases.holders(str(one.directory)))
    return judge(
        releases,
        policy,
        now=datetime.now(UTC),
        rollback_target=target.id if target else None,
        in_use=in_use,
        just_left=_just_left(store),
    )


def _just_left(store: ReleaseStore) -> str | None:
    """Return the release that was live until the last flip."""
    activations = store.ledger().activations
    return activations[-2] if len(activations) > 1 and activations[-1] == store.live_id() else None


def keep_policy(settings: Settings) -> KeepPolicy:
    """Return the policy that the settings describe."""
    return KeepPolicy(
        keep=settings.keep,
        keep_within=timedelta(seconds=settings.keep_within),
        keep_failed=settings.keep_failed,
    )


def _prune(run: Run, step: Step) -> None:
    removed = prune(run.store, verdicts(keep_policy(run.site.settings), run.store))
    if removed:
        step.says(f"{len(removed)} removed")
    else:
        step.skipped("nothing to remove")


def prune(store: ReleaseStore, decided: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """Delete what was decided against and is not in use; return what was deleted. Raises OSError."""
    removed = []
    for verdict in decided:
        if verdict.kept:
            continue
        claimed = leases.claim(str(verdict.release.directory))
        if claimed is None:
            continue
        try:
            store.remove(verdict.release.id)
        finally:
            leases.release(claimed)
        removed.append(verdict)
    return tuple(removed)
