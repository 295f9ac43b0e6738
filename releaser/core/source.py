"""The interface of a source: it says which lock a release is built from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.core.run import Workspace
    from releaser.errors import Finding
    from releaser.locks.blocks import Block
    from releaser.locks.changes import Change
    from releaser.locks.lock import LockFile
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts


#: The treatment of versions with which the tests failed: `rest` skips those that are not worth another try yet, `out`
#: skips all of them, and `in` none.
FailedVersions = Literal["rest", "out", "in"]


class Resolution(Frozen):
    """A lock to build from, which is in the staging tree."""

    lock: LockFile
    #: The packages that it changes against the live release.
    diff: tuple[Change, ...]
    #: The versions that it skips on purpose.
    on_hold: tuple[Block, ...]


ResolveAgain = Callable[[FailedVersions], Resolution]


class KeptVersions(Frozen):
    """A lock to start from, and the findings about its packages."""

    lock: LockFile
    findings: tuple[Finding, ...] = ()


class StartingLock(ABC):
    """Changes the lock from which an update or a rebuild starts."""

    @abstractmethod
    def applies(self, work: Workspace) -> bool:
        """True if the lock may change; then it is made in a staging tree."""

    @abstractmethod
    def make(self, work: Workspace, lock: LockFile) -> KeptVersions:
        """Return the lock to start from, made in the staging tree. Raises ResolutionError and PreflightError."""


class Wanted(Frozen):
    """The request that a source answers."""

    #: The staging tree, with the code of the release.
    work: Workspace
    #: True to take versions that failed before, too.
    force: bool = False


class Source(ABC):
    """The origin of the lock of a release. Each run chooses one source. Subclasses override what differs."""

    #: Its name in messages, if a command asks for this source.
    name = ""

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """True if this run takes its lock from here; `rebuilds` says that the live release has to be rebuilt."""
        return True

    def fetch(self, site: Site, log: RunLog, facts: SiteFacts, *, follow: bool) -> str | None:
        """Return the commit that may go live, and fetch it; None for the one that is checked out.

        Asked only of a source that a command gives; all others take the branch. `follow` permits a commit that is not
        ahead of the checkout. The checkout does not move. Raises PreflightError and ResolutionError.
        """
        return None

    @abstractmethod
    def resolve(self, wanted: Wanted) -> Resolution:
        """Place the lock in the staging tree, and return it. Raises ResolutionError and PreflightError."""

    def refuse_unfit(self, wanted: Wanted, lock: LockFile) -> None:  # noqa: B027 - most locks are resolved, and fit
        """Refuse a lock that may not go live as it is, before anything is built. Raises ResolutionError."""

    def reason_to_stay(self, wanted: Wanted, resolution: Resolution, *, is_new: bool) -> str:
        """Return why no release is built from the lock, of which `is_new` says if it is not live; empty to build."""
        if is_new:
            return ""
        only = wanted.work.only
        blocks = [f"{one.name} {one.version}: {one.why}" for one in resolution.on_hold if one.name in only]
        reason = "; ".join([f"no newer version of {', '.join(sorted(only))} is permitted", *blocks])
        return reason if only else "everything is up to date"

    def search(self, wanted: Wanted) -> ResolveAgain | None:
        """Return what resolves another lock after a failure, without what failed; None if this lock is the only one."""
        return None
