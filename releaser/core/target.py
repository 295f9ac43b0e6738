"""The commit that an update makes live, and why it may have to rebuild the live release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.site.site import Pulled
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.releases.blocks import StoredBlock
    from releaser.releases.release import Release
    from releaser.tools.git_state import Commit


class Target(Frozen):
    """The commit that an update makes live, and how the checkout gets there."""

    #: The commit of the checkout, and the commit to stage. They are equal without new commits.
    head: str
    commit: str
    #: The new commits, newest first, and whether they change more than the files that releaser itself commits.
    commits: tuple[Commit, ...] = ()
    brings_code: bool = False
    #: True if the checkout fast-forwards. Otherwise it drops commits, as in a rollback.
    forward: bool = True
    #: The block against the remote head, `offered`, and against `commits`; None without one.
    commit_on_hold: StoredBlock | None = None
    offered: str = ""

    @property
    def moves(self) -> bool:
        """True if the checkout has to move."""
        return self.commit != self.head

    @property
    def pulled(self) -> Pulled | None:
        """The commits that change the code; None without any."""
        return Pulled(old=self.head, new=self.commit, count=len(self.commits)) if self.brings_code else None


class RebuildReason(Frozen):
    """The reason to rebuild the live release."""

    release: Release
    reason: str
    #: True if the release itself was changed, and not only its Python or the settings.
    is_damaged: bool
    #: True if nothing can run on it, so that the site is down.
    is_down: bool = False
    #: How to repair or prevent that damage, if known.
    advice: str = ""

    def describe_damage(self) -> Finding:
        """Return the finding for a live release that is rebuilt because it was changed."""
        message = f"the live release {self.release.id} is damaged: {self.reason}"
        advice = f"releaser builds a new release from its lock. {self.advice}".rstrip()
        return Finding("release-damaged", message, advice)
