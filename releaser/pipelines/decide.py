"""Whether a release is built, from which lock, and what becomes of commits if none is; `--dry-run` asks here too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from releaser.candidate.audit import Audits
from releaser.core.source import Wanted
from releaser.locks.installed import versions_for
from releaser.locks.lock import InvalidLockError, LockFile, changes_between
from releaser.releases.blocks import read_blocks
from releaser.releases.integrity import cannot_run
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key, is_as_live
from releaser.sources import choose_source
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, Source
    from releaser.core.target import Target
    from releaser.errors import Finding
    from releaser.locks.lock import Change
    from releaser.pipelines.rebuild import RebuildReason
    from releaser.releases.blocks import StoredBlock
    from releaser.site.site import Site

    Following = Literal["stays", "moves", "restores"]


class Goal(Frozen):
    """What an update builds, and why; or why it builds nothing."""

    wanted: Wanted
    source: Source
    #: Why what is live has to be rebuilt, if it has.
    due: RebuildReason | None
    resolution: Resolution
    #: Whether that is another release than the live one.
    is_new: bool
    #: How this very candidate failed before, if that keeps it from being built.
    failed: StoredBlock | None
    #: Which packages cannot stay as they are on another Python.
    moved: tuple[Finding, ...] = ()

    @property
    def work(self) -> Workspace:
        """What it is built with."""
        return self.wanted.work

    @property
    def builds(self) -> bool:
        """Whether a release is built."""
        return self.is_new and self.failed is None

    @property
    def is_unsure(self) -> bool:
        """Whether the tests of the live release tell if it is built, as the site was sick when it failed."""
        return self.failed is not None and self.failed.sick

    @property
    def is_repair(self) -> bool:
        """Whether somebody has damaged what is live, so that it may be what makes the site sick."""
        return self.due is not None and self.due.is_damaged


def decide(work: Workspace, due: RebuildReason | None, *, force: bool, source: Source | None = None) -> Goal:
    """Resolve in the staging tree, and decide whether a release is built from that.

    The settings say what the source is, unless the command gives one. Raises ResolutionError.
    """
    source = source or choose_source(work, rebuilds=due is not None)
    wanted = Wanted(work=work, audits=Audits(work), force=force)
    resolution = source.resolve(wanted)
    is_new = due is not None or is_another(work, resolution) or _waits(work, resolution)
    failed = _find_failure(work, resolution) if is_new and not force else None
    goal = Goal(wanted=wanted, source=source, due=due, resolution=resolution, is_new=is_new, failed=failed)
    if goal.builds or goal.is_unsure:
        source.refuse_unfit(wanted, resolution.lock)
    return goal


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


def _find_failure(work: Workspace, resolution: Resolution) -> StoredBlock | None:
    """Return how a candidate failed before; None if it did not, or is tried each time.

    While nothing can run on what is live, nobody can tell why it failed, and the site is down.
    """
    failed = read_blocks(work.site.state_dir).candidate(candidate_key(work.site, work.facts, resolution.lock))
    is_down = failed is not None and work.live is not None and cannot_run(work.live)
    return None if is_down else failed


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
    if goal.builds or live is None or target.brings_code or not site.project.has_git:
        return "stays"  # without git, nothing but the checkout has its lock
    git, (lock, *_) = site.git, site.own_files()
    data = git.data(target.commit, lock, likely=lock_of(live).data)
    try:
        if data is None or is_as_live(site, LockFile.parse(data), live):
            return "moves" if data is not None and target.moves else "stays"
    except InvalidLockError:  # which a lock that is no good for a release is as well
        return "stays"
    return "stays" if goal.is_new else "restores"
