"""Finishing or undoing what an earlier run left half-way, and undoing what this one could not finish.

The symlink decides: while it says `origin`, nothing has happened yet; once it says `target`, the release is live. Doing
any of this twice changes nothing the second time, so a crash in here is one more case of the same.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, clear_name
from releaser.errors import ActivationError, IncompleteReturnError, ReleaserError, os_reason
from releaser.locking.diff import LockDiff
from releaser.releases import leases
from releaser.releases.store import DOOMED
from releaser.report.outbox import Outbox
from releaser.report.outcome import Problem
from releaser.run import begun_at, named
from releaser.steps import activate
from releaser.steps.adopt import complete_adoption
from releaser.steps.mend import (
    accept_link,
    mend_link,
    mend_quarantine,
    mend_records,
    mend_store,
    remove_unless_used,
    remove_unsealed,
    settle_on,
)
from releaser.steps.migrations import tell_migrations_of
from releaser.steps.move import move_back
from releaser.steps.publish import publish_lock
from releaser.steps.resolve import code_key_of, lock_of
from releaser.steps.staging import remove_staging_trees
from releaser.steps.verdict import brought_by, mark_bad, mark_good, reject_commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.run import Run

log = logging.getLogger(__name__)


def recover(run: Run) -> None:
    """Bring the site into a state that a run may start from. Changes nothing where nothing was left.

    Raises ActivationError when a release that an earlier run had flipped to had to be taken back.
    """
    mend_records(run)
    if run.killed_since is not None and run.site.git.remove_dead_locks(run.killed_since):
        run.killed_since = None  # a fetch, say, comes before there is a journal
    try:
        entry = run.journal.read()
    except UnreadableStateError as error:
        accepted = accept_link(run)  # a run may have been cut off behind its flip
        if accepted is not None:
            settle_on(run, accepted)
        aside = run.journal.put_aside()
        run.draft.noted.append(f"The journal could not be read ({error.reason}); it is kept as {aside.name}.")
        entry = None
    if entry is not None:
        log.info("recovering %s", entry)
        _hear(run, entry)
        if entry.phase != "telling":
            run.draft.cut_off_since = begun_at(entry.run_id) if entry.run_id != run.run_id else None
            if run.draft.cut_off_since is not None:
                run.site.git.remove_dead_locks(run.draft.cut_off_since.timestamp())
            if entry.phase in ("committing", "reverting"):
                activate.keep_edited_lock(run, entry)
            _note(run, entry, _continue(run, entry))
            run.draft.cut_off_since = None
    else:
        mend_quarantine(run)
    mend_link(run)
    mend_store(run)
    sweep(run)
    if entry is not None or run.draft.untold:
        run.close()


def _hear(run: Run, entry: Entry) -> None:
    """Take over what an earlier run has not told; if its mail is in the outbox, it has."""
    if entry.run_id != run.run_id and entry.untold and not Outbox(run.site.project.outbox).tells_of(entry.run_id):
        run.draft.recovered += entry.untold
        run.draft.untold += entry.untold


def _note(run: Run, entry: Entry, said: str) -> None:
    """Note what became of a change, for this run to tell, or for the next one."""
    who = named(entry.command, entry.run_id)
    run.draft.untold.append(f"{who} {said}.")
    run.draft.recovered.append(f"{'This run' if entry.run_id == run.run_id else who} {said}.")


def _continue(run: Run, entry: Entry) -> str:
    """Carry one change through to its end or its beginning; return what there is to say of it."""
    live = run.store.live_id()
    run.draft.release, run.draft.previous = entry.target, entry.origin  # until the run has something of its own to tell
    if entry.phase == "reverting":
        revert(run, entry)
        if Outbox(run.site.project.outbox).tells_of(entry.run_id):  # it could not finish, or not record it
            return f"had begun to take back release {entry.target} ({entry.reason}); that is finished now"
        return f"had been taken back half-way ({entry.reason}); that is finished now"
    if entry.phase == "committing" and live == entry.target and run.store.get(live) is not None:
        _roll_forward(run, entry)
        return f"had made release {entry.target} live; the rest is done now{changes_since(run, entry)}"
    if entry.phase == "mending":
        return _mended(run, entry)
    if entry.phase == "adopting":
        complete_adoption(run, entry)
        return "was adopting the project; that is finished or undone now"
    made = run.store.get(entry.target)
    builds = entry.phase == "building" and entry.command != "rollback"  # which only collects static files then
    if builds and made is not None and made.manifest.replaces and made.state == "good":
        sweep(run)
        return f"had rebuilt {made.manifest.replaces} as {made.id}; live is what it was"
    failed = next((one for one in run.quarantine().candidates if one.release == entry.target), None)
    undo(run, entry)
    if failed is not None and builds:
        what = "whose tests failed" if not failed.migrations else "which waits"
        return f"had built {failed.release}, {what} ({failed.reason}); live is what it was"
    return "was interrupted before it changed anything for the site; what it left is removed"


def _mended(run: Run, entry: Entry) -> str:
    """Go on where a dangling symlink was repaired; while it still dangles, it is repaired again."""
    release = run.store.live()
    if release is None or release.id != entry.target:
        return "had begun to repair the symlink, which is done now"
    accept_link(run)
    settle_on(run, release)
    return f"had pointed the symlink, which was missing or dangling, to {release.id} again; the rest is done now"


def changes_since(run: Run, entry: Entry) -> str:
    """Say what a finished change brought, as the run that made it can no longer tell."""
    changes = LockDiff.between(lock_of(run.store.get(entry.origin)), lock_of(run.store.get(entry.target)))
    if entry.origin is None or not changes:
        return ""
    return ": " + ", ".join(f"{one.name} {one.old or 'none'} → {one.new or 'none'}" for one in changes)


def _roll_forward(run: Run, entry: Entry) -> None:
    release = run.store.get(entry.target)
    assert release is not None  # noqa: S101 - the caller looked
    live_before = run.draft.live_changed
    with taken_back_on_failure(run):
        activate.finish(run, entry, release)
    run.draft.live_changed = live_before
    conclude(run, entry)
    if entry.command != "rollback":
        tell_migrations_of(run, release)
    publish_lock(run, release, command=entry.command)


def conclude(run: Run, entry: Entry) -> None:
    """Record a change that went well to its end; the journal stays until the follow-ups are through."""
    release = run.store.get(entry.target)
    if release is not None:
        origin = run.store.get(entry.origin)
        if origin is not None and entry.command == "rollback" and _went_back(run, entry):
            _mark_left(run, entry, origin, release)
        mark_good(run, release)


def _mark_left(run: Run, entry: Entry, left: Release, target: Release) -> None:
    """Keep out what a rollback left: the versions that came after its target, and the commit if the code went back."""
    reason, commit = f"rolled back to {target.id}", None
    before, after = entry.head_before, entry.head_after
    if before is not None and before != after:
        key = code_key_of(run, before)
        if key and key != target.manifest.code_key:
            tested = left.manifest.commit if left.manifest.code_key == key else None
            commit = reject_commit(run, tested or before, key, f"was rolled back from, to {target.id}")
    mark_bad(run, left, reason, versions=brought_by(left, target), commit=commit)


def _went_back(run: Run, entry: Entry) -> bool:
    origin, target = run.store.get(entry.origin), run.store.get(entry.target)
    return origin is not None and target is not None and target.manifest.sequence < origin.manifest.sequence


@contextlib.contextmanager
def taken_back_on_failure(run: Run) -> Iterator[None]:
    """Record that a release was backed out, when the activation inside raises ActivationError."""
    try:
        yield
    except IncompleteReturnError:
        raise  # the journal stays, so that the next run goes on
    except ActivationError as error:
        entry = run.journal.read()
        if entry is not None:
            with _full_disk_reported(run):
                _record_backed_out(run, entry, error.message)
                run.close(f"had been taken back: {error.message}")
        raise


@contextlib.contextmanager
def _full_disk_reported(run: Run) -> Iterator[None]:
    """Report that a decision could not be recorded; what has been done stands all the same."""
    try:
        yield
    except OSError as error:
        message = f"what became of the release could not be recorded: {error}"
        run.draft.problems.append(Problem(message=message, advice="Check free space; the next run looks again."))


def revert(run: Run, entry: Entry) -> None:
    """Go back to the release before a flip, also when part of that is done already, and quarantine the other."""
    activate.take_back(run, entry)
    _record_backed_out(run, entry, entry.reason)


def _record_backed_out(run: Run, entry: Entry, reason: str) -> None:
    """A rollback that did not work out says nothing about the release it was to go to: that one was good before."""
    target, origin = run.store.get(entry.target), run.store.get(entry.origin)
    if target is not None and entry.command != "rollback":
        manifest = target.manifest
        is_sick = run.draft.sick_before  # what fails with what was there before says nothing against what is new
        is_new = origin is not None and bool(manifest.code_key) and origin.manifest.code_key != manifest.code_key
        commit = None
        if is_new and entry.head_before != entry.head_after and manifest.commit and not is_sick:
            commit = reject_commit(run, manifest.commit, manifest.code_key, f"was taken back: {reason}")
            commit = replace(commit, is_suspect=bool(brought_by(target)))
        versions = {} if commit is not None or is_sick else brought_by(target)
        mark_bad(run, target, reason, versions=versions, commit=commit, blameless=entry.blameless)
        if versions and not entry.blameless:
            run.change_quarantine(lambda quarantine: quarantine.without_suspects())


def undo(run: Run, entry: Entry) -> None:
    """Take back what a run did before its flip: the candidate, and the move of the checkout."""
    remove_staging_trees(run.site)
    if entry.phase == "committing":  # going back may have been cut short before it came to the checkout
        activate.restore_checkout(run, entry)
    elif entry.phase == "pulling":
        move_back(run, entry)
    if entry.collected:
        activate.collect_again(run)
    target = run.store.get(entry.target)
    if entry.command != "rollback" and target is not None and target.state == "candidate":
        remove_unless_used(run, target.id)
    sweep(run)


@contextlib.contextmanager
def undone_on_failure(run: Run) -> Iterator[None]:
    """Undo what the run began, when it fails before the flip."""
    try:
        yield
    except (ReleaserError, OSError) as error:
        undo_unfinished(run, error)
        raise


def undo_unfinished(run: Run, error: Exception | None = None) -> None:
    """Undo what this very run has in its journal, if anything; `error` is why, and is to be told."""
    entry = run.journal.read()
    if entry is None or entry.phase not in ("pulling", "building", "committing"):
        return
    if entry.phase != "committing" or run.store.live_id() != entry.target:
        undo(run, entry)
        run.close(f"had ended without a change: {error}" if error else "")


def sweep(run: Run) -> None:
    """Delete what no run will ever finish: half-deleted releases, ones without a manifest, staging trees."""
    _sweep_staging(run)
    store = run.store
    try:
        free = [name for name in store.half_removed() if not leases.is_used(str(store.path(f"{DOOMED}{name}")))]
        _note_undeleted(run, store.finish_removal(*free))
    except OSError as error:
        message = f"that releases are deleted cannot be recorded: {error}"
        run.draft.problems.append(Problem(message=message, advice="Check free space; the next run looks again."))
    for place in store.incomplete():
        try:
            remove_unsealed(run, place)
        except OSError as error:
            _note_undeleted(run, {place.name: error})
    for temporary in run.site.project.state_dir.glob(".*.new"):  # links and state files that were not renamed in
        with contextlib.suppress(OSError):
            clear_name(temporary)


def _sweep_staging(run: Run) -> None:
    try:
        remove_staging_trees(run.site)
    except OSError as error:
        message = f"the staging tree of an earlier run could not be removed: {os_reason(error)}"
        run.draft.problems.append(Problem(message=message, advice="Delete it by hand, as its owner."))


def _note_undeleted(run: Run, failures: Mapping[str, OSError]) -> None:
    for name, error in failures.items():
        run.note_undeleted(name, os_reason(error))
