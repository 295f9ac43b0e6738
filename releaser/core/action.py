"""The interface of an action: one part of a change of the live release, with what undoes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import ActivationError, ToolError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.core.change import Change, Deployment
    from releaser.errors import Finding
    from releaser.releases.journal import Entry, Record
    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


class Action:
    """A part of a change of the live release. Subclasses override what differs from these defaults.

    Before a change, `do_ahead` may be called. A change calls, for all actions: `record` and, last action first,
    `prepare`; after the flip `do`, first action first. If the flip did not happen, it calls `undo`. To go back after
    the flip, it calls `leave`, last action first, and once the previous release is live again, `do_for_previous`. A
    later run calls `resume` before it continues a change that was cut off. A crash may repeat any of these calls.
    """

    #: The name of its step in the report, and of its record in the journal.
    name = ""
    #: True if `do` is a step of the report. If not, it is never noted as done, and must not raise ToolError.
    is_step = True
    #: True if the journal is written as soon as `do` is finished. If not, a crash may repeat `do`; that must be cheap.
    is_noted = True
    #: True if a failure of `do` causes an automatic rollback. `do_for_previous` is called in any case.
    causes_rollback = True
    #: True if the next update does it again if it failed and the release stayed live.
    is_retried = True

    def is_due(self, change: Change) -> bool:
        """True if this change does it after the flip."""
        return True

    def findings(self, site: Site, venv: Path | None, *, goes_back: bool) -> Iterator[Finding]:
        """Yield the problems that would make `do` fail for the release in this venv. Changes nothing.

        `venv` is None for a rollback to other code, which is not checked out yet.
        """
        yield from ()

    def do_ahead(self, site: Site, log: RunLog, release: Release) -> bool:
        """Do it before the change begins, in a staging tree with the code of the release.

        Returns False if it has to wait for the flip. Writes the record for `undo` into the journal itself.
        """
        return False

    def record(self, change: Change, deployment: Deployment) -> Record:
        """Return what the journal keeps for this action. Raises PreflightError and OSError."""
        return {}

    def prepare(self, change: Change, deployment: Deployment) -> None:
        """Prepare, before the flip. Raises PreflightError, ToolError or OSError: then nothing goes live."""

    def undo(self, change: Change) -> None:
        """Undo `prepare`. Called only if `record` returned something. Does no harm the second time. Raises OSError."""

    def do(self, change: Change, step: Step) -> None:
        """Do it, after the flip, for `change.release`. Raises ToolError and OSError."""

    def leave(self, change: Change) -> None:
        """Prepare the way back. Must not raise: the symlink has not moved back yet."""

    def do_for_previous(self, change: Change) -> bool:
        """Do it for the previous release, which is live again. A failure is reported, and returns False.

        Raises OSError if another run has to do it.
        """
        if not self.causes_rollback:
            return True
        if change.previous is None:
            if change.record(self.name):
                self.undo(change)
            return True
        with change.log.step(f"{self.name} again") as step:
            try:
                self.do(change, step)
            except (ToolError, OSError) as error:
                reason = reason_of(error)
                step.warns(reason)
                change.log.note_failure(self.failure_for_previous(change, reason))
                # A disk that fails now proves nothing about the previous release.
                return isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        return True

    def resume(self, change: Change) -> None:
        """Prepare to finish or undo a change that was cut off. Raises OSError, and PreflightError to refuse that.

        Called only if `record` returned something, and before the change goes on.
        """

    def code_replaced(self, change: Change) -> str | None:
        """Return the commit whose code the change replaces; None if it replaces no code."""
        return None

    def takes_down(self, site: Site) -> bool:
        """True if the site is down until the action is done."""
        return False

    def down_since(self, entry: Entry) -> float | None:
        """Return since when the site is down for a change, in seconds since the system started; None if it is up.

        It is 0.0 if the system was restarted since. `undo` ends this.
        """
        return None

    def failure_for_previous(self, change: Change, reason: str) -> ActivationError:
        """Describe a failure of `do_for_previous`."""
        message = f"{self.name} on the previous release failed: {reason}"
        return ActivationError(message, "The previous release is live without that step. Check the site now.")
