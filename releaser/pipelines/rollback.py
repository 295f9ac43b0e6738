"""The command `rollback`: an earlier good release goes live, with its lock and its commit."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from releaser.checkout.move import find_missing_room_for_move, require_free_way
from releaser.checkout.own_files import find_dirty_files, find_hidden_changes
from releaser.checkout.problems import find_other_sites
from releaser.checkout.publish import is_worth_commit
from releaser.checkout.repository import Repository, open_repository
from releaser.checkout.target import (
    choose_commit_of,
    may_commit_older,
    require_free_state,
    require_kept_commits,
    require_no_submodules,
)
from releaser.errors import LockedError, NoSuchReleaseError, ReleaserError, refuse, require
from releaser.live.change import make_entry, make_live
from releaser.live.django import explain_kept_migrations
from releaser.packages.changes import compare_releases, describe_changes
from releaser.packages.hand_made import explain_moved_link, find_link_problems
from releaser.packages.holds import find_held_code, read_holds
from releaser.packages.indexes import find_host_indexes
from releaser.packages.lock import Lock, parse_lock, read_lock
from releaser.pipelines.conclude import conclude
from releaser.pipelines.recover import Recovery
from releaser.releases.journal import QUICK_PUSH, Entry, is_interrupted, read_entry
from releaser.releases.link import read_link
from releaser.releases.release import Release
from releaser.releases.reserve import release_reserve
from releaser.releases.store import SiteRun, Store
from releaser.releases.verify import find_faults, has_its_python
from releaser.report.outcomes import Outcome, Payload, make_failed_rollback, make_unchanged, make_updated
from releaser.site.run_lock import Running, end_run
from releaser.site.site import Site
from releaser.system.files import make_private_directory
from releaser.system.run import ROLLBACK, find_command
from releaser.system.text import join_few, word

_UNDO = 60.0  # seconds for an update to undo its work
_FIRST_STEPS = ("", "fetch")  # of a run without a journal; later, it has only mails to send


def rollback(site: Site, run: SiteRun, recovery: Recovery, name: str | None, *, keep_code: bool) -> Outcome:
    """Called by session.run_command(): the lock is held, recovery is done, `run.store` is read.

    `name` is the release to go to, None for the previous one; `keep_code` leaves the checkout as it is.
    """
    release_reserve(site.paths.reserve)
    require(site.rollback_problems)
    for problem in site.problems:
        run.note(f"{problem.message} {problem.advice}")
    if name is None and recovery.has_gone_back:  # this is what was asked for
        run.problems = [problem for problem in run.problems if problem != recovery.problem]
        run.notes = [note for note in run.notes if note != recovery.sentence]
        return make_unchanged(recovery.sentence)
    if name is None and run.is_overtaken:
        message = f"Release {run.store.link.release} went live while this rollback waited. It stays live."
        raise LockedError(message, "Run `releaser rollback` again to leave it.")
    store, repository = run.store, open_repository(site, run.id)
    release = choose_release(site, run, name)
    if is_all_live(site, store, repository, release, keep_code=keep_code):
        return make_unchanged(f"Release {release.id} is live already.", release.id)
    entry = plan_rollback(site, run, repository, release, keep_code=keep_code)
    if store.link.kind == "foreign" and not store.link.is_symlink:
        make_private_directory(site.paths.replaced)
        entry = msgspec.structs.replace(entry, replaces=str(site.paths.replaced / run.id))
    result = make_live(site, run, repository, entry)
    published = conclude(site, run, repository, result)
    if result.rolled_back:
        return make_failed_rollback(release, result)
    if entry.replaces:
        run.note(f"The directory `{site.paths.link}` is kept as `{entry.replaces}`.")
    changes = compare_releases(store.live, release) if store.live else ()
    removed = repository.describe_commits(entry.commit, entry.head)
    return make_updated(release, result, published.commit, changes, removed)


def is_all_live(site: Site, store: Store, repository: Repository, release: Release, *, keep_code: bool) -> bool:
    """Return True if a rollback to a release changes nothing: it is live, by the record, and so is its code."""
    if release is not store.live or store.is_moved_by_hand:
        return False
    return keep_code or repository.code_key(repository.head(), *site.committed_paths) == release.manifest.key.code_key


def end_update(site: Site, running: Running, name: str | None, *, keep_code: bool, say: Callable[[str], None]) -> float:
    """End an update that has not changed the live release; return the seconds that it has to undo its work.

    0 if it goes on: it is of another user, or the rollback would be refused. If it comes to its flip in this moment, it
    finishes that, and a rollback without a name is refused.
    """
    entry = read_entry(site.paths)
    is_before_flip = entry.phase == "building" if entry is not None else running.step in _FIRST_STEPS
    if entry is not None and entry.phase == "changing":
        is_before_flip = read_link(site.paths).release != entry.release
    if not is_before_flip or running.pid is None or not find_command(running.command).may_be_ended:
        return 0
    try:
        preview_rollback(site, name, keep_code=keep_code)
    except (ReleaserError, OSError):
        return 0
    if not end_run(site.paths.run_lock, running.pid):
        return 0
    say(f"Ending {running.title}, which has not changed the live release; waiting for it to undo its work.")
    return _UNDO


def choose_release(site: Site, run: SiteRun, name: str | None) -> Release:
    """Return the release to go to. Raises NoSuchReleaseError if it does not exist, or may not go live."""
    store = run.store
    if name is None:
        if store.live is None:
            problem = find_link_problems(store, force=False)[0]
            raise NoSuchReleaseError(problem.message, problem.advice)
        if store.is_moved_by_hand:
            problem = explain_moved_link(store)
            raise NoSuchReleaseError(problem.message, problem.advice)
        if store.previous is None:
            raise NoSuchReleaseError("No previous release exists.", "Run `releaser list` to see all releases.")
    release = store.find(name) if name else _choose_previous(site, run)
    if release is store.live and not store.is_moved_by_hand:
        return release
    if release.state.is_lost:
        message = f"The state of release {release.id} is lost: it may have failed."
        raise NoSuchReleaseError(message, "Choose another: `releaser list`.")
    if not release.may_return:
        state = release.state.state if release.state.left_by != "automatic" else "left by an automatic rollback"
        message = f"Release {release.id} is {state}: it does not go live by a rollback."
        raise NoSuchReleaseError(message, "Run `releaser list`.")
    if faults := find_faults(site, release):
        message = f"Release {release.id} is damaged: {join_few(faults, 2)}."
        raise NoSuchReleaseError(message, "Choose another: `releaser list`.")
    return release


def _choose_previous(site: Site, run: SiteRun) -> Release:
    """Return the good release that was live last, and has its Python; a note names those that are skipped."""
    for release in run.store.earlier:
        if has_its_python(site, release):
            return release
        run.note(f"Release {release.id} was skipped: its Python, {release.manifest.key.python}, is gone.")
    raise NoSuchReleaseError("No previous release has a Python that starts.", "Run `releaser update` to build one.")


def plan_rollback(site: Site, run: SiteRun, repository: Repository, release: Release, *, keep_code: bool) -> Entry:
    """Return the journal's entry. Raises PreflightError if people's work would be lost."""
    path, branch, live = site.paths.lockfile_in_tree, site.settings.site.branch, run.store.live
    state = repository.state()
    head = state.head
    if state.branch != branch:
        message = f"The checkout is on `{state.branch or 'a detached HEAD'}`, not on `{branch}`."
        raise refuse("other-branch", message, f"Run `git switch {word(branch)}`, then run releaser again.")
    is_same_code = repository.code_key(head, *site.committed_paths) == release.manifest.key.code_key
    commit = head if keep_code or is_same_code else choose_commit_of(site, repository, release)
    require_free_state(site, repository, commit)
    entry = make_entry(site, run, repository, release, state, commit)
    if commit != head:
        require_no_submodules(repository, release, head, commit)
        require(find_other_sites(site, repository, head, repository.changed_paths(head, commit)))
        require(find_dirty_files(site, state, live))
        moved = {*repository.changed_paths(head, commit)}
        require(find_hidden_changes(site, [path for path in repository.find_hidden_changes() if path in moved]))
        if missing := find_missing_room_for_move(repository, head, commit):
            advice = f"Free that much, or leave the code as it is: `releaser rollback {release.id} --keep-code`."
            raise refuse("no-room", f"{missing} Nothing was changed.", advice)
        require_kept_commits(site, repository, head, commit)
    elif path in state.changed and not entry.had_lock:
        message = f"`{site.paths.lockfile}` is changed."
        raise refuse(
            "changed-lock", message, f"Commit it, or run `git -C {word(site.paths.project)} checkout HEAD -- uv.lock`."
        )
    commits_lock = (
        commit == head
        and is_same_code
        and may_commit_older(site, repository, head, find_held_code(read_holds(site.paths)))
        and is_worth_commit(repository, head, path, release, may_lower=True)
        and not _has_host_index(site, repository, head, release)
    )
    newer = [each for each in run.store.releases if each.age_key > release.age_key]
    left = [each for each in newer if each.state.order or each.state.left_by]
    run.notes += filter(None, [explain_kept_migrations(left)])
    entry = msgspec.structs.replace(
        entry,
        commits_lock=commits_lock,
        moves_products=not keep_code or is_same_code,
        is_way_back=True,
        may_hold=False,
        push_timeout=QUICK_PUSH,
    )
    require_free_way(site, repository, entry)
    return entry


def _has_host_index(site: Site, repository: Repository, head: str, release: Release) -> bool:
    """Return True if the lock of a release names an index of this host alone, so that it is not for others."""
    text = repository.file_at(head, site.paths.lockfile_in_tree)
    return bool(find_host_indexes(site, parse_lock(text) if text else Lock(()), read_lock(release.lock)))


def preview_rollback(site: Site, name: str | None, *, keep_code: bool) -> Outcome:
    """Say what a rollback would do. Writes nothing."""
    require(site.rollback_problems)
    repository, run = open_repository(site), SiteRun("preview", ROLLBACK)
    run.store = store = Store(site.paths)
    release = choose_release(site, run, name)
    if is_all_live(site, store, repository, release, keep_code=keep_code):
        return make_unchanged(f"Release {release.id} is live already.", release.id)
    entry = plan_rollback(site, run, repository, release, keep_code=keep_code)
    changes = compare_releases(store.live, release) if store.live else ()
    words = [describe_changes(changes) or "the same packages"]
    words += [note.rstrip(".") for note in run.notes]
    words += [f"the checkout moves to {entry.commit[:12]}"] if entry.commit != entry.head else []
    if is_interrupted(site.paths):
        words.append("first of all, an interrupted run is finished or undone")
    headline = f"Would make {release.id} live: {'; '.join(words)}."
    return Outcome("no-changes", 0, headline, release.id, Payload(changes), "heard")
