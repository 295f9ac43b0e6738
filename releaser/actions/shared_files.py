"""The shared files of the previous release as an action: an automatic rollback restores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.candidate.restore import restore_previous
from releaser.core.action import Action

if TYPE_CHECKING:
    from releaser.core.change import Change


class SharedFiles(Action):
    """Restores the files of the previous release before an automatic rollback."""

    name = "restore shared files"
    is_step = False
    causes_rollback = False

    def is_due(self, change: Change) -> bool:
        """False for the new release: its files are as sealed."""
        return change.is_back

    def leave(self, change: Change) -> None:
        """Restore what other releases have whole, and report all else that differs."""
        restore_previous(change)
