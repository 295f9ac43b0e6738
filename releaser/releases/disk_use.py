"""What each release takes on disk, noted when that changes: to look at all files would take too long for `list`."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from releaser.durable import UnreadableStateError, check_types, read_json, write_json
from releaser.releases.cost import Cost, measure

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore

log = logging.getLogger(__name__)

DISK_USE = "disk-use.json"
_KINDS = {"own_bytes": int, "shared_bytes": int, "inodes": int, "peak_bytes": int, "among": list}


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What one release takes, see `Cost`. `peak_bytes` is what it took at the most while it was built;
    where that was not noted, what it takes now.

    `among` are the releases that there were then: what it shared with one of them may be its own once that is gone.
    """

    own_bytes: int
    shared_bytes: int
    inodes: int
    peak_bytes: int
    among: tuple[str, ...] = ()

    def holds(self, present: Collection[str]) -> bool:
        """Whether it still is so, while these releases are there."""
        return not self.shared_bytes or all(one in present for one in self.among)

    @classmethod
    def of(cls, cost: Cost, *, among: Iterable[str], peak_bytes: int) -> Noted:
        """Note what was measured."""
        return cls(
            own_bytes=cost.own_bytes,
            shared_bytes=cost.shared_bytes,
            inodes=cost.inodes,
            peak_bytes=peak_bytes,
            among=tuple(sorted(among)),
        )


def read_disk_use(state_dir: Path) -> dict[str, Noted]:
    """Read what is noted, by release. A damaged file counts as none: what is lost is time."""
    try:
        content = read_json(state_dir / DISK_USE) or {"releases": {}}
        return {name: _noted(fields) for name, fields in content["releases"].items()}
    except (KeyError, TypeError, AttributeError, UnreadableStateError, OSError) as error:
        log.info("what releases take has to be found out again: %r", error)
        return {}


def _noted(fields: Mapping[str, Any]) -> Noted:
    check_types(fields, _KINDS)
    known = {name: fields[name] for name in _KINDS}
    return Noted(**{**known, "among": tuple(map(str, fields["among"]))})


def disk_use(store: ReleaseStore) -> dict[str, Noted]:
    """Return what each complete release takes; of one for which nothing that holds is noted, it is found out."""
    return _completed(store.all(), read_disk_use(store.state_dir))


def _completed(releases: Iterable[Release], known: Mapping[str, Noted]) -> dict[str, Noted]:
    found, present = {}, {release.id for release in releases}
    for release in releases:
        noted = known.get(release.id)
        if noted is None or not noted.holds(present):
            cost = measure(release.directory)
            noted = Noted.of(cost, among=present, peak_bytes=noted.peak_bytes if noted else cost.own_bytes)
        found[release.id] = noted
    return found


def note(store: ReleaseStore, release: str, cost: Cost, *, saved: int = 0, like: str | None = None) -> None:
    """Note what a release takes that is about to be sealed, and no more what those take that are gone.

    It has saved so many bytes by sharing them with the release `like`, which thus has less of its own than before.
    """
    others = [one for one in store.all() if one.id != release]
    known = read_disk_use(store.state_dir)
    if saved and like is not None:
        known.pop(like, None)
    among = {release, *(one.id for one in others)}
    new = Noted.of(cost, among=among, peak_bytes=cost.own_bytes + saved)
    _write(store, {**_completed(others, known), release: new})


def note_again(store: ReleaseStore) -> None:
    """Note what the releases take that shared something with others that are gone now."""
    known = read_disk_use(store.state_dir)
    there = {name for name in known if store.path(name).exists()}
    if not all(known[name].holds(there) for name in there):
        _write(store, _completed(store.all(), known))


def _write(store: ReleaseStore, noted: Mapping[str, Noted]) -> None:
    try:
        write_json(store.state_dir / DISK_USE, {"releases": {name: asdict(one) for name, one in noted.items()}})
    except OSError as error:  # never worth a failure
        log.warning("what releases take cannot be noted: %s", error)


def together(noted: Iterable[Noted]) -> int:
    """Return what releases take together: what they share, with each other or with uv's cache, is counted once.

    That is at the least what the one shares that shares the most.
    """
    found = list(noted)
    return sum(one.own_bytes for one in found) + max((one.shared_bytes for one in found), default=0)
