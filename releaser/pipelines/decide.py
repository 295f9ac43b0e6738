"""Whether a release is built, from which lock, and what becomes of commits if none is; `--dry-run` asks here too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from releaser.candidate.audit import audit_live
from releaser.locks.installed import versions_for
from releaser.locks.lock import InvalidLockError, LockFile, changes_between
from releaser.releases.blocks import read_blocks
from releaser.releases.integrity import cannot_run
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key, is_as_live
from releaser.sources import choose_source
from releaser.sources.base import Wanted
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.errors import Finding
    from releaser.locks.lock import Change
    from releaser.locks.vulnerabilities import Audit
    from releaser.pipelines.rebuild import RebuildReason
    from releaser.releases.blocks import StoredBlock
    from releaser.releases.target import Target
    from releaser.resolution.resolve import Resolution, ResolveAgain
    from releaser.run import Workspace
    from releaser.site.site import Site
    from releaser.sources.base import Source

    Outcome = Literal["nothing", "failed", "unsure", "build"]
    Following = Literal["stays", "moves", "restores"]


class Goal(Frozen):
    """What an update builds, and why; or why it builds nothing."""

    work: Workspace
    #: Why what is live has to be rebuilt, if it has.
    due: RebuildReason | None
    #: Whether what failed before is tried again, and the site need not be well.
    force: bool
    outcome: Outcome
    resolution: Resolution
    #: How this very candidate failed before, if it did.
    failed: StoredBlock | None
    #: Resolves once more, with what is held by then; None if the source has no other lock.
    again: ResolveAgain | None
    #: Asks, once in a run, what is known to be wrong with what is live.
    audit: Callable[[], Audit | None]
    #: Which packages cannot stay as they are on another Python.
    moved: tuple[Finding, ...] = ()

    @property
    def is_repair(self) -> bool:
        """Whether somebody has damaged what is live, so that it may be what makes the site sick."""
        return self.due is not None and self.due.is_damaged


def decide(work: Workspace, due: RebuildReason | None, *, force: bool, source: Source | None = None) -> Goal:
    """Resolve in the staging tree, and decide whether a release is built from that.

    The settings say what the source is, unless the command gives one. Raises ResolutionError.
    """
    site = work.site

    @functools.cache
    def audit() -> Audit | None:
        return audit_live(work)

    source = source or choose_source(work, rebuilds=due is not None)
    wanted = Wanted(work=work, force=force, audit=audit)
    resolution = source.resolve(wanted)
    is_new = due is not None or is_another(work, resolution) or _waits(work, resolution)
    key = candidate_key(site, work.facts, resolution.lock) if is_new else None
    failed = read_blocks(site.state_dir).candidate(key) if key is not None else None
    outcome: Outcome = "build" if is_new else "nothing"
    if failed is not None and not force:
        outcome = _outcome_again(work, failed)
    if outcome in ("build", "unsure"):
        source.refuse_unfit(wanted, resolution.lock)
    return Goal(
        work=work,
        due=due,
        force=force,
        outcome=outcome,
        resolution=resolution,
        failed=failed,
        again=source.search(wanted),
        audit=audit,
    )


def changes_of(work: Workspace, resolution: Resolution) -> tuple[Change, ...]:
    """Return what a lock changes; where nothing is live, in uv.lock."""
    if work.live:
        return resolution.diff
    python = work.facts.choice.version
    return changes_between(versions_for(work.facts.lock, python), versions_for(resolution.lock, python))


def is_another(work: Workspace, resolution: Resolution) -> bool:
    """Tell whether a release would be another one than what is live: in packages, code, group, or what is beside it."""
    supply = work.site.supply
    return (
        work.live is None
        or (supply.made_elsewhere and supply.included_sha256 != work.live.manifest.provenance.included_sha256)
        or work.site.pulled is not None
        or work.live.manifest.group != work.facts.group
        or not is_as_live(work.site, resolution.lock, work.live)
    )


def _waits(work: Workspace, resolution: Resolution) -> bool:
    """Whether such a release is ready and waits; somebody may have pulled its commits meanwhile."""
    ready = store_of(work.site).snapshot().find_waiting()
    return ready is not None and ready.key == candidate_key(work.site, work.facts, resolution.lock)


def _outcome_again(work: Workspace, failed: StoredBlock) -> Outcome:
    """Decide whether a candidate is tried once more that failed because the site was sick.

    While nothing can run on what is live, nobody can tell, and the site is down: the candidate is tried each time.
    """
    if work.live is not None and cannot_run(work.live):
        return "build"
    return "unsure" if failed.sick else "failed"


def why_not_again(failed: StoredBlock) -> str:
    """Say why a candidate that failed before is not built once more."""
    return f"nothing newer than {failed.release}, which failed before"


def say_what_blocks(failed: StoredBlock) -> str:
    """Say which candidate cannot go live, why, and since when."""
    return f"{failed.release} failed on {failed.since[:10]}: {failed.reason}"


def choose_following(site: Site, goal: Goal, target: Target) -> Following:
    """Decide what becomes of the checkout where no release is built.

    Commits that bring neither code nor packages come in quietly: a lock of the same packages in another text, the
    export, an empty commit, or one and its revert. Visitors get the files that they got before. Where the commit has
    another lock, from which the packages come out that are live, a release of these would be the one before once more:
    the checkout gets the lock of the live release back.
    """
    live = goal.work.live
    if goal.outcome == "build" or live is None or target.brings_code or not site.project.has_git:
        return "stays"  # without git, nothing but the checkout has its lock
    git, (lock, *_) = site.git, site.own_files()
    data = git.data(target.commit, lock, likely=lock_of(live).data)
    try:
        if data is None or is_as_live(site, LockFile.parse(data), live):
            return "moves" if data is not None and target.moves else "stays"
    except InvalidLockError:  # which a lock that is no good for a release is as well
        return "stays"
    return "restores" if goal.outcome == "nothing" else "stays"
