"""A source that releaser does not have: the lock comes from a file beside the project, as an artifact of a registry."""

from pathlib import Path

from releaser import sources
from releaser.core.run import Workspace
from releaser.errors import ResolutionError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.site import site as sites
from releaser.site.site import Site
from releaser.site.supply import Supply
from releaser.sources.locked import Locked


def _artifact(site: Site) -> Path:
    return site.project.outer / "artifact.lock"


def _supply(site: Site) -> Supply | None:
    path = _artifact(site.outside)

    def read() -> LockFile:
        try:
            return LockFile.read(path)
        except InvalidLockError as error:
            message = f"{path} is not a lock: {error}"
            raise ResolutionError(message, advice="Publish it again.") from error

    return Supply(read_lock=read, takes="what the artifact has", publishes=False) if path.exists() else None


class Toy(Locked):
    """Takes `artifact.lock`, if there is one; nothing else is tried if it fails."""

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        return _supply(work.site) is not None


def register() -> None:
    sources.SOURCES = (Toy(), *sources.SOURCES)
    sites.SUPPLIES = (_supply, *sites.SUPPLIES)
