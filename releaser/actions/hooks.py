"""The hooks `after_live` and `on_rollback` as actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.core.action import Action
from releaser.reporting.hook_settings import HookSettings
from releaser.reporting.hooks import run_hook, run_on_rollback

if TYPE_CHECKING:
    from releaser.core.change import Change
    from releaser.report import Step


class AfterLive(Action):
    """Runs `after_live` once a new release is live and well."""

    name = "after_live"
    causes_rollback = False

    def is_due(self, change: Change) -> bool:
        """True if the hook is set, and the change no rollback."""
        return HookSettings.of(change.site).after_live is not None and not change.flip.goes_back

    def do(self, change: Change, step: Step) -> None:
        """Run it."""
        step.says(run_hook(change.site, change.log, "after_live", change.release.venv))


class OnRollback(Action):
    """Runs `on_rollback` after a rollback, automatic or by hand."""

    name = "on_rollback"
    causes_rollback = False
    is_retried = False

    def is_due(self, change: Change) -> bool:
        """True if the hook is set, and the change a rollback."""
        return HookSettings.of(change.site).on_rollback is not None and change.flip.goes_back

    def do(self, change: Change, step: Step) -> None:
        """Run it."""
        step.says(run_hook(change.site, change.log, "on_rollback", change.release.venv))

    def do_for_previous(self, change: Change) -> bool:
        """Run it after an automatic rollback, unless another run has to finish that rollback."""
        if change.unfinished is None:
            venv = change.previous.venv if change.previous is not None else None
            run_on_rollback(change.site, change.log, venv, change.flip.reason)
        return True
