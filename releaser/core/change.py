"""A change of the live release: actions around one flip, recorded in the journal so that any run can end the change.

The flip is the commit point. Before it, each action can be undone. After it, each action can be repeated, or releaser
goes back to the previous release.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.capabilities import make
from releaser.core.follow_up import attempt, failed_actions, note_failed_actions
from releaser.errors import (
    ActivationError,
    BuildError,
    IncompleteReturnError,
    ToolError,
    error_line,
    refuse,
)
from releaser.releases.integrity import usable
from releaser.releases.journal import Entry, Flip, journal_of, make_entry
from releaser.releases.release import flip, is_missing_or_dangling
from releaser.releases.store import store_of
from releaser.report import Step
from releaser.system.files import link_text, replace_symlink, sync_directory
from releaser.system.frozen import Frozen, field, replace
from releaser.system.reserve import make_room
from releaser.system.uptime import boot_id, uptime

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from releaser.core.action import Action
    from releaser.core.target import Target
    from releaser.errors import Finding
    from releaser.releases.journal import Phase, Record
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

#: In the order of `do`. Preparations run in reverse order: the service stops before the checkout moves.
ACTIONS: Sequence[Action] = make("actions")

_AGAIN = "Correct the error, then run the command again."
# The advice after an automatic rollback, by the command that made the release live.
_AFTERWARDS = {
    "update": (
        "Find the cause in the log. `releaser status` shows the versions and commits on hold; `releaser update --force`"
        " tries them again."
    ),
    "init": _AGAIN,
    "rebuild": _AGAIN,
}


class Deployment(Frozen):
    """A sealed release, and how it goes live."""

    release: Release
    #: The commit that the checkout moves to.
    target: Target
    #: The text that the symlink must still have; None if there must be no symlink.
    link: str | None = None
    #: True for a rollback.
    goes_back: bool = False
    #: After a rollback, updates skip the versions that the withdrawn release introduced.
    holds_left: bool = True
    #: The release stays live even if an action after the flip fails.
    stays: bool = False
    #: The actions that were done before the flip, by their names.
    done: tuple[str, ...] = ()
    #: Checks again whether a person changed the site, after an action that took time. Raises PreflightError.
    look_again: Callable[[], None] = field(default=lambda: None, repr=False)


class Change:
    """A change in progress: its entry in the journal, and the releases that it is about."""

    def __init__(self, site: Site, log: RunLog, entry: Entry) -> None:
        self.site = site
        self.log = log
        self.entry = entry
        self.flip = entry.flip or Flip()
        self.new = store_of(site).get(entry.release)
        self.previous = store_of(site).get(self.flip.previous)
        #: True if the previous release is live again.
        self.is_back = False
        #: When the symlink was moved last, in seconds since the system started; 0.0 if unknown.
        self.flipped_at = self.flip.moment(self.flip.at)
        #: Why going back has to be finished by another run; None if it need not be.
        self.unfinished: OSError | None = None

    @property
    def release(self) -> Release:
        """The release that the actions act for. Raises LookupError if it is gone."""
        release = self.previous if self.is_back else self.new
        if release is None:
            message = f"release {self.flip.previous if self.is_back else self.entry.release} is gone"
            raise LookupError(message)
        return release

    @property
    def replaced(self) -> Release | None:
        """The release that was live before `release`."""
        return self.new if self.is_back else self.previous

    @property
    def code_replaced(self) -> str | None:
        """The commit whose code the change replaces; None if it replaces no code."""
        return next(filter(None, (action.code_replaced(self) for action in ACTIONS)), None)

    def record(self, action: str) -> Record:
        """Return the record of an action, by its name."""
        return self.entry.actions.get(action, {})

    def note(self, action: str, **facts: Any) -> None:
        """Change facts in the record of an action; `save` writes them."""
        records = {**self.entry.actions, action: {**self.record(action), **facts}}
        self.entry = replace(self.entry, actions=records)

    def save(self) -> bool:
        """Write the entry, even on a full disk; return False if that fails: after a crash, more is done again."""
        try:
            journal_of(self.site).write_on_full_disk(self.entry)
        except OSError as error:
            logger.warning("the journal cannot be written: %s", error)
            return False
        return True

    # Before the flip

    def prepare(self, deployment: Deployment) -> None:
        """Record the change, and prepare all actions. Raises PreflightError, BuildError and OSError."""
        before = journal_of(self.site).read()
        records = {} if before is None else dict(before.actions)
        for action in ACTIONS:
            if record := action.record(self, deployment):
                records[action.name] = record
        unreported = tuple(self.log.unreported)  # also what the actions have just kept
        self.entry = journal_of(self.site).write(replace(self.entry, actions=records, unreported=unreported))
        for action in reversed(ACTIONS):
            try:
                action.prepare(self, deployment)
            except ToolError as error:
                message = f"{action.name} could not be prepared: {error.message}"
                raise BuildError(message, error.advice, output=error.output) from error

    def switch(self, link: str | None) -> None:
        """Flip, if the symlink still has the text `link`. Raises PreflightError and OSError."""
        place, now = self.site.project.venv, link_text(self.site.project.venv)
        if now != link:
            where = f"leads to {now}" if now is not None else "is not a symlink"
            refuse(
                "venv-changed",
                f"{place} was changed during this run: it {where} now",
                "Nothing went live. Check the symlink, then run the command again.",
            )
        with self.log.step("flip") as step:
            try:
                flip(place, self.release.venv, staging=self.site.state_dir)
            except OSError:
                # A power cut could undo a flip that is not synced.
                if store_of(self.site).live_id() == self.release.id:
                    with contextlib.suppress(OSError):  # if that cannot be synced either, the link is still back
                        self._restore_link()
                raise
            step.says(f"{self.previous.id if self.previous else 'none'} → {self.release.id}")

    def undo(self) -> None:
        """Undo the preparations that were recorded. Raises OSError."""
        for action in self._list_recorded():
            action.undo(self)

    def resume(self) -> None:
        """Prepare to finish or undo a change that was cut off. Raises OSError and PreflightError."""
        for action in self._list_recorded():
            action.resume(self)

    def end_outage(self) -> None:
        """Undo the preparations for which the site is down. Raises OSError."""
        for action in ACTIONS:
            if action.down_since(self.entry) is not None:
                action.undo(self)

    def _list_recorded(self) -> Iterator[Action]:
        return (action for action in ACTIONS if action.name in self.entry.actions)

    # After the flip

    def finish(self) -> None:
        """Do the actions that are not done yet. Raises ActivationError after an automatic rollback."""
        self.log.learn(live_changed=True)
        try:
            self._do_due()
        except ActivationError as error:
            raise self._roll_back_for(error) from error
        except OSError as error:
            raise self._roll_back_for(_unwritable(error)) from error

    def _do_due(self) -> None:
        """Do each action that the journal does not have as done. Raises ActivationError and OSError.

        If the release stays live whatever fails, that is noted before the journal has the action as done.
        """
        failed = {*failed_actions(self.site.state_dir, self.release)}.intersection(self.entry.done)
        for action in self._list_due():
            records = self.entry.actions
            try:
                step = self._do(action) if action.is_step else self._do_silently(action)
            except (ActivationError, OSError) as error:
                why = self._explain_no_rollback(action)
                if not why:
                    raise
                failure = error if isinstance(error, ActivationError) else _unwritable(error)
                message = f"{failure.message}; {self.release.id} stays live anyway, {why}"
                failure_after_all = ActivationError(message, failure.advice, output=failure.output)
                self.log.note_failure(failure_after_all, follow_up=action.is_retried)
                failed |= {action.name} if action.is_retried and action.is_step else set()
                _note_failed(self.site, self.release, failed)
                is_news = True
            else:
                is_news = step.status != "skipped"
            if not action.is_step:
                continue
            self.note_done(action.name)
            if self.entry.actions != records or (is_news and action.is_noted):
                self.save()  # otherwise the next `save` writes it
        _note_failed(self.site, self.release, failed)

    def note_done(self, action: str) -> None:
        """Note that an action is finished, by its name."""
        self.entry = replace(self.entry, done=(*self.entry.done, action))

    def _list_due(self) -> Iterator[Action]:
        return (action for action in ACTIONS if action.name not in self.entry.done and action.is_due(self))

    def _do(self, action: Action) -> Step:
        with self.log.step(action.name) as step:
            try:
                action.do(self, step)
            except ToolError as error:
                raise failure_of(action.name, error) from error
        return step

    def _do_silently(self, action: Action) -> Step:
        action.do(self, step := Step())
        return step

    def _explain_no_rollback(self, action: Action) -> str:
        """Return why the release stays live although an action failed; empty for an automatic rollback."""
        if not action.causes_rollback:
            return f"as a failed {action.name} causes no rollback"
        if self.flip.stays:
            return "because of --force"
        return f"as nothing can run on {self.flip.previous}" if usable(self.previous) is not self.previous else ""

    # Going back

    def _roll_back_for(self, failure: ActivationError) -> ActivationError:
        """Roll the release back, and return the error that says so. Raises IncompleteReturnError."""
        self.flip = replace(self.flip, reason=failure.message, not_the_release=failure.not_the_release)
        self.entry = self.entry.moved("reverting", done=(), flip=self.flip)
        self.save()  # if that fails and the run is killed, the next run tries the new release again
        try:
            fails_before = self.roll_back()
        except OSError as error:
            message = f"{failure.message}; the rollback is incomplete: {error}"
            advice = "Correct the error, then run releaser again: it continues the rollback."
            raise IncompleteReturnError(message, advice, output=failure.output) from error
        return ActivationError(
            failure.message,
            advice_for(failure, "rollback" if self.flip.goes_back else self.entry.command),
            output=failure.output,
            step=failure.step,
            not_the_release=failure.not_the_release,
            fails_before=fails_before,
        )

    def roll_back(self) -> bool:
        """Go back to the previous release: `leave`, the link, then `do_for_previous` of every action, whatever fails.

        Returns whether an action fails with the previous release too, so that the new one is not to blame. Raises
        OSError if another run has to go on with that.
        """
        flipped_at = uptime()
        with contextlib.suppress(OSError):
            make_room(self.site.state_dir)
        for action in reversed(ACTIONS):
            action.leave(self)
        with self.log.step("flip back") as step:
            try:
                self._restore_link()
            except OSError as error:
                if not self._leads_back():
                    raise
                self.unfinished = error
                step.warns(f"the symlink leads back, but cannot be synced: {error}")
            else:
                step.says(self.flip.previous or "as it was before")
            self.log.learn(live_changed=False)
        self.is_back, self.flipped_at = True, flipped_at
        fails = False
        for action in ACTIONS:
            try:
                fails |= not action.do_for_previous(self)
            except OSError as error:
                self.unfinished = error
            self.note_done(action.name)
        if self.unfinished is not None:
            raise self.unfinished
        return fails

    def _leads_back(self) -> bool:
        """True if the symlink leads to where it did before the flip."""
        if self.previous is not None:
            return store_of(self.site).live_id() == self.previous.id
        return link_text(self.site.project.venv) == self.flip.previous_link

    def _restore_link(self) -> None:
        """Restore the symlink as it was: to the previous release, elsewhere, or nowhere. Raises OSError.

        A link that a person has moved stays; the next run reports it.
        """
        link, staging = self.site.project.venv, self.site.state_dir
        store, before = store_of(self.site), self.flip.previous_link
        known = {name for name in (self.flip.previous, self.entry.release) if name}
        is_known = store.live_id() in known or link_text(link) == before
        if link.is_symlink() and not is_known and not is_missing_or_dangling(link):
            return
        if self.previous is not None:
            flip(link, self.previous.venv, staging=staging)
        elif before is not None:
            replace_symlink(link, before, staging=staging)
        elif store.live_id() == self.entry.release:
            link.unlink(missing_ok=True)
            sync_directory(link.parent)


def make_live(site: Site, log: RunLog, deployment: Deployment) -> Change:
    """Make a release live, and see that the site runs on it; return the change, whose journal entry is still there.

    Raises BuildError or PreflightError before the flip: then nothing has changed. Raises ActivationError after an
    automatic rollback, and IncompleteReturnError if that rollback could not be finished.
    """
    link = site.project.venv
    live = store_of(site).live()
    flipped = Flip(
        previous=live.id if live else None,
        previous_link=link_text(link),
        at=uptime(),
        boot=boot_id(),
        goes_back=deployment.goes_back,
        holds_left=deployment.holds_left,
        stays=deployment.stays,
    )
    release = deployment.release
    change = Change(site, log, make_entry(log, "committing", release=release.id, flip=flipped, done=deployment.done))
    try:
        change.prepare(deployment)
        change.switch(deployment.link)
    except OSError as error:
        if store_of(site).live_id() == release.id:
            log.learn(live_changed=True)
            message = f"{link} leads to the new release, which can neither be synced nor moved back: {error}"
            advice = "Repair the disk, then run releaser again: it continues from there."
            raise IncompleteReturnError(message, advice) from error
        message = f"{link} could not be moved to the new release: {error}"
        raise BuildError(message, "The live release is unchanged. Check free space and permissions.") from error
    change.finish()
    return change


def do_ahead(site: Site, log: RunLog, release: Release) -> tuple[str, ...]:
    """Do what can be done before the flip, from a staging tree; return the names of the actions that are finished."""
    return tuple(action.name for action in ACTIONS if action.do_ahead(site, log, release))


def find_problems(site: Site, venv: Path | None, *, goes_back: bool = False) -> list[Finding]:
    """Return what would make an action after the flip fail, before anything is flipped."""
    return [finding for action in ACTIONS for finding in action.findings(site, venv, goes_back=goes_back)]


def advice_for(failure: ActivationError, command: str) -> str:
    """Return the advice for a failure that caused an automatic rollback."""
    return f"{failure.advice} {_AFTERWARDS.get(command, '')}".strip()


def _unwritable(error: OSError) -> ActivationError:
    return ActivationError(f"its files cannot be written: {error}", not_the_release=True)


def failure_of(name: str, error: ToolError) -> ActivationError:
    """Report that an action failed, and why."""
    reason = error_line(error.output)
    because = f" ({reason[:200]})" if reason and reason not in error.message else ""
    return ActivationError(
        f"{name} failed: {error.message}{because}",
        error.advice,
        output=error.output,
        step=name,
        not_the_release=isinstance(error.__cause__, OSError),
    )


def down_since(entry: Entry) -> float | None:
    """Return since when the site is down for a change, in seconds since the system started; None if it is up.

    It is 0.0 if the system was restarted since.
    """
    return next((since for action in ACTIONS if (since := action.down_since(entry)) is not None), None)


def takes_down(site: Site, names: Collection[str] | None = None) -> bool:
    """True if the site is down until an action is done; `names` limits the actions."""
    return any(action.takes_down(site) for action in ACTIONS if names is None or action.name in names)


def _note_failed(site: Site, release: Release, names: Collection[str]) -> None:
    note_failed_actions(site, release, names, is_down=takes_down(site, names))


# Without a flip


def all_steps() -> frozenset[str]:
    """Return the names of all actions whose failure causes an automatic rollback."""
    return frozenset(action.name for action in ACTIONS if action.is_step and action.causes_rollback)


def do_actions(site: Site, log: RunLog, release: Release, due: Collection[str]) -> dict[str, bool]:
    """Do the actions that are `due` for the live release, and those that follow one that succeeds.

    Returns whether each succeeded; failures are reported. There is no way back.
    """
    flipped = Flip(at=uptime(), boot=boot_id())
    phase: Phase = "committing"  # never written
    entry = Entry(command=log.command, run_id=log.run_id, phase=phase, actions={}, release=release.id, flip=flipped)
    change = Change(site, log, entry)
    succeeded: dict[str, bool] = {}
    for action in ACTIONS:
        if action.is_step and action.is_due(change) and (action.name in due or any(succeeded.values())):
            succeeded[action.name] = attempt(log, action.name, partial(action.do, change))
            if succeeded[action.name]:
                change.note_done(action.name)
    return succeeded


def retry_failed_actions(site: Site, log: RunLog) -> None:
    """Repeat the actions that failed after the flip to the live release, and the actions that follow them.

    An action that fails again is due once more. On a release on which nothing can run, nothing is restarted.
    """
    release = store_of(site).live()
    due = failed_actions(site.state_dir, release)
    if not due or (release := usable(release)) is None:
        return
    succeeded = do_actions(site, log, release, due)
    _note_failed(site, release, [name for name, has_succeeded in succeeded.items() if not has_succeeded])
    if succeeded and all(succeeded.values()):
        names = " and ".join(succeeded)
        log.say(f"Steps that failed after {release.id} went live have now succeeded: {names}.")
