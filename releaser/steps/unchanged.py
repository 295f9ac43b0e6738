"""Whether a lock installs just what is live, so that a release of it would be the live one once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.locking.builds import tags_of
from releaser.locking.installed import installs_the_same
from releaser.locking.lockfile import InvalidLockError
from releaser.project.pythons import LATEST
from releaser.steps.resolve import lock_of
from releaser.steps.security import default_groups

if TYPE_CHECKING:
    from releaser.locking.lockfile import LockFile
    from releaser.project.site import Site
    from releaser.releases.release import Release


def is_as_live(site: Site, lock: LockFile, live: Release) -> bool:
    """Whether a lock installs what the live release has.

    Packages that do not go live do not count, such as those that only tests need; nor which wheels there are for other
    Pythons, unless the site moves to one as soon as it can.
    """
    before = lock_of(live)
    if not before.data or not lock.data:
        return before.data == lock.data
    python = live.manifest.python
    tags = frozenset() if site.settings.python == LATEST else tags_of(python)
    if lock.same_packages(before, tags=tags):
        return True
    try:
        groups = default_groups(site)
        return installs_the_same(
            lock, before, group=live.manifest.group, default_groups=groups, python=python, tags=tags
        )
    except (InvalidLockError, KeyError, TypeError, AttributeError):  # where it cannot be told, it is another one
        return False
