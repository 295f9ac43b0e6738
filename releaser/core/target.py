"""The commit that is to go live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.site.site import Pulled
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.releases.blocks import StoredBlock
    from releaser.tools.git_state import Commit


class Target(Frozen):
    """The commit that is to go live."""

    #: Where the checkout is now, and the commit to stage, which is the same if nothing is to be pulled.
    head: str
    commit: str
    #: The commits that come in, newest first; whether they change anything but the files that releaser itself commits.
    commits: tuple[Commit, ...] = ()
    brings_code: bool = False
    #: Whether the checkout gets there by a fast-forward; else commits on top of it give way, as in a rollback.
    forward: bool = True
    #: What keeps out the commit that the remote is at, `offered`, and `commits` with it, if anything does.
    rejected: StoredBlock | None = None
    offered: str = ""

    @property
    def moves(self) -> bool:
        """Whether the checkout has to move."""
        return self.commit != self.head

    @property
    def pulled(self) -> Pulled | None:
        """The commits that change the code; None without any."""
        return Pulled(old=self.head, new=self.commit, count=len(self.commits)) if self.brings_code else None
