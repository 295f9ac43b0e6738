"""The differences between the lock of the live release and the committed lock, and versions that commits lower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from releaser.locks.versions import is_older, normalize_name, versions_in
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from releaser.locks.blocks import Block
    from releaser.locks.lock import LockFile

_DEMANDS = ("requires-dist", "requires-dev")
_MANIFEST = ("constraints", "overrides")
_ON_HOLD = {"person": "on hold by you", "rollback": "on hold by a rollback", "tests": "on hold by the tests"}
_NEWER = "the committed version is newer"
_KEPT = "kept as it was when the site moved to another Python"


class LockDifference(Frozen):
    """A package whose live version on this host differs from the committed lock."""

    name: str
    live: str
    committed: str
    #: Why, such as `on hold by a rollback`.
    reason: str

    @property
    def is_held(self) -> bool:
        """True if the reason is a hold of this host."""
        return self.reason not in (_KEPT, _NEWER)

    @property
    def is_kept(self) -> bool:
        """True if a move to another Python has kept the installed version, although the lock has another one for it.

        If the package is also on hold, it then has fewer versions than in the lock.
        """
        live_versions, committed_versions = versions_in(self.live), versions_in(self.committed)
        return self.reason == _KEPT or (self.is_held and 0 < len(live_versions) < len(committed_versions))

    def __str__(self) -> str:
        return f"{self.name} {self.live} is live here, {self.committed} is committed ({self.reason})"


def find_differences(
    committed: LockFile,
    live: LockFile,
    holds: Sequence[Block],
    *,
    limited: Collection[str] = (),
    left: Mapping[str, str] | None = None,
) -> tuple[LockDifference, ...]:
    """Return the differences that prevent committing the lock of the live release in place of the `committed` lock.

    Holds of one host never lower versions in git. Versions may go down if the project requires it: a dependency, or its
    constraints file, excludes the committed versions of the `limited` packages. After a rollback, they may go down from
    the versions of the release that was `left`. Of several `holds` of a package, the first is named.
    """
    found, own = list[LockDifference](), {(hold.name, hold.version) for hold in holds}
    reasons = {hold.name: _ON_HOLD[hold.by] for hold in reversed(holds)}
    has_changed = bool(limited) or demands_of(committed) != demands_of(live)
    for name in sorted((committed.names & live.names) - committed.local - live.local):
        live_version, committed_version = live.versions[name], committed.versions[name]
        if live_version == committed_version or (left is not None and left.get(name) == committed_version):
            continue
        is_comparable = bool(versions_in(live_version) and versions_in(committed_version))
        has_failed = not is_comparable and any((name, word) in own for word in committed_version.split(", "))
        is_held = (name, "") in own
        if not is_held and not has_failed and not is_older(live_version, committed_version):
            continue
        is_asked = name in limited or excludes(live, name, committed_version) or (has_changed and name not in reasons)
        if is_held or not is_asked:
            reason = reasons.get(name) or (_KEPT if _may_be_kept(live_version, committed_version) else _NEWER)
            found.append(LockDifference(name=name, live=live_version, committed=committed_version, reason=reason))
    return tuple(found)


def follows_the_commit(differences: Iterable[LockDifference]) -> bool:
    """True if an update starts from the committed lock although another is live, as only holds make the difference.

    False if a move to another Python has kept all these versions: newer ones must pass the rules of the site.
    """
    return not all(difference.is_kept for difference in differences)


def _may_be_kept(live: str, committed: str) -> bool:
    """True if a lock has several versions, and the live release has fewer, or the same lowest version."""
    live_versions, committed_versions = versions_in(live), versions_in(committed)
    return (
        len(committed_versions) > 1
        and bool(live_versions)
        and (len(live_versions) < len(committed_versions) or live_versions[0] == committed_versions[0])
    )


def find_reverted_versions(
    before: LockFile, after: LockFile, *, all_changes: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the versions that a commit lowers, although the requirements of the project do not demand it.

    With `all_changes`, for a commit that goes back, yield all versions that it changes, such as git commits.
    """
    for name in sorted((before.names & after.names) - before.local - after.local):
        old, new = before.versions[name], after.versions[name]
        if old == new or not (all_changes or is_older(new, old)) or excludes(after, name, old):
            continue
        kept = new.split(", ")
        yield from ((name, word) for word in old.split(", ") if word not in kept)


def demands_of(lock: LockFile) -> Mapping[str, Any]:
    """Return the requirements of the project, as recorded in its lock."""
    from releaser.locks.lock import is_local

    manifest: Mapping[str, Any] = lock.content.get("manifest", {})
    own = {
        package["name"]: {key: package.get("metadata", {}).get(key) for key in _DEMANDS}
        for package in lock.packages
        if is_local(package)
    }
    return {
        "python": lock.content.get("requires-python"),
        "packages": own,
        **{key: manifest.get(key) for key in _MANIFEST},
    }


def excludes(lock: LockFile, name: str, version: str) -> bool:
    """True if the requirements in a lock exclude a version of a package."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # slow to import

    versions = versions_in(version)
    for requirement in _requirements_in(demands_of(lock)):
        if normalize_name(requirement["name"]) != name or not requirement.get("specifier"):
            continue
        try:
            specifier = SpecifierSet(requirement["specifier"])
        except InvalidSpecifier:
            continue
        if not all(specifier.contains(each, prereleases=True) for each in versions):
            return True
    return False


def _requirements_in(demands: Any) -> Iterator[Mapping[str, str]]:
    if isinstance(demands, dict):
        if isinstance(demands.get("name"), str):
            yield demands
        else:
            for demand in demands.values():
                yield from _requirements_in(demand)
    elif isinstance(demands, list):
        for one in demands:
            yield from _requirements_in(one)
