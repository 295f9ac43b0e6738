"""The gates of a site: what its settings, its quarantine and its holds say of versions that may come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.locking.age import Age
from releaser.locking.gates import Barred, Gates, Held
from releaser.locking.policy import Upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from releaser.locking.lockfile import LockFile
    from releaser.project.settings import Settings
    from releaser.releases.holds import Hold, Holds
    from releaser.releases.quarantine import Quarantine


def make_gates(
    settings: Settings,
    lock: LockFile,
    live: LockFile,
    *,
    quarantine: Quarantine,
    holds: Holds,
    now: datetime,
) -> Gates:
    """Put together what keeps versions out. `lock` is the checkout's, `live` that of the live release.

    `holds` are those that count.
    """
    activated = (
        Barred(name=one.name, version=one.version, by="activation", reason=one.reason, since=one.at)
        for one in quarantine.versions
    )
    tested = (
        Barred(name=one.name, version=version, by="tests", reason=one.reason, since=one.at)
        for one in holds.entries
        if one.by == "tests"
        for version in _failed(one, live)
    )
    return Gates(
        locked=lock.versions,
        live=live.versions,
        local=lock.local | live.local,
        held=tuple(Held(name=one.name, reason=one.reason, since=one.at) for one in holds.entries if one.by == "person"),
        ignored=settings.ignore,
        barred=(*activated, *tested),
        upgrade=Upgrade(level=settings.upgrade, packages=settings.upgrade_packages),
        age=Age(least=settings.min_age, packages=settings.min_age_packages, unknown=settings.min_age_unknown, now=now),
    )


def _failed(hold: Hold, live: LockFile) -> Iterator[str]:
    """Yield the versions that the tests hold; of several, not those for other platforms that have been live before."""
    versions, before = hold.version.split(", "), live.versions.get(hold.name, "").split(", ")
    for version in versions:
        if version and (len(versions) == 1 or version not in before):
            yield version
