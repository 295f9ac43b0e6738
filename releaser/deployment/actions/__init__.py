"""The actions of a change, in order, one file each. To add one, see capabilities.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.capabilities import make

if TYPE_CHECKING:
    from releaser.deployment.actions.base import Action

#: What is prepared first comes last: the service is stopped, and then the checkout moves.
ACTIONS: tuple[Action, ...] = make("actions")
