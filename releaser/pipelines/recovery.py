"""Recovery: finishes or undoes a run that was cut off, this one or an earlier one, and records how it ended.

The symlink decides: while it points to the previous release, nothing has happened yet; once it points to the new one,
that is live. Each step may be repeated, so a crash during recovery is recovered in the same way.
"""

from __future__ import annotations

import contextlib
import logging
import os
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.results import list_introduced_by, make_commit_block, mark_bad, mark_good
from releaser.capabilities import state_names
from releaser.checkout.publish import publish_lock
from releaser.checkout.staging import remove_staging_trees
from releaser.core.adoption import adopter
from releaser.core.announcing import announcer
from releaser.core.change import Change, all_steps, do_actions, down_since
from releaser.core.run import Run, begun_at, close_journal, name_run
from releaser.errors import ActivationError, Finding, IncompleteReturnError, ReleaserError, os_reason
from releaser.locks.changes import changes_between
from releaser.pipelines.repair import accept_link, repair, replace_unreadable, restore_blocks
from releaser.releases import leases
from releaser.releases.blocks import change_blocks, read_blocks
from releaser.releases.journal import Entry, journal_of
from releaser.releases.release import DOOMED, Release, is_marked, read_versions
from releaser.releases.store import store_of
from releaser.system import common
from releaser.system.files import UnreadableStateError, clear_name, put_aside
from releaser.system.frozen import replace
from releaser.system.reserve import make_room
from releaser.system.temporary import LAYERS, LIVE_COPY, NETRC, ROOMY, TEST_PACKAGES, sweep_temporary
from releaser.system.words import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from releaser.report import RunLog
    from releaser.site.project import Project
    from releaser.site.site import Site


logger = logging.getLogger(__name__)

KEPT_LOGS = 30  # one for each run


def recover(run: Run) -> None:
    """Bring the site into a state from which a run may start. Changes nothing if no run was interrupted.

    Raises ActivationError after an automatic rollback of a release that an earlier run had made live.
    """
    replace_unreadable(run.site, run.log)
    if run.killed_since is not None and run.site.git.remove_dead_locks(run.killed_since):
        run.killed_since = None  # a fetch, for example, runs before a journal exists
    try:
        entry = journal_of(run.site).read()
    except UnreadableStateError as error:
        accepted = accept_link(run.site)  # a run may have been cut off after its flip
        if accepted is not None:
            do_actions(run.site, run.log, accepted, all_steps())
        aside = put_aside(journal_of(run.site).path)
        run.log.say(f"The journal could not be read ({error.reason}); it is now {aside.name}.")
        entry = None
    if entry is not None:
        logger.info("recovering %s", entry)
        change = Change(run.site, run.log, entry)
        if entry.phase != "reporting":
            make_room(run.site.state_dir)
        change.resume()
        # This run reports what that run did not, unless its mail is in the outbox.
        is_unreported = entry.run_id != run.log.run_id and bool(entry.unreported)
        if is_unreported and not announcer().has_announced(run.site, entry.run_id):
            run.log.recovered += entry.unreported
            run.log.unreported += entry.unreported
        if entry.phase != "reporting":
            run.log.finishing = begun_at(entry.run_id) if entry.run_id != run.log.run_id else None
            if run.log.finishing is not None:
                run.site.git.remove_dead_locks(run.log.finishing.timestamp())
            outcome, run_name = _continue(change), name_run(entry.command, entry.run_id)
            run.log.unreported.append(f"{run_name} {outcome}.")  # by this run, or the next one
            run.log.recovered.append(f"{'This run' if entry.run_id == run.log.run_id else run_name} {outcome}.")
            run.log.finishing = None
    else:
        restore_blocks(run.site, run.log)
    repair(run.site, run.log)
    sweep(run.site, run.log)
    if entry is not None or run.log.unreported:
        close_journal(run.site, run.log)


def _continue(change: Change) -> str:
    """Finish or undo one change; return the sentence for the report."""
    site, log, entry = change.site, change.log, change.entry
    log.learn(release=entry.release, previous=change.flip.previous)  # until this run has results
    if entry.phase == "reverting":
        reason = change.flip.reason
        fails_before = change.roll_back()  # even if part of it is done already
        _record_rollback(change, reason, fails_before=fails_before)
        if announcer().has_announced(site, entry.run_id):  # that run could not finish or record the rollback
            return f"had begun the automatic rollback of release {entry.release} ({reason}); it is now complete"
        return f"had been partly rolled back ({reason}); the rollback is now complete"
    if entry.phase == "committing" and is_flipped(change):
        return f"had made release {entry.release} live; the remaining steps are now done{_roll_forward(change)}"
    if entry.phase == "repairing":
        return _resume_repair(site, log, entry)
    if entry.phase == "adopting":
        adopter().complete(site, log, entry)
        return "was adopting the project; this is now finished or undone"
    builds = entry.phase == "building" and (change.new is None or change.new.state in ("failed", "candidate"))
    failed = next(
        (candidate for candidate in read_blocks(site.state_dir).candidates if candidate.release == entry.release), None
    )
    undo(change)
    if failed is not None and builds:
        return f"had built {failed.release}, whose tests failed ({failed.reason}); the live release is unchanged"
    return "was interrupted before it changed the site; its files are removed"


def is_flipped(change: Change) -> bool:
    """True if the release of a change is live."""
    return change.new is not None and store_of(change.site).live_id() == change.new.id


def _resume_repair(site: Site, log: RunLog, entry: Entry) -> str:
    """Finish the repair of a dangling symlink; if it still dangles, `repair` starts again."""
    release = store_of(site).live()
    if release is None or release.id != entry.release:
        return "had begun to repair the symlink; the repair is now complete"
    accept_link(site)
    do_actions(site, log, release, all_steps())
    return (
        f"had pointed the symlink, which was missing or dangling, to {release.id} again; the remaining steps "
        f"are done now"
    )


def _roll_forward(change: Change) -> str:
    log, live_before = change.log, change.log.learned.live_changed
    with record_rollback_on_failure(change.site, log):
        change.finish()
    log.learn(live_changed=live_before)
    introduced = conclude(change)
    publish_lock(change.site, log, change.release, command=published_by(change))
    return introduced


def published_by(change: Change) -> str:
    """Return the command to name in the commit of the lock."""
    return "rollback" if change.flip.goes_back else change.entry.command


def conclude(change: Change) -> str:
    """Record that a release went live and stays; return its package changes, for the report of a later run.

    The journal stays until the follow-ups are done.
    """
    release, origin = change.release, change.previous
    if origin is not None and change.flip.goes_back and release.manifest.sequence < origin.manifest.sequence:
        _hold_left_versions(change, origin, release)
    mark_good(change.site, release)
    changes = changes_between(read_versions(origin), read_versions(release)) if origin is not None else ()
    introduced = ", ".join(
        f"{package_change.name} {package_change.old or 'none'} → {package_change.new or 'none'}"
        for package_change in changes
    )
    return f": {introduced}" if introduced else ""


def _hold_left_versions(change: Change, left: Release, target: Release) -> None:
    """Put the versions that a rollback left on hold, and the commit too if the code went back.

    After the rollback of a channel nothing is on hold, as the channel decides about the next release.
    """
    site, reason, commit = change.site, f"rolled back to {target.id}", None
    if not change.flip.holds_left:
        mark_bad(site, left, reason, versions=None, commit=None)
        return
    if (code := change.code_replaced) is not None:
        key = site.code_key(code)
        if key and key != target.manifest.code_key:
            tested = left.manifest.commit if left.manifest.code_key == key else None
            commit = make_commit_block(site, tested or code, key, f"was rolled back by hand, to {target.id}")
    mark_bad(site, left, reason, versions=list_introduced_by(left, target), commit=commit)


@contextlib.contextmanager
def record_rollback_on_failure(site: Site, log: RunLog) -> Iterator[None]:
    """Record the automatic rollback of a release, if the activation inside raises ActivationError."""
    try:
        yield
    except IncompleteReturnError:
        raise  # the journal stays, so that the next run goes on
    except ActivationError as error:
        entry = journal_of(site).read()
        if entry is not None:
            try:
                _record_rollback(Change(site, log, entry), error.message, fails_before=error.fails_before)
                close_journal(site, log, f"had been rolled back: {error.message}")
            except OSError as failure:  # the rollback itself is done
                message = f"the state of the release could not be recorded: {failure}"
                log.note(
                    Finding("state-not-recorded", message=message, advice="Check free space. The next run tries again.")
                )
        raise


def _record_rollback(change: Change, reason: str, *, fails_before: bool) -> None:
    """Withdraw a release after an automatic rollback, and put its versions or its commit on hold.

    The target of a failed rollback was good before, and stays so. If the previous release fails too, only the candidate
    is blocked.
    """
    site, target, origin = change.site, change.new, change.previous
    if target is not None and not change.flip.goes_back:
        manifest = target.manifest
        is_new = origin is not None and bool(manifest.code_key) and origin.manifest.code_key != manifest.code_key
        commit = None
        if is_new and change.code_replaced and manifest.commit and not fails_before:
            commit = make_commit_block(site, manifest.commit, manifest.code_key, f"was rolled back: {reason}")
            commit = replace(commit, is_suspect=bool(list_introduced_by(target)))
        versions = {} if commit is not None or fails_before else list_introduced_by(target)
        introduced = None if change.flip.not_the_release else versions
        mark_bad(site, target, reason, versions=introduced, commit=commit)
        if versions and not change.flip.not_the_release:
            # Release the suspect commits: the packages that came with them fail by themselves.
            change_blocks(site.state_dir, lambda blocks: blocks.without(lambda block: block.is_suspect))


def undo(change: Change) -> None:
    """Undo the work of a run before its flip: staging trees, preparations of the actions, and the candidate."""
    site, log, entry = change.site, change.log, change.entry
    remove_staging_trees(site, log)
    change.undo()
    target = store_of(site).get(entry.release)
    known = target.lifecycle if target is not None else None
    is_kept = known is not None and (known.waits or known.reserved)
    if target is not None and target.state == "candidate" and not is_kept:
        from releaser.releases.retention import remove_unless_used

        remove_unless_used(site, log, target.id)
    sweep(site, log)


@contextlib.contextmanager
def undo_on_failure(site: Site, log: RunLog) -> Iterator[None]:
    """Undo the work of the run if it fails before the flip."""
    try:
        yield
    except (ReleaserError, OSError) as error:
        undo_unfinished(site, log, error)
        raise


def undo_unfinished(site: Site, log: RunLog, error: Exception | None = None) -> None:
    """Undo the change in the journal of this run, if it is not live; `error` is the reason for the next report."""
    entry = journal_of(site).read()
    if entry is None or entry.phase not in ("pulling", "building", "committing"):
        return
    change = Change(site, log, entry)
    if entry.phase != "committing" or not is_flipped(change):
        undo(change)
        close_journal(site, log, f"had ended without a change: {error}" if error else "")


@contextlib.contextmanager
def restart_service_on_failure(run: Run, by: type[BaseException] = Exception) -> Iterator[None]:
    """Start a service that a change has stopped, if the block ends with an error of type `by` before that."""
    try:
        yield
    except by:
        with contextlib.suppress(UnreadableStateError):
            entry = journal_of(run.site).read()
            if entry is not None and down_since(entry) is not None:
                Change(run.site, run.log, entry).end_outage()
        raise


def sweep(site: Site, log: RunLog) -> None:
    """Delete leftovers: half-deleted releases, releases without a manifest, staging trees, temporary files, old logs.

    A step names them.
    """
    deleted: list[str] = []
    try:
        deleted += remove_staging_trees(site, log)
    except OSError as error:
        message = f"the staging tree of an earlier run could not be removed: {os_reason(error)}"
        log.note(Finding("staging-left", message=message, advice="Delete it yourself, as the owner of its files."))
    store = store_of(site)
    try:
        free = [name for name in store.half_removed() if not leases.is_used(str(store.path(f"{DOOMED}{name}")))]
        failed = store.finish_removal(*free) if free else {}
        _note_undeleted(log, failed)
        deleted += [name for name in free if name not in failed]
    except OSError as error:
        message = f"the deletion of releases cannot be recorded: {error}"
        log.note(
            Finding("deletion-not-recorded", message=message, advice="Check free space. The next run tries again.")
        )
    for place in store.incomplete():
        from releaser.releases.retention import remove_unsealed

        try:
            remove_unsealed(site, log, place)
        except OSError as error:
            _note_undeleted(log, {place.name: error})
        deleted += [] if os.path.lexists(place) else [place.name]
    for temporary in find_left_temporaries(site):
        with contextlib.suppress(OSError):
            is_own = is_marked(temporary) or temporary.is_symlink() or not temporary.is_dir()  # else it is put aside
            clear_name(temporary, of_directory=is_marked(temporary))
            deleted += [temporary.name] if is_own else []
    with contextlib.suppress(OSError):
        deleted += sweep_temporary(site.state_dir / LAYERS)
        site.git.forget_shadow(site.project.shadow)
    common.ask_once(_sweep_shared, "left temporary directories")
    old = _delete_old_logs(site.project)
    if deleted or old:
        with log.step("clean up") as step:
            left = f"leftovers of an earlier run: {', '.join(deleted)}" if deleted else ""
            logs = f"{plural(old, 'log')}, because only the newest {KEPT_LOGS} are kept" if old else ""
            step.says(f"deleted {'; '.join(filter(None, (left, logs)))}")


def _sweep_shared() -> str:
    """Delete leftovers outside of the site: perhaps those of another site, so that only the log names them."""
    for place in (None, ROOMY):
        with contextlib.suppress(OSError):
            sweep_temporary(place)
    return ""


def find_left_temporaries(site: Site) -> list[Path]:
    """Return the temporary files of runs that were cut off in the state directory, whose names end with `.new`.

    A directory of tests or a copy needs the mark of releaser, or is a link to a release. Another link or file needs the
    name of a state file, or of a file that exists.
    """
    return [path for path in site.state_dir.glob(".*.new") if _is_left(site, path)]


def _is_left(site: Site, temporary: Path) -> bool:
    if temporary.name == LIVE_COPY or temporary.name.startswith(TEST_PACKAGES[1]):
        if not temporary.is_symlink():
            return is_marked(temporary)
        target = os.path.realpath(site.project.venv.parent / os.readlink(temporary))
        return target.startswith(f"{os.path.realpath(site.project.releases)}/")
    if temporary.name.startswith(NETRC[1]):
        return True
    target = temporary.name[1 : -len(".new")]
    places = (site.state_dir, site.project.root, site.project.outer)  # where releaser writes in this way
    return target in state_names() or any(os.path.lexists(place / target) for place in places)


def _delete_old_logs(project: Project) -> int:
    """Delete all logs but the newest `KEPT_LOGS` and those of the runs that made releases; return how many went.

    A run that made a release began before the release, and wrote to its log after that. The history, which says it for
    certain, takes long to read after a year of nights.
    """
    logs = [path for path in project.logs.glob("*.log") if begun_at(path.stem)]  # a person's own files stay
    old = sorted(logs, key=lambda log: log.name, reverse=True)[KEPT_LOGS:]
    with contextlib.suppress(OSError):
        names = os.listdir(project.releases) if old and project.releases.exists() else []
        made = [begun for name in names if (begun := begun_at(name))]
        old = [log for log in old if not any(map(partial(_is_in, log), made))]
        for old_log in old:
            old_log.unlink(missing_ok=True)
    return len(old)


def _is_in(log: Path, moment: datetime) -> bool:
    """True if a run may have been running at a moment, by the name of its log and the last change of it."""
    began = begun_at(log.stem)
    return began is not None and began <= moment <= datetime.fromtimestamp(log.lstat().st_mtime, UTC)


def _note_undeleted(log: RunLog, failures: Mapping[str, OSError]) -> None:
    for name, error in failures.items():
        log.undeletable(name, os_reason(error))
