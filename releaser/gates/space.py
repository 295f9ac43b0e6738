"""A build needs enough free disk space before it starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.space import update_needs
from releaser.core.gate import Case, Gate, Refusal, Verdict
from releaser.errors import PreflightError, ToolError
from releaser.locks.installed import Pin, fits, list_installed, tags_of
from releaser.site.conventions import default_groups
from releaser.site.space import Need, find_lacks
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from packaging.tags import Tag

    from releaser.locks.lock import LockFile

_UNPACKED = 4  # times the size of a wheel, at the most as a rule
_FILE_BYTES = 8_000  # of a file in a wheel, as a rule more


class DiskSpace(Gate):
    """Refuses if the disk has no room for the release and its downloads."""

    stage = "resolved"

    def judge(self, case: Case) -> Verdict:
        """Compare the needed space with the free space."""
        site, facts, live = case.site, case.work.facts, case.work.live
        try:
            cache = Path(facts.uv.run(["cache", "dir"]).strip())
        except ToolError:  # which the build reports
            return None
        python = facts.choice.version
        pins = list_installed(case.lock, group=facts.group, default_groups=default_groups(site), python=python)
        downloads = download_sizes(case.lock, pins, tags_of(python))
        sizes = {name: _UNPACKED * size for name, size in downloads.items()}
        # If nothing is in uv's cache, all packages have to be downloaded again.
        new = sizes if not any(cache.glob("archive-*")) else [change.name for change in case.changes if change.new]
        added = sizes if live is None else [change.name for change in case.changes if not change.old]
        size = sum(sizes.get(name, 0) for name in new)
        release, *others = update_needs(site, live)
        release = replace(release, bytes=release.bytes + sum(sizes.get(name, 0) for name in added))
        gained = Need(what="uv's cache", place=cache, bytes=size, inodes=size // _FILE_BYTES, remedy="`uv cache prune`")
        lacks = tuple(find_lacks((release, *others, gained)))
        return Refusal(error=PreflightError(*lacks)) if lacks else None


def download_sizes(lock: LockFile, pins: Iterable[Pin], tags: frozenset[Tag]) -> dict[str, int]:
    """Return the largest download of each of `pins` in bytes, by name; 0 if the lock names no size.

    Only wheels with one of `tags` count; without tags, those for this system.
    """
    wanted = {(pin.name, pin.version) for pin in pins}
    found: dict[str, int] = {}
    for package in lock.packages:
        name = package["name"]
        if (name, package.get("version")) in wanted:
            files = [wheel for wheel in package.get("wheels", ()) if fits(wheel, tags)] or [package.get("sdist", {})]
            sizes = (size for file in files if isinstance(size := file.get("size"), int))
            found[name] = max(found.get(name, 0), *sizes, 0)
    return found
