"""The interface of a source: it says which lock a release is built from."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from releaser.candidate.audit import audit_live, audit_lock
from releaser.checkout.pull import fetch
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.locks.lock import LockFile
    from releaser.locks.vulnerabilities import Audit
    from releaser.report import RunLog
    from releaser.resolution.resolve import Resolution, ResolveAgain
    from releaser.run import Workspace
    from releaser.site.site import Site, SiteFacts


class Wanted(Frozen):
    """The request that a source answers."""

    #: The staging tree, with the code of the release.
    work: Workspace
    #: Whether to take versions that failed before, too.
    force: bool = False

    @functools.cached_property
    def audit(self) -> Audit | None:
        """The known vulnerabilities of the live release; None if they are not asked for."""
        return audit_live(self.work)

    def audit_lock(self, lock: LockFile) -> Audit:
        """Return the known vulnerabilities of a lock that may go live."""
        return audit_lock(self.work, lock)


class Source(ABC):
    """Where the lock of a release comes from. One is chosen for each run. Subclasses override what differs."""

    #: What messages call it, if a command asks for this source.
    name = ""

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """Whether this run takes its lock from here; `rebuilds` if the live release has to be rebuilt."""
        return True

    def fetch(self, site: Site, log: RunLog, facts: SiteFacts, *, follow: bool) -> str | None:
        """Return the commit that is to go live, and fetch it; None for the one that is checked out.

        With `follow`, the checkout may go back. The checkout does not move. Raises PreflightError and ResolutionError.
        """
        return fetch(site, log, facts, follow=follow)

    @abstractmethod
    def resolve(self, wanted: Wanted) -> Resolution:
        """Place the lock in the staging tree, and return it. Raises ResolutionError and PreflightError."""

    def refuse_unfit(self, wanted: Wanted, lock: LockFile) -> None:  # noqa: B027 - most locks are resolved, and fit
        """Refuse a lock that may not go live as it is, before anything is built. Raises ResolutionError."""

    def search(self, wanted: Wanted) -> ResolveAgain | None:
        """Return what resolves another lock after a failure, without what failed; None if this lock is the only one."""
        return None
