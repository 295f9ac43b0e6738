"""What an update makes of a commit, decided before anything is built: the same for a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.releases.soundness import is_dead
from releaser.steps.fixes import fixes_due
from releaser.steps.gating import Lower
from releaser.steps.holding import next_try, tries_again
from releaser.steps.migrations import listed, still_wait
from releaser.steps.renewal import can_be_renewed
from releaser.steps.resolve import candidate_key, lock_of, own_files, resolve, resolve_as_locked
from releaser.steps.unchanged import is_as_live

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.releases.quarantine import FailedCandidate
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.lower import Resolver
    from releaser.steps.pull import Target
    from releaser.steps.renewal import Renewal
    from releaser.steps.resolve import Failed, Resolution

    #: `failed`: it failed before, and is not tried again; `unsure`: it is, if the live release passes its tests by now.
    Outcome = Literal["nothing", "failed", "unsure", "build"]
    #: `stays`: there is nothing to move to; `moves`: the checkout moves; `restores`: it gets back the lock of what is
    #: live as well.
    Following = Literal["stays", "moves", "restores"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What an update does with a resolution; `failed` is how this very candidate failed before, if it did."""

    outcome: Outcome
    resolution: Resolution
    failed: FailedCandidate | None = None
    #: Resolves once more, with what is held by then; None where the lock was given.
    again: Resolver | None = None


def decide(run: Run, fitness: Fitness, live: Release | None, due: Renewal | None, *, force: bool) -> Decision:
    """Resolve in the staging tree, and decide whether a release is built from that.

    `due` says that the live one has to be rebuilt anyway; `force` takes what failed before too. Raises ResolutionError.
    """

    def fixes() -> dict[str, str]:
        return fixes_due(run, fitness, live)

    def again(failed: Failed, lower: Lower | None) -> Resolution:
        return resolve(run, fitness, live, force=force, fixes=fixes, failed=failed, lower=lower)

    renews = due is not None and can_be_renewed(run, fitness, due.release, fitness.lock)
    resolution = resolve_as_locked(run, live, fitness.lock) if renews else _resolved(run, live, again, force=force)
    is_new = due is not None or is_another(run, fitness, resolution, live)
    if not is_new and not run.quarantine().waiting:
        return Decision(outcome="nothing", resolution=resolution)
    failed = run.quarantine().candidate(candidate_key(run, fitness, resolution.lock))
    outcome: Outcome = "build"
    if not is_new and (failed is None or not failed.migrations):
        outcome = "nothing"
    elif failed is not None and not force:
        outcome = _outcome_again(run, failed)
    return Decision(outcome=outcome, resolution=resolution, failed=failed, again=None if renews else again)


def _resolved(run: Run, live: Release | None, again: Resolver, *, force: bool) -> Resolution:
    """Resolve with no more than one package that is known to fail, so that it is clear what failed.

    A package that would stay where it is comes in just older than what failed, if nobody has tried that.
    """
    resolution = again("rest", None)
    if force:
        return resolution
    holds, before, found = run.holds(), lock_of(live).versions, resolution.lock.versions
    tries = tries_again(holds, found, before)
    stay = {name: before[name] for name in tries if name in before and name != next_try(holds, tries)}
    ahead = {one.name for one in holds.entries if one.by == "tests" and one.is_ahead_of(before)}
    near = frozenset(
        name for name in ahead if found.get(name) == before[name] and holds.may_come_near(name, before[name])
    )
    return again("rest", Lower(stay=stay, near=near)) if stay or near else resolution


def is_another(run: Run, fitness: Fitness, resolution: Resolution, live: Release | None) -> bool:
    """Tell whether a release would be another one than what is live: in its packages, its code or its group."""
    return (
        live is None
        or run.draft.pulled is not None
        or live.manifest.group != fitness.group
        or not is_as_live(run.site, resolution.lock, live)
    )


def _outcome_again(run: Run, failed: FailedCandidate) -> Outcome:
    """Decide whether a candidate is tried once more that failed because the site was sick, or waits for something.

    While nothing can run on what is live, nobody can tell, and the site is down: the candidate is tried each time.
    """
    if failed.migrations:
        return "failed" if still_wait(run, failed) else "build"
    live = run.store.live()
    if failed.unfinished or (live is not None and is_dead(live)):
        return "build"
    return "unsure" if failed.sick else "failed"


def why_not_again(failed: FailedCandidate) -> str:
    """Say why a candidate that failed before is not built once more."""
    if failed.migrations:
        return f"{failed.release} waits until migrations are applied: {listed(failed.migrations)}"
    return f"nothing newer than {failed.release}, which failed before"


def choose_following(run: Run, target: Target, decision: Decision | None, live: Release | None) -> Following:
    """Decide what becomes of the checkout where no release is built.

    Commits that bring neither code nor packages come in quietly: a lock of the same packages in another text, the
    export, an empty commit, or one and its revert. Visitors get the files that they got before. Where the commit has
    another lock, from which the packages come out that are live, a release of these would be the one before once more:
    the checkout gets the lock of the live release back. `run` is that of the checkout or of its staging tree.
    """
    if live is None or target.brings_code:
        return "stays"
    git, (lock, *_) = run.site.git, own_files(run.site, run.site.git.layout.top)
    data = git.data(target.commit, lock)
    try:
        if data is None or is_as_live(run.site, LockFile.parse(data), live):
            return "moves" if data is not None and target.moves else "stays"
    except InvalidLockError:  # which a lock that is no good for a release is as well
        return "stays"
    return "restores" if decision is not None and decision.outcome == "nothing" else "stays"
