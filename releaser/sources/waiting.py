"""The lock of a release that is ready and waits to go live itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.candidate.audit import audit_live, audit_lock
from releaser.locks.blocks import PackageWaits
from releaser.locks.rules import Packages, Policy, Rules
from releaser.locks.versions import is_older
from releaser.releases.blocks import read_blocks
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key, diff_to, resolve_as_locked
from releaser.resolution.rules import read_limits
from releaser.sources.upgrade import Upgrade

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, Wanted
    from releaser.locks.lock import LockFile


class Waiting(Upgrade):
    """Takes a release whose gate keeps it, although newer packages may have appeared: they are for the next update.

    The newest versions are taken instead with `--force`, for named packages, if the code or the configuration has
    changed, if one of its versions is on hold or constrained by now, if one of its packages waits for its window, or if
    they have the fix of a known vulnerability, which the live release has or the release would bring.
    """

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """True if such a release may be taken; without one, this is an upgrade like any other."""
        return not rebuilds and not work.only

    def resolve(self, wanted: Wanted) -> Resolution:
        """Take its lock."""
        lock = None if wanted.force else _find_lock(wanted.work)
        if lock is None:
            return super().resolve(wanted)
        if missing := _missing_fixes(wanted, lock):
            found = super().resolve(wanted)
            if not all(_is_below(found.lock, *item) for item in missing.items()):
                return found
        return resolve_as_locked(wanted.work, lock)


def _find_lock(work: Workspace) -> LockFile | None:
    """Return the lock of the release that waits and may still go live; None without one."""
    snapshot = store_of(work.site).snapshot()
    release = snapshot.find_waiting()
    if release is None or not snapshot.lifecycles[release.id].kept:
        return None
    lock, blocks, python = lock_of(release), read_blocks(work.site.state_dir), work.facts.choice.version
    key, limits = candidate_key(work.site, work.facts, lock), read_limits(work.site, python=python)
    waits = PackageWaits.of(work.log).package_waits
    rules = Rules(packages=Packages(locked=lock.versions), policy=Policy(limits=limits), waits=waits)
    changes = diff_to(work.live, lock, python=python)
    changed = {change.name: change.new for change in changes}
    is_blocked = (
        blocks.candidate(key) is not None
        or any(hold.is_in(lock.versions) for hold in blocks.failed)
        or any(hold.name in changed for hold in blocks.held)
        or any(rules.beyond(name, new) for name, new in changed.items() if new is not None)
        or any(rules.find_wait(change.name) for change in changes if change.moves)
    )
    return None if is_blocked or snapshot.find_ready(key, lock.data, work.configuration) is None else lock


def _missing_fixes(wanted: Wanted, lock: LockFile) -> dict[str, str]:
    """Return the fixes for known vulnerabilities of the live packages and of the lock that the lock lacks.

    A service that does not answer is asked once.
    """
    found = audit_live(wanted.work)
    if found is None or not found.known:
        return {}
    fixes = {**found.fixes(), **audit_lock(wanted.work, lock).fixes()}
    return {name: fix for name, fix in fixes.items() if _is_below(lock, name, fix)}


def _is_below(lock: LockFile, name: str, version: str) -> bool:
    """True if a lock has a package in an older version, on one of its platforms at least."""
    return any(is_older(word, version) for word in lock.versions.get(name, version).split(", "))
