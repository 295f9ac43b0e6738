"""A source that releaser does not have: the lock comes from a file beside the project, as an artifact of a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser import sources
from releaser.errors import ResolutionError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.resolution.resolve import resolve_as_locked
from releaser.sources.base import Source

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.resolution.resolve import Resolution
    from releaser.run import Workspace
    from releaser.site.site import Site
    from releaser.sources.base import Wanted


def _artifact(site: Site) -> Path:
    return site.project.outer / "artifact.lock"


class Toy(Source):
    """Takes `artifact.lock`, if there is one; nothing else is tried if it fails."""

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        return _artifact(work.site.outside).exists()

    def resolve(self, wanted: Wanted) -> Resolution:
        path = _artifact(wanted.work.site.outside)
        try:
            lock = LockFile.read(path)
        except InvalidLockError as error:
            message = f"{path} is not a lock: {error}"
            raise ResolutionError(message, advice="Publish it again.") from error
        return resolve_as_locked(wanted.work, lock)


def register() -> None:
    sources.SOURCES = (Toy(), *sources.SOURCES)
