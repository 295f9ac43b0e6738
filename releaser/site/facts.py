"""What preflight found out about a site, for the steps to come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.locks.lock import LockFile
    from releaser.site.pythons import Choice
    from releaser.tools.git_layout import Layout
    from releaser.tools.git_reader import CheckoutState
    from releaser.tools.uv import Uv


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """What git says of the checkout; `remote` is what to pull from and push to, None if neither is to be done."""

    layout: Layout
    state: CheckoutState
    remote: str | None


@dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """What preflight found out about a project that is fit."""

    uv: Uv
    #: The interpreter to build with, and why it is this one.
    python: Path
    choice: Choice
    lock: LockFile
    #: The dependency group.
    group: str | None
    test_command: tuple[str, ...]
    #: The id of the group.
    unix_group: int
    layout: Layout
    state: CheckoutState
    #: The git remote; None: neither pull nor push.
    remote: str | None
    #: None when there is nothing to touch.
    restart_file: Path | None
    #: Why it is not known where static files go; empty when it is.
    unknown: str = ""

    @property
    def checkout(self) -> Checkout:
        """What is known of the checkout."""
        return Checkout(layout=self.layout, state=self.state, remote=self.remote)
