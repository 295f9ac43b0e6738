"""Decides whether a release is built, from which lock, and how the checkout moves if none is; also for `--dry-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from releaser.capabilities import gather
from releaser.core.source import Wanted
from releaser.locks.changes import changes_between
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.releases.blocks import read_blocks
from releaser.releases.integrity import find_damage
from releaser.releases.lifecycle import digest_of
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key, is_as_live
from releaser.sources import choose_source
from releaser.system.frozen import Frozen
from releaser.system.words import first_few

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, Source
    from releaser.core.target import RebuildReason, Target
    from releaser.errors import Finding
    from releaser.locks.changes import Change
    from releaser.releases.blocks import StoredBlock
    from releaser.releases.release import Release
    from releaser.releases.store import StoreSnapshot
    from releaser.site.pythons import Choice
    from releaser.site.site import Site

    Following = Literal["stays", "moves", "restores"]


class Goal(Frozen):
    """The release that an update builds, and the reason; or the reason to build nothing."""

    wanted: Wanted
    source: Source
    #: Why the live release has to be rebuilt; None if it need not be.
    rebuild: RebuildReason | None
    resolution: Resolution
    #: True if there is a release to make live: a new, rebuilt or waiting one.
    is_new: bool
    #: The earlier failure of this candidate, which blocks its build; None without one.
    failed: StoredBlock | None
    #: The packages that cannot keep their versions on another Python.
    moved: tuple[Finding, ...] = ()

    @property
    def work(self) -> Workspace:
        """The inputs of the build."""
        return self.wanted.work

    @property
    def builds(self) -> bool:
        """True if a release is built."""
        return self.is_new and self.failed is None

    @property
    def is_unsure(self) -> bool:
        """True if the tests of the live release decide about the build: they failed along with the candidate."""
        return self.failed is not None and self.failed.sick

    @property
    def is_repair(self) -> bool:
        """True if the live release is damaged, which may be why the site fails its health check."""
        return self.rebuild is not None and self.rebuild.is_damaged


def refuse_unusable_live(live: Release | None) -> None:
    """Refuse to change a live release about which releaser cannot decide now. Raises PreflightError."""
    for guard in gather("guards"):
        guard(live)


def find_rebuild_reason(site: Site, choice: Choice, live: Release | None) -> RebuildReason | None:
    """Return why the live release has to be rebuilt; None if it need not be. Raises PreflightError."""
    reasons = (find(site, choice, live) for find in gather("rebuild_reasons"))
    return next(filter(None, reasons), None)


def decide(work: Workspace, rebuild: RebuildReason | None, *, force: bool, source: Source | None = None) -> Goal:
    """Resolve in the staging tree, and decide whether to build a release.

    Without `source`, the settings choose the source. Raises ResolutionError.
    """
    source = source or choose_source(work, rebuilds=rebuild is not None)
    wanted = Wanted(work=work, force=force)
    resolution = source.resolve(wanted)
    is_new = rebuild is not None or is_another(work, resolution) or _is_waiting(work, resolution)
    # While the site is down, the cause of an earlier failure is unknown.
    is_open = force or (rebuild is not None and rebuild.is_down)
    failed = _find_failure(work, resolution) if is_new and not is_open else None
    goal = Goal(wanted=wanted, source=source, rebuild=rebuild, resolution=resolution, is_new=is_new, failed=failed)
    if goal.builds or goal.is_unsure:
        source.refuse_unfit(wanted, resolution.lock)
    return goal


def changes_of(work: Workspace, resolution: Resolution) -> tuple[Change, ...]:
    """Return the changes from the packages of the live release; without one, from uv.lock."""
    if work.live:
        return resolution.diff
    from releaser.locks.installed import versions_for

    python = work.facts.choice.version
    return changes_between(versions_for(work.facts.lock, python), versions_for(resolution.lock, python))


def is_another(work: Workspace, resolution: Resolution) -> bool:
    """True if the release would differ from the live one in packages, code, group or included files."""
    supply = work.site.supply
    return (
        work.live is None
        or (supply.made_elsewhere and supply.included_sha256 != work.live.provenance.included_sha256)
        or work.site.pulled is not None
        or work.live.manifest.group != work.facts.group
        or not is_as_live(work.site, resolution.lock, work.live)
    )


def _is_waiting(work: Workspace, resolution: Resolution) -> bool:
    """True if this release is ready and waits; a person may have pulled its commits meanwhile."""
    ready = store_of(work.site).snapshot().find_waiting()
    return ready is not None and ready.key == candidate_key(work.site, work.facts, resolution.lock)


def _find_failure(work: Workspace, resolution: Resolution) -> StoredBlock | None:
    """Return the earlier failure of a candidate; None without one."""
    return read_blocks(work.site.state_dir).candidate(candidate_key(work.site, work.facts, resolution.lock))


def explain_unused(goal: Goal, snapshot: StoreSnapshot) -> str:
    """Return the sentence on a ready release that kept its place, and is not what the goal is; empty without one."""
    release = snapshot.find_waiting()
    if release is None or not snapshot.lifecycles[release.id].kept:
        return ""
    return explain_unfit(goal.work, goal.resolution, release, snapshot)


def explain_unfit(work: Workspace, resolution: Resolution, release: Release, snapshot: StoreSnapshot) -> str:
    """Return the sentence on a ready release that is not the one of a workspace and a resolution; empty if it is."""
    was, key = release.key, candidate_key(work.site, work.facts, resolution.lock)
    live_code = work.live.key.code_key if work.live is not None else ""
    files, damage = digest_of(work.configuration or {}, release.id), find_damage(release)
    reasons = {
        "its commits may not go live now": key.code_key == live_code != was.code_key,
        "new commits": was.code_key != key.code_key,
        f"the site moves to Python {key.python}": was.python != key.python,
        "the dependency group or the bundle has changed": (was.group, was.included) != (key.group, key.included),
        "`.env` or another file outside of git has changed": snapshot.lifecycles[release.id].configuration != files,
        f"it is damaged: {damage}": damage is not None,
        _explain_another_lock(work, resolution, release): was.lock_sha256 != key.lock_sha256,
    }
    return next((f"{release.id} was not used: {why}" for why, counts in reasons.items() if counts), "")


def _explain_another_lock(work: Workspace, resolution: Resolution, release: Release) -> str:
    """Name which packages of a release the resolution has in other versions, and which of these are on hold."""
    from releaser.locks.installed import versions_for

    python = work.facts.choice.version
    before, after = (versions_for(lock, python) for lock in (lock_of(release), resolution.lock))
    names = [change.name for change in changes_between(before, after)]
    held = [block for block in resolution.on_hold if block.name in names]
    reasons = (f"{block.name} is skipped ({block.why})" for block in held)
    return "; ".join(reasons) or f"this run takes other versions of {first_few(names)}"


def explain_no_retry(failed: StoredBlock) -> str:
    """Explain why a candidate that failed before is not built again."""
    return f"nothing newer than {failed.release}, which failed before"


def describe_failed_candidate(failed: StoredBlock) -> str:
    """Name which candidate cannot go live, why, and since when."""
    return f"{failed.release} failed on {failed.since[:10]}: {failed.reason}"


def choose_following(site: Site, goal: Goal, target: Target) -> Following:
    """Decide how the checkout moves if no release is built.

    It moves without a report to commits that change neither code nor packages: the same packages in another text of the
    lock, the export, an empty commit, or a commit and its revert. Visitors get the same files. If the lock of the
    commit differs from the live release, but resolves to its packages, the checkout gets the lock of the live release
    back.
    """
    live = goal.work.live
    if goal.builds or live is None or target.brings_code:
        return "stays"
    git, (lock, *_) = site.git, site.own_files()
    data = git.data(target.commit, lock, likely=lock_of(live).data)
    try:
        if data is None or is_as_live(site, LockFile.parse(data), live):
            return "moves" if data is not None and target.moves else "stays"
    except InvalidLockError:  # also raised for a lock that no release can use
        return "stays"
    return "stays" if goal.is_new else "restores"
