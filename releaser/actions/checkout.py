"""The checkout as an action: its commit, uv.lock, and other files of a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.checkout.move import (
    CHECKOUT,
    Move,
    keep_edits,
    move_checkout,
    place_files,
    restore_checkout,
    restore_commit,
    save_lock,
)
from releaser.checkout.output import place_links
from releaser.core.action import Action
from releaser.core.run import name_run
from releaser.errors import Finding, PreflightError, ToolError, how_to_set, refuse_any
from releaser.releases.release import refuse_moved
from releaser.releases.store import store_of
from releaser.system.uptime import boot_id

if TYPE_CHECKING:
    from releaser.core.change import Change, Deployment
    from releaser.releases.journal import Record
    from releaser.report import Step


class Checkout(Action):
    """Moves the checkout to the commit that was tested, and gives it the lock of the release."""

    name = CHECKOUT
    is_step = False
    is_noted = False

    def record(self, change: Change, deployment: Deployment) -> Record:
        """Keep the files that the change replaces."""
        site, target = change.site, deployment.target
        if deployment.goes_back:  # else the guard has looked
            keep_edits(site, change.log)
        else:
            refuse_moved(store_of(site))  # the snapshot may be younger than a move by a person
        place_links(site, change.log, deployment.release)
        save_lock(site)
        return {
            "before": site.git.name_of(target.head),
            "after": site.git.name_of(target.commit),
            "boot": boot_id(),
            "files": True,
        }

    def prepare(self, change: Change, deployment: Deployment) -> None:
        """Move to the commit."""
        target = deployment.target
        try:
            move_checkout(change.site, change.log, target)
        except ToolError as error:
            finding = Finding(
                "checkout-not-moved",
                f"the checkout could not be moved to the tested commit {target.commit[:12]}: {error.message}",
                error.advice or "Nothing went live. Correct the error that git names; the next run tries again.",
                output=error.output,
            )
            raise PreflightError(finding) from error

    def undo(self, change: Change) -> None:
        """Move back to the commit, and restore the lock. A move without a release restores only the commit."""
        move = move_of(change)
        try:
            if change.record(self.name).get("files"):
                restore_checkout(change.site, change.log, move)
            else:
                restore_commit(change.site, change.log, move)
        finally:
            _reread_settings(change, move)

    def do(self, change: Change, step: Step) -> None:
        """Place the files of the release."""
        move = move_of(change)
        place_files(change.site, change.log, change.release, move)
        _reread_settings(change, move)

    def do_for_previous(self, change: Change) -> bool:
        """Restore the previous commit and lock."""
        self.undo(change)
        return True

    def resume(self, change: Change) -> None:
        """Refuse if the commit was moved and git is gone, unless `git` is false. Keep edits of the files."""
        site, entry, move = change.site, change.entry, move_of(change)
        if move.before and move.moves_code:
            run_name, root = name_run(entry.command, entry.run_id), site.project.root
            lacking = Finding(
                "git-gone",
                f"{run_name} was interrupted. To finish or undo it, releaser needs .git, but {root} and its parents "
                f"have none",
                "Restore .git, and run the command again. To continue with the code as it is, "
                f"{how_to_set('git', 'false')}.",
            )
            refuse_any(site.report_lost_git(lacking))
        if change.record(self.name).get("files"):
            keep_edits(site, change.log, move)

    def code_replaced(self, change: Change) -> str | None:
        """Return the commit from which the checkout moved."""
        move = move_of(change)
        return move.before if move.moves_code else None


def move_of(change: Change) -> Move:
    """Return how the checkout moves in a change."""
    record = change.record(CHECKOUT)
    return Move(
        before=record.get("before"),
        after=record.get("after"),
        boot=record.get("boot", ""),
        previous=change.previous,
        new=change.new,
    )


def _reread_settings(change: Change, move: Move) -> None:
    if move.moves_code:  # the settings are those of the code
        change.site = change.site.reread()
