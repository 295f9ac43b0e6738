"""The gates of a site: what its settings, its quarantine and its holds say of versions that may come in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from releaser.locking.age import Age
from releaser.locking.gates import Barred, Gates, Held
from releaser.locking.policy import Upgrade
from releaser.steps.touched import Code

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from releaser.locking.lockfile import LockFile
    from releaser.locking.policy import Level
    from releaser.project.settings import Settings
    from releaser.project.site import Site
    from releaser.releases.holds import Hold, Holds
    from releaser.releases.quarantine import Quarantine


@dataclass(frozen=True, kw_only=True)
class Lower:
    """How packages of which a version has failed are to come in lower, for one resolution.

    Those that `stay` do so at the versions given, `patched` ones come in the series that is live alone, and of those
    that are `near`, what is just older than all that failed is no worse than anything else.
    """

    stay: Mapping[str, str] = field(default_factory=dict)
    patched: frozenset[str] = frozenset()
    near: frozenset[str] = frozenset()


def make_gates(
    settings: Settings,
    lock: LockFile,
    live: LockFile,
    *,
    quarantine: Quarantine,
    holds: Holds,
    now: datetime,
    lower: Lower | None = None,
) -> Gates:
    """Put together what keeps versions out. `lock` is the checkout's, `live` that of the live release.

    `holds` are those that count.
    """
    lower = lower or Lower()
    patched: tuple[tuple[str, Level], ...] = tuple((name, "patch") for name in sorted(lower.patched))
    activated = (
        Barred(name=one.name, version=one.version, by="activation", reason=one.reason, since=one.at)
        for one in quarantine.versions
    )
    tested = (
        Barred(
            name=one.name,
            version=version,
            by="tests",
            reason=one.reason,
            since=one.at,
            newer_from=_next_try(holds, one.name, now),
        )
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
        upgrade=Upgrade(level=settings.upgrade, packages=(*patched, *settings.upgrade_packages)),
        age=Age(least=settings.min_age, packages=settings.min_age_packages, unknown=settings.min_age_unknown, now=now),
        stay=lower.stay,
        near=lower.near,
    )


def _next_try(holds: Holds, name: str, now: datetime) -> str:
    rest = holds.rests_until(name)
    return rest.isoformat(timespec="seconds") if rest is not None and now < rest else ""


def _failed(hold: Hold, live: LockFile) -> Iterator[str]:
    """Yield the versions that the tests hold; of several, not those for other platforms that have been live before."""
    versions, before = hold.version.split(", "), live.versions.get(hold.name, "").split(", ")
    for version in versions:
        if version and (len(versions) == 1 or version not in before):
            yield version


def standing(site: Site, holds: Holds, *, python: str, now: datetime, force: bool = False) -> Holds:
    """Return the holds that keep something out of a resolution with the code of `site` and this Python.

    A version that failed is worth another try when the code that its failing tests touch has changed, or Python, but
    not twice a week; with `force` at once.
    """

    code = Code(site)

    def stands(one: Hold) -> bool:
        if one.by != "tests":
            return one.by == "person"
        if force:
            return False
        rest = holds.rests_until(one.name)
        if rest is not None and now < rest:
            return True
        return _minor(one.python) == _minor(python) and not code.has_changed(one)

    return replace(holds, entries=tuple(one for one in holds.entries if stands(one)))


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])
