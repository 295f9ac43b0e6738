"""The lock of a release that is ready and waits to go live itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.locks.versions import is_older
from releaser.releases.blocks import read_blocks
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key, diff_to, resolve_as_locked
from releaser.sources.upgrade import Upgrade

if TYPE_CHECKING:
    from releaser.locks.lock import LockFile
    from releaser.resolution.resolve import Resolution
    from releaser.run import Workspace
    from releaser.sources.base import Wanted


class Waiting(Upgrade):
    """Takes a release whose gate keeps it, although newer packages may have appeared: they are for the next update.

    The newest versions are taken instead with `--force`, for named packages, if the code or the configuration has
    changed, if one of its versions is on hold by now, or if it lacks the fix of a known vulnerability.
    """

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """Whether such a release may go live as it is."""
        return not rebuilds and not work.only and _find_lock(work) is not None

    def resolve(self, wanted: Wanted) -> Resolution:
        """Take its lock."""
        lock = _find_lock(wanted.work)
        if lock is None or wanted.force or _lacks_fix(wanted, lock):
            return super().resolve(wanted)
        return resolve_as_locked(wanted.work, lock)


def _find_lock(work: Workspace) -> LockFile | None:
    """Return the lock of the release that waits and may still go live; None without one."""
    snapshot = store_of(work.site).snapshot()
    release = snapshot.find_waiting()
    if release is None or not snapshot.lifecycles[release.id].kept:
        return None
    lock, blocks = lock_of(release), read_blocks(work.site.state_dir)
    changed = {one.name for one in diff_to(work.live, lock, python=work.facts.choice.version)}
    is_blocked = any(one.is_in(lock.versions) for one in blocks.failed) or any(
        one.name in changed for one in blocks.held
    )
    key = candidate_key(work.site, work.facts, lock)
    return None if is_blocked or snapshot.find_ready(key, lock.data, work.configuration) is None else lock


def _lacks_fix(wanted: Wanted, lock: LockFile) -> bool:
    """Whether a version that fixes a known vulnerability is not in the lock."""
    found = wanted.audit()
    fixes = found.fixes() if found is not None else {}
    return any(
        is_older(version, fix) for name, fix in fixes.items() for version in lock.versions.get(name, fix).split(", ")
    )
