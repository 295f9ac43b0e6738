"""The actions of a change, in order, one file each. To add an action, write its file and add it to `ACTIONS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.deployment.actions.checkout import Checkout
from releaser.deployment.actions.collectstatic import Collectstatic
from releaser.deployment.actions.health_check import HealthCheck
from releaser.deployment.actions.hooks import AfterLive, OnRollback
from releaser.deployment.actions.python_start import PythonStart
from releaser.deployment.actions.restart import Restart

if TYPE_CHECKING:
    from releaser.deployment.actions.base import Action

#: What is prepared first comes last: the service is stopped, and then the checkout moves.
ACTIONS: tuple[Action, ...] = (
    Checkout(),
    PythonStart(),
    Collectstatic(),
    Restart(),
    HealthCheck(),
    AfterLive(),
    OnRollback(),
)
