"""Making a release live, and taking that back when the site does not stand it.

The flip is the commit point. Whatever happens before it is undone, whatever happens after it is either finished or
taken back as a whole; the journal tells another run which.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import replace_file, replace_symlink, sync_directory
from releaser.errors import ActivationError, BuildError, IncompleteReturnError, PreflightError, ToolError, Unfit
from releaser.releases import flip, processes
from releaser.releases.journal import Entry
from releaser.releases.soundness import is_dead
from releaser.releases.whereabouts import is_missing_or_dangling, refuse_moved
from releaser.report.outcome import Problem
from releaser.steps.follow_ups import note_unsettled, unsettled
from releaser.steps.move import (
    LOCK_BEFORE,
    keep_edited,
    known_locks,
    move_back,
    move_checkout,
    see_where_head_is,
    somebody_committed,
)
from releaser.steps.settle import STEPS, settle
from releaser.steps.static import collectstatic
from releaser.steps.turnover import Turnover, in_use

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.pull import Target

log = logging.getLogger(__name__)

PYPROJECT_BEFORE = "pyproject-before"  # likewise, of a flip that brings the project its first lock

_AGAIN = "Fix that, and run it again."
# What to do once what was made live is taken back, by the command that had done so.
_AFTERWARDS = {
    "update": (
        "See `releaser status` for what is left out of updates now; `releaser update --force` takes it all the same."
    ),
    "init": _AGAIN,
    "rebuild": _AGAIN,
}


def activate(
    run: Run,
    release: Release,
    target: Target,
    link: str | None,
    *,
    founds: bool = False,
    stays: bool = False,
    collected: bool = False,
) -> Entry:
    """Move the checkout to `target`, flip to a sealed release and see that the site runs on it.

    Returns the journal's entry, which is still there. `link` is the text that the symlink has to have still. With
    `founds`, the release brings the project's pyproject.toml too, along with its first lock. With `stays` it is not
    taken back for a step that fails. `collected` says that its static files are in place.

    Raises BuildError or PreflightError when that could not be done (nothing has changed then), ActivationError when it
    was done and has been taken back, and IncompleteReturnError when it could not be taken back whole.
    """
    try:
        entry = _commit(run, release, target, link, founds=founds, stays=stays, collected=collected)
    except OSError as error:
        raise _not_moved(run, release, error) from error
    return finish(run, entry, release)


def _not_moved(run: Run, release: Release, error: OSError) -> BuildError | IncompleteReturnError:
    link = run.site.project.venv
    if run.store.live_id() == release.id:
        run.draft.live_changed = True
        message = f"{link} leads to the new release, which can neither be synced nor moved back: {error}"
        return IncompleteReturnError(message, advice="Repair the disk, then run releaser again: it goes on from there.")
    message = f"{link} could not be moved to the new release: {error}"
    return BuildError(message, advice="Check free space and permissions; live is what it was.")


def finish(run: Run, entry: Entry, release: Release) -> Entry:
    """Do all that is due behind the flip; also what recovery does. Raises ActivationError after taking it back.

    For a step that fails it is not taken back to a release on which nothing can run.
    """
    run.draft.live_changed = True
    try:
        place_lock(run, release, entry)
        if entry.founds:
            _place(run, run.site.project.pyproject, release.pyproject)
        if entry.head_before != entry.head_after:
            run.site = run.site.reread()  # the settings are those of the code
        return _settle(run, entry, release)
    except (ActivationError, OSError) as error:
        failure = error if isinstance(error, ActivationError) else ActivationError(f"uv.lock: {error}")
        failure.blameless |= isinstance(error, OSError)
        failure.advice = advice_for(failure, entry.command)
        reverting = entry.moved("reverting", done=(), reason=failure.message, blameless=failure.blameless)
        entry = _note_return(run, reverting)
        _take_back_or_say(run, entry, failure)
        raise failure from error


def advice_for(failure: ActivationError, command: str) -> str:
    """Return what to do after a failure for which what a command had made live is taken back."""
    return f"{failure.advice} {_AFTERWARDS.get(command, '')}".strip()


def _settle(run: Run, entry: Entry, release: Release) -> Entry:
    """Do the steps behind the flip; where nothing is taken back, one that fails is reported, and the others follow.

    It is due at the next update, which is noted before the journal has it as done: so a run that was cut off has noted.
    """
    failed = {*unsettled(run.site.project.state_dir, release)}.intersection(entry.done)
    while True:
        try:
            entry = settle(run, entry, release)
        except ActivationError as failure:
            origin = run.store.get(entry.origin)
            if entry.stays:
                why = "as --force says"
            elif origin is not None and is_dead(origin):
                why = f"as nothing can run on {origin.id}"
            else:
                raise
            message = f"{failure.message}; {release.id} stays live all the same, {why}"
            run.note_problem(ActivationError(message, advice=failure.advice, output=failure.output))
            failed.add(failure.step)
            note_unsettled(run, release, failed)
            names = list(STEPS)
            entry = entry.moved(entry.phase, done=tuple(names[: names.index(failure.step) + 1]))
        else:
            note_unsettled(run, release, failed)
            return entry


def _note_return(run: Run, entry: Entry) -> Entry:
    """Note in the journal that the change is being taken back; a full disk must not keep that from happening.

    If it cannot be noted at all, a crash finds the earlier entry: with the link still at the new release, all is tried
    once more.
    """
    try:
        return run.journal.insist(entry)
    except OSError as error:
        log.warning("nor can it be with the room that was kept for that: %s", error)
        return entry


def _take_back_or_say(run: Run, entry: Entry, failure: ActivationError) -> None:
    try:
        take_back(run, entry)
    except OSError as error:
        message = f"{failure.message}; and going back is not complete: {error}"
        advice = "Fix what the message names, then run releaser again: it goes on going back."
        raise IncompleteReturnError(message, advice=advice, output=failure.output) from error


def _commit(
    run: Run, release: Release, target: Target, link: str | None, *, founds: bool, stays: bool, collected: bool
) -> Entry:
    if run.command != "rollback":  # which a person may have asked for just because of that
        refuse_moved(run.store)
    if target.moves:
        _refuse_other_head(run, target)
    live = run.store.live()
    if run.command == "rollback":  # else the guard has looked
        keep_edited(run, run.site.project.lock, known_locks(run, live))
    building = run.journal.read()
    _keep_lock(run)
    if founds:
        _keep(run, run.site.project.pyproject, PYPROJECT_BEFORE)
    entry = run.journal.write(
        run.entry(
            "committing",
            origin=live.id if live else None,
            origin_link=link_text(run.site.project.venv),
            target=release.id,
            head_before=target.head or None,
            head_after=target.commit or None,
            flipped_at=processes.now(),
            boot=processes.boot_id(),
            was_used=in_use(live),
            founds=founds,
            stays=stays,
            done=("collectstatic",) if collected else (),
            collected=building is not None and building.collected,  # also if that failed half-way
        )
    )
    try:
        move_checkout(run, target)
    except ToolError as error:
        finding = Unfit(
            f"the checkout could not be moved to {target.commit[:12]}, which was tested: {error.message}",
            advice=error.advice or "See what git says. Nothing went live, and the next run tries again.",
            output=error.output,
        )
        raise PreflightError((finding,)) from error
    _refuse_other_link(run, link)
    with run.recorder.step("flip") as step:
        _flip(run, entry, release)
        step.says(f"{live.id if live else 'none'} → {release.id}")
    return entry


def _refuse_other_head(run: Run, target: Target) -> None:
    """See that nobody has committed since it was decided where to go. Raises PreflightError."""
    try:
        see_where_head_is(run, target)
    except ToolError as error:
        raise PreflightError((Unfit(error.message, advice=error.advice, output=error.output),)) from error


def _refuse_other_link(run: Run, before: str | None) -> None:
    """See that nobody has moved the symlink since it was looked at. Raises PreflightError."""
    link = run.site.project.venv
    now = link_text(link)
    if now != before:
        where = f"leads to {now}" if now is not None else "is no symlink"
        advice = "Nothing went live; run it again when they are done."
        raise PreflightError((Unfit(f"somebody changed {link}, which {where} now", advice=advice),))


def _flip(run: Run, entry: Entry, release: Release) -> None:
    """Flip, or not at all: what moved and cannot be synced, which a power cut could undo, is moved back."""
    try:
        flip.flip(run.site.project.venv, release.venv, staging=run.site.project.state_dir)
    except OSError:
        if run.store.live_id() == release.id:
            with contextlib.suppress(OSError):  # if that cannot be synced either, the link is back all the same
                restore_link(run, entry)
        raise


def link_text(link: Path) -> str | None:
    """Return what stands in the symlink; None when there is none."""
    try:
        return os.readlink(link)
    except OSError:
        return None


def _keep_lock(run: Run) -> None:
    _keep(run, run.site.project.lock, LOCK_BEFORE)


def _keep(run: Run, path: Path, name: str) -> None:
    kept = run.site.project.state_dir / name
    try:
        replace_file(kept, path.read_bytes())
    except FileNotFoundError:
        kept.unlink(missing_ok=True)


def place_lock(run: Run, release: Release, entry: Entry | None = None) -> None:
    """Let the checkout's uv.lock be the one of the live release, by a rename. Raises OSError.

    One that somebody has edited meanwhile is kept aside, one that somebody has committed stays.
    """
    if entry is not None:
        if _is_somebodys(run, entry):
            return
        keep_edited_lock(run, entry)
    _place(run, run.site.project.lock, release.lock)


def _is_somebodys(run: Run, entry: Entry) -> bool:
    """Whether uv.lock is as in a commit that somebody made since; this is told."""
    if not somebody_committed(run, entry):
        return False
    lock = run.site.project.lock
    committed = run.site.git.data("HEAD", os.path.relpath(lock, run.site.git.layout.top))
    if committed is None or not lock.is_file() or lock.read_bytes() != committed:
        return False
    ours = [one.lock.read_bytes() for name in (entry.origin, entry.target) if (one := run.store.get(name)) is not None]
    if committed in ours:
        return False
    message = f"somebody committed another {lock.name} meanwhile; it stays"
    run.draft.problems.append(Problem(message=message, advice="The next update takes it."))
    return True


def _place(run: Run, path: Path, source: Path) -> None:
    wanted = source.read_bytes()
    if not path.exists() or path.read_bytes() != wanted:
        replace_file(path, wanted, staging=run.site.project.state_dir)


def take_back(run: Run, entry: Entry) -> None:
    """Go back to what was before the flip: link, lock, commits, static files, restart. Done twice, it changes nothing.

    The link, which matters most, comes first; once it is back, the rest is done, whatever fails. Raises OSError if link
    or lock could not be restored, or the move of the link could not be synced.
    """
    origin, left = run.store.get(entry.origin), run.store.get(entry.target)
    flipped_at, was_used = processes.now(), entry.was_used or in_use(left)
    unfinished: OSError | None = None
    with run.recorder.step("flip back") as step:
        try:
            restore_link(run, entry)
        except OSError as error:
            if not _is_back(run, entry):
                raise
            unfinished = error
            step.warns(f"it is back, which cannot be synced: {error}")
        else:
            step.says(entry.origin or "as it was before")
        run.draft.live_changed = False
    try:
        restore_checkout(run, entry)
    except OSError as error:
        unfinished = error
    if origin is not None:
        turnover = Turnover(target=origin, origin=left, flipped_at=flipped_at, was_used=was_used, goes_back=True)
        _settle_again(run, turnover)
    if unfinished is not None:
        raise unfinished


def collect_again(run: Run) -> None:
    """Put back the static files of what is live, where those of another release were collected ahead of its flip."""
    live = run.store.live()
    if live is not None and not is_dead(live):
        with run.recorder.step("collectstatic again") as step:
            try:
                collectstatic(run, live.venv, step)
            except (ToolError, OSError) as error:
                reason = error.message if isinstance(error, ToolError) else str(error)
                step.warns(reason)
                message = f"the static files of {live.id} could not be collected again: {reason}"
                run.note_problem(ActivationError(message, advice="Fix that; the next `releaser update` does it again."))
                with contextlib.suppress(OSError):  # the disk that is full may take no note of it either
                    note_unsettled(run, live, {"collectstatic"})


def _settle_again(run: Run, turnover: Turnover) -> None:
    for name, act in STEPS.items():
        with run.recorder.step(f"{name} again") as step:
            try:
                act(run, turnover, step)
            except (ToolError, OSError) as error:
                reason = error.message if isinstance(error, ToolError) else str(error)
                step.warns(reason)
                run.note_problem(ActivationError(f"{name} on the earlier release failed: {reason}"))
                # A disk that fails now says nothing of the earlier release.
                run.draft.sick_before |= not isinstance(error, OSError) and not isinstance(error.__cause__, OSError)


def _is_back(run: Run, entry: Entry) -> bool:
    origin = run.store.get(entry.origin)
    if origin is not None:
        return run.store.live_id() == origin.id
    return link_text(run.site.project.venv) == entry.origin_link


def restore_link(run: Run, entry: Entry) -> None:
    """Put the symlink back as it was: to the earlier release, elsewhere, or nowhere. Raises OSError.

    One that somebody has moved since stays, as the next run says.
    """
    link, staging = run.site.project.venv, run.site.project.state_dir
    origin = run.store.get(entry.origin)
    known = {one for one in (entry.origin, entry.target) if one}
    is_known = run.store.live_id() in known or link_text(link) == entry.origin_link
    if link.is_symlink() and not is_known and not is_missing_or_dangling(link):
        return
    if origin is not None:
        flip.flip(link, origin.venv, staging=staging)
    elif entry.origin_link is not None:
        replace_symlink(link, entry.origin_link, staging=staging)
    elif run.store.live_id() == entry.target:
        link.unlink(missing_ok=True)
        sync_directory(link.parent)


def keep_edited_lock(run: Run, entry: Entry) -> None:
    """Keep a uv.lock that somebody has edited, before it is replaced, and say where. Raises OSError."""
    project = run.site.project
    releases = [run.store.get(entry.origin), run.store.get(entry.target)]
    try:
        top, git = run.site.git.layout.top, run.site.git
        name = os.path.relpath(project.lock, top)
        committed = [git.data(one, name) for one in ("HEAD", entry.head_before, entry.head_after) if one]
    except ToolError:
        committed = []
    before = project.state_dir / LOCK_BEFORE
    ours = [*(one.lock for one in releases if one is not None), before]
    keep_edited(run, project.lock, [*committed, *(one.read_bytes() for one in ours if one.is_file())])
    if entry.founds:
        brought = [project.state_dir / PYPROJECT_BEFORE, *(one.pyproject for one in releases if one is not None)]
        keep_edited(run, project.pyproject, [one.read_bytes() for one in brought if one.is_file()])


def restore_checkout(run: Run, entry: Entry) -> None:
    """Take the checkout back to what it was before the flip: its commit, uv.lock, and what else came. Raises OSError.

    What somebody has committed since stays, and is reported.
    """
    keep_edited_lock(run, entry)
    stays = _is_somebodys(run, entry)
    move_back(run, entry)
    if not stays:
        restore_files(run, entry)


def restore_files(run: Run, entry: Entry) -> None:
    """Put back the uv.lock that the checkout had before the flip, and what else that flip brought."""
    project = run.site.project
    restore_lock(run)
    if entry.founds:
        _remove_unless_kept(run, project.lock, LOCK_BEFORE)
        _restore(run, project.pyproject, PYPROJECT_BEFORE)
        _remove_unless_kept(run, project.pyproject, PYPROJECT_BEFORE)


def restore_lock(run: Run) -> None:
    """Put back the uv.lock that the checkout had before the flip."""
    _restore(run, run.site.project.lock, LOCK_BEFORE)


def _restore(run: Run, path: Path, name: str) -> None:
    state_dir = run.site.project.state_dir
    try:
        before = (state_dir / name).read_bytes()
    except FileNotFoundError:
        return
    if not path.exists() or path.read_bytes() != before:
        replace_file(path, before, staging=state_dir)


def _remove_unless_kept(run: Run, path: Path, name: str) -> None:
    """Take a file away of which there was none before."""
    if path.exists() and not (run.site.project.state_dir / name).exists():
        path.unlink()
        sync_directory(path.parent)
