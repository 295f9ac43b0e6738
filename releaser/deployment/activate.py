"""Making a release live, and taking that back when the site does not stand it.

The flip is the commit point. Whatever happens before it is undone, whatever happens after it is either finished or
taken back as a whole; the journal tells another run which.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import field, replace
from typing import TYPE_CHECKING

from releaser.checkout.move import keep_edits, move_checkout, place_files, restore_checkout, save_files
from releaser.checkout.output import place_links
from releaser.checkout.publish import BY_HAND, note_failed_steps
from releaser.deployment import outage
from releaser.deployment.health_check import RestartCheck, in_use, moment
from releaser.deployment.post_flip import STEPS, run_post_flip_steps
from releaser.deployment.static_files import collectstatic
from releaser.errors import (
    ActivationError,
    BuildError,
    Finding,
    IncompleteReturnError,
    PreflightError,
    ToolError,
    reason_of,
    refuse,
)
from releaser.releases import leases
from releaser.releases.integrity import cannot_run
from releaser.releases.journal import Entry, journal_of, make_entry
from releaser.releases.release import flip, is_missing_or_dangling, refuse_moved
from releaser.releases.store import store_of
from releaser.reporting.hooks import tell_return
from releaser.system.files import UnreadableStateError, link_text, replace_symlink, sync_directory
from releaser.system.frozen import Frozen
from releaser.system.reserve import make_room

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.checkout.pull import Target
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

_AGAIN = "Fix that, and run it again."
# What to do once what was made live is taken back, by the command that had done so.
_AFTERWARDS = {
    "update": (
        "See `releaser status` for what is left out of updates now; `releaser update --force` includes it anyway."
    ),
    "init": _AGAIN,
    "rebuild": _AGAIN,
}


class Deployment(Frozen):
    """A sealed release that is to go live, and how."""

    release: Release
    #: The commit that the checkout moves to.
    target: Target
    #: The text that the symlink has to have still; None where there is none.
    link: str | None = None
    #: pyproject.toml comes with it too, along with its first lock.
    creates_pyproject: bool = False
    #: It is not taken back for a step after the flip that fails: that is reported.
    stays: bool = False
    #: Its static files are in place already.
    collected: bool = False
    #: Looks once more whether anybody is at work, where the site takes time to stop. Raises PreflightError.
    look_again: Callable[[], None] = field(default=lambda: None, repr=False)


def activate(site: Site, log: RunLog, deployment: Deployment) -> Entry:
    """Move the checkout, flip to a sealed release and see that the site runs on it.

    Returns the journal's entry, which is still there. Raises BuildError or PreflightError when that could not be done
    (nothing has changed then), ActivationError when it was done and has been taken back, and IncompleteReturnError when
    it could not be taken back whole.
    """
    release, link = deployment.release, site.project.venv
    try:
        entry = _move_and_flip(site, log, deployment)
    except OSError as error:
        if store_of(site).live_id() == release.id:
            log.learn(live_changed=True)
            message = f"{link} leads to the new release, which can neither be synced nor moved back: {error}"
            advice = "Repair the disk, then run releaser again: it continues from there."
            raise IncompleteReturnError(message, advice=advice) from error
        message = f"{link} could not be moved to the new release: {error}"
        raise BuildError(message, advice="Check free space and permissions; live is unchanged.") from error
    return finish(site, log, entry, release)


def finish(site: Site, log: RunLog, entry: Entry, release: Release) -> Entry:
    """Do all that is due after the flip; also what recovery does. Raises ActivationError after taking it back.

    For a step that fails it is not taken back to a release on which nothing can run.
    """
    log.learn(live_changed=True)
    try:
        place_files(site, log, release, entry)
        if entry.moves_code:
            site = site.reread()
        return run_post_flip_steps(site, log, entry, release)
    except ActivationError as error:
        with contextlib.suppress(UnreadableStateError, OSError):
            entry = journal_of(site).read() or entry  # which tells whether the service runs again
        raise _take_back_for(site, log, entry, error) from error
    except OSError as error:
        failure = ActivationError(f"its files cannot be written: {error}", not_the_release=True)
        raise _take_back_for(site, log, entry, failure) from error


def advice_for(failure: ActivationError, command: str) -> str:
    """Return what to do after a failure for which what a command had made live is taken back."""
    return f"{failure.advice} {_AFTERWARDS.get(command, '')}".strip()


def _take_back_for(site: Site, log: RunLog, entry: Entry, failure: ActivationError) -> ActivationError:
    """Take a release back for a failure, and return the error that says so. Raises IncompleteReturnError."""
    not_the_release = failure.not_the_release
    began = {} if entry.start else {"start": site.settings.start or (), "flipped_at": leases.now()}
    entry = entry.moved("reverting", done=(), reason=failure.message, not_the_release=not_the_release, **began)
    try:
        journal_of(site).write_on_full_disk(entry)
    except OSError as error:
        # A crash then finds the earlier entry: with the link still at the new release, all is tried once more.
        logger.warning("nor can it be with the room that was kept for that: %s", error)
        if began:  # the service runs, and would stay stopped if the link cannot be moved either
            entry = replace(entry, start=())
    try:
        fails_before = take_back(site, log, entry)
    except OSError as error:
        message = f"{failure.message}; the rollback is incomplete: {error}"
        advice = "Fix what the message names, then run releaser again: it continues the rollback."
        raise IncompleteReturnError(message, advice=advice, output=failure.output) from error
    return ActivationError(
        failure.message,
        advice=advice_for(failure, entry.command),
        output=failure.output,
        step=failure.step,
        not_the_release=not_the_release,
        fails_before=fails_before,
    )


def _move_and_flip(site: Site, log: RunLog, deployment: Deployment) -> Entry:
    release, target = deployment.release, deployment.target
    store, journal = store_of(site), journal_of(site)
    live = store.live()
    if log.command == "rollback":  # else the guard has looked
        keep_edits(site, log)
    else:
        refuse_moved(store)  # the snapshot may be younger than the move, which would count as its own
    place_links(site, log, release)
    building = journal.read()
    save_files(site, creates_pyproject=deployment.creates_pyproject)
    entry = journal.write(
        make_entry(
            log,
            "committing",
            origin=live.id if live else None,
            origin_link=link_text(site.project.venv),
            target=release.id,
            head_before=target.head or None,
            head_after=target.commit or None,
            flipped_at=leases.now(),
            boot=leases.boot_id(),
            was_used=in_use(live),
            creates_pyproject=deployment.creates_pyproject,
            stays=deployment.stays,
            done=("collectstatic",) if deployment.collected else (),
            collected=building is not None and building.collected,  # also if that failed half-way
            start=(site.settings.start or ()) if site.settings.stop else (),
        )
    )
    if entry.start:
        # What keeps a person from leaving a bad release, or a repair from going live, would only prolong that.
        goes_on = deployment.stays or log.command == "rollback" or (live is not None and cannot_run(live))
        outage.stop(site, log, live.venv if live else None, goes_on=goes_on)
        deployment.look_again()
    try:
        move_checkout(site, log, target)
    except ToolError as error:
        finding = Finding(
            f"the checkout could not be moved to {target.commit[:12]}, which was tested: {error.message}",
            advice=error.advice or "See git's message. Nothing went live, and the next run tries again.",
            output=error.output,
        )
        raise PreflightError(finding) from error
    link, now = site.project.venv, link_text(site.project.venv)
    if now != deployment.link:
        where = f"leads to {now}" if now is not None else "is not a symlink"
        refuse(f"somebody changed {link}, which {where} now", "Nothing went live; run it again when they are done.")
    with log.step("flip") as step:
        _flip_or_move_back(site, entry, release)
        step.says(f"{live.id if live else 'none'} → {release.id}")
    return entry


def _flip_or_move_back(site: Site, entry: Entry, release: Release) -> None:
    """Flip, or not at all: what moved and cannot be synced, which a power cut could undo, is moved back."""
    try:
        flip(site.project.venv, release.venv, staging=site.state_dir)
    except OSError:
        if store_of(site).live_id() == release.id:
            with contextlib.suppress(OSError):  # if that cannot be synced either, the link is still back
                _restore_link(site, entry)
        raise


def take_back(site: Site, log: RunLog, entry: Entry) -> bool:
    """Go back to what was before the flip: link, lock, commits, static files, restart. Done twice, it changes nothing.

    The link, which matters most, comes first; once it is back, the rest is done, whatever fails. Returns whether the
    steps after the flip fail with the earlier release too, so that the other one is not to blame. Raises OSError if
    link or lock could not be restored, or the move of the link could not be synced.
    """
    fails_before = False
    origin, left = store_of(site).get(entry.origin), store_of(site).get(entry.target)
    flipped_at, was_used = leases.now(), entry.was_used or in_use(left)
    with contextlib.suppress(OSError):
        make_room(site.state_dir)
    unfinished: OSError | None = None
    if entry.start and site.settings.stop is not None:
        outage.stop(site, log, left.venv if left else None, goes_on=True, name="stop again")
    with log.step("flip back") as step:
        try:
            _restore_link(site, entry)
        except OSError as error:
            is_elsewhere = origin is None and link_text(site.project.venv) != entry.origin_link
            if is_elsewhere or (origin is not None and store_of(site).live_id() != origin.id):
                raise
            unfinished = error
            step.warns(f"it is back, which cannot be synced: {error}")
        else:
            step.says(entry.origin or "as it was before")
        log.learn(live_changed=False)
    try:
        restore_checkout(site, log, entry)
    except OSError as error:
        unfinished = error
    if entry.moves_code:
        site = site.reread()
    if origin is not None:
        check = RestartCheck(
            target=origin,
            origin=left,
            flipped_at=flipped_at,
            was_used=was_used,
            goes_back=True,
            start=entry.start,
            since=moment(entry.flipped_at, entry.boot),
        )
        fails_before = _run_steps_again(site, log, check)
        outage.note_running(site, entry)
    else:
        outage.start_again(site, log, entry)
    if unfinished is not None:
        raise unfinished
    tell_return(site, log, origin.venv if origin else None, entry.reason)
    return fails_before


def restore_static_files(site: Site, log: RunLog) -> None:
    """Restore the static files of what is live, where those of another release were collected ahead of its flip."""
    live = store_of(site).live()
    if live is not None and not cannot_run(live):
        with log.step("collectstatic again") as step:
            try:
                collectstatic(site, log, live.venv, step)
            except (ToolError, OSError) as error:
                reason = reason_of(error)
                step.warns(reason)
                message = f"the static files of {live.id} could not be collected again: {reason}"
                log.note_failure(ActivationError(message, advice="Fix that; the next `releaser update` tries again."))
                with contextlib.suppress(OSError):  # the disk that is full may take no note of it either
                    note_failed_steps(site, live, {"collectstatic"})


def _run_steps_again(site: Site, log: RunLog, check: RestartCheck) -> bool:
    """Do the steps after a flip for the release to which it goes back; return whether that fails, as the other did."""
    fails = False
    for name, act in STEPS.items():
        with log.step(f"{name} again") as step:
            try:
                act(site, log, check, step)
            except (ToolError, OSError) as error:
                reason = reason_of(error)
                step.warns(reason)
                is_down = name == "restart" and bool(check.start)
                down = "the service is stopped: " if is_down else ""
                advice = BY_HAND if is_down else ""
                log.note_failure(
                    ActivationError(f"{down}{name} on the earlier release failed: {reason}", advice=advice)
                )
                if is_down:
                    note_failed_steps(site, check.target, {name})
                # A disk that fails now says nothing of the earlier release.
                fails |= not isinstance(error, OSError) and not isinstance(error.__cause__, OSError)
    return fails


def _restore_link(site: Site, entry: Entry) -> None:
    """Restore the symlink as it was: to the earlier release, elsewhere, or nowhere. Raises OSError.

    One that somebody has moved since stays, as the next run says.
    """
    link, staging = site.project.venv, site.state_dir
    origin = store_of(site).get(entry.origin)
    known = {one for one in (entry.origin, entry.target) if one}
    is_known = store_of(site).live_id() in known or link_text(link) == entry.origin_link
    if link.is_symlink() and not is_known and not is_missing_or_dangling(link):
        return
    if origin is not None:
        flip(link, origin.venv, staging=staging)
    elif entry.origin_link is not None:
        replace_symlink(link, entry.origin_link, staging=staging)
    elif store_of(site).live_id() == entry.target:
        link.unlink(missing_ok=True)
        sync_directory(link.parent)
