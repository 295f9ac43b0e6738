"""The commit that an update makes live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.site.site import Pulled
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.releases.blocks import StoredBlock
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
