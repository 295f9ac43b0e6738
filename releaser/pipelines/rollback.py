"""The command `rollback`: an earlier good release goes live, with its lock and its commit."""

from __future__ import annotations

import msgspec

from releaser.checkout.move import find_obstacles
from releaser.checkout.pending import read_pending
from releaser.checkout.repository import Repository, find_dirty_files, has_live_lock, open_repository
from releaser.checkout.target import choose_target
from releaser.errors import NoSuchReleaseError, PreflightError, Problem, refuse, require
from releaser.live.change import make_live
from releaser.packages.changes import describe_changes
from releaser.packages.holds import read_holds
from releaser.packages.lock import read_lock
from releaser.packages.publishing import is_worth_commit
from releaser.pipelines.conclude import compare_releases, conclude
from releaser.pipelines.recover import Recovery
from releaser.releases.journal import Entry
from releaser.releases.release import Release
from releaser.releases.reserve import release_reserve
from releaser.releases.store import Store
from releaser.releases.verify import find_faults
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.files import make_private_directory
from releaser.system.run import Run
from releaser.system.text import join_few


def rollback(site: Site, run: Run, recovery: Recovery, name: str | None, *, keep_code: bool) -> Outcome:
    """Called by session.run_command(): the lock is held and recovery is done.

    `name` is the release to go to, None for the previous one; `keep_code` leaves the checkout as it is.
    """
    release_reserve(site.paths.reserve)
    require(site.problems)
    if name is None and recovery.went_back:
        return Outcome("no-changes", 0, recovery.sentence)
    store = Store(site.paths)
    release = choose_release(site, store, name)
    if release is store.live:
        return Outcome("no-changes", 0, f"Release {release.id} is live already.", release.id)
    repository = open_repository(site, run.id)
    entry = plan_rollback(site, run, repository, store, release, keep_code)
    if store.link.kind == "foreign" and not store.link.is_symlink:
        make_private_directory(site.paths.replaced)
        entry = msgspec.structs.replace(entry, replaces=str(site.paths.replaced / run.id))
    result = make_live(site, run, repository, entry)
    published = conclude(site, run, repository, result)
    if result.rolled_back:
        headline = f"The rollback to {release.id} failed: {result.reason} {entry.origin} is live again."
        problem = Problem("rolled-back", result.reason, result.advice or "Run `releaser status`.")
        return Outcome("rolled-back", 6, headline, entry.origin, problems=(problem,))
    if entry.replaces:
        run.note(f"The directory `{site.paths.link}` is kept as `{entry.replaces}`.")
    changes = compare_releases(store.live, release) if store.live else ()
    code = 7 if result.problem or run.problems else 0
    headline = f"Release {release.id} is live: {describe_changes(changes) or 'the same packages'}."
    commits = (published.commit,) if published.commit else ()
    return Outcome("updated", code, headline, release.id, changes=changes, commits=commits)


def choose_release(site: Site, store: Store, name: str | None) -> Release:
    """Return the release to go to. Raises NoSuchReleaseError if it does not exist, or may not go live."""
    if name is None:
        if store.live is None:
            newest = store.newest_good
            advice = f"Run `releaser rollback {newest.id}` to make that release live again, or" if newest else "Run"
            message = f"`{site.paths.link}` does not point to a release of releaser."
            raise NoSuchReleaseError(message, f"{advice} `releaser init` to adopt what is there.")
        if store.previous is None:
            raise NoSuchReleaseError("No previous release exists.", "Run `releaser list` to see all releases.")
    release = store.find(name or "previous")
    if release is store.live:
        return release
    if not release.may_return:
        state = release.state.state if release.state.left_by != "automatic" else "left by an automatic rollback"
        message = f"Release {release.id} is {state}: it does not go live by a rollback."
        raise NoSuchReleaseError(message, "Run `releaser list`.")
    if faults := find_faults(site, release):
        message = f"Release {release.id} is damaged: {join_few(faults, 2)}."
        raise NoSuchReleaseError(message, "Choose another: `releaser list`.")
    return release


def plan_rollback(
    site: Site, run: Run, repository: Repository, store: Store, release: Release, keep_code: bool
) -> Entry:
    """Return the journal's entry. Raises PreflightError if people's work would be lost."""
    head, path = repository.head(), site.paths.lockfile_in_tree
    branch, ref = site.settings.site.branch, repository.head_ref()
    if ref != f"refs/heads/{branch}":
        message = f"The checkout is on `{ref.removeprefix('refs/heads/') or 'a detached HEAD'}`, not on `{branch}`."
        raise refuse("other-branch", message, f"Run `git switch {branch}`, then run releaser again.")
    key = repository.code_key(head, *site.committed_paths)
    commit = head if keep_code or key == release.manifest.key.code else choose_commit(repository, release)
    if commit != head:
        require(find_dirty_files(site, repository))
        require(find_obstacles(repository, head, commit))
        _refuse_losing_commits(site, repository, head, commit)
    elif path in repository.changed_tracked_files() and not has_live_lock(site):
        message = f"`{site.paths.lockfile}` is changed."
        raise refuse(
            "changed-lock", message, f"Commit it, or run `git -C {site.paths.project} checkout HEAD -- uv.lock`."
        )
    commits_lock = (
        commit == head
        and key == release.manifest.key.code
        and _may_commit(site, repository)
        and is_worth_commit(repository, head, path, read_lock(release.lock), may_lower=True)
    )
    return Entry(
        phase="changing", command="rollback", run=run.id, origin=store.live.id if store.live else None,
        target=release.id, link=store.link.text, head=head, commit=commit,
        had_lock=path in repository.changed_tracked_files() and has_live_lock(site), commits_lock=commits_lock,
        moves_products=not keep_code or key == release.manifest.key.code,
    )  # fmt: skip


def choose_commit(repository: Repository, release: Release) -> str:
    """Return the commit of a release: the one with its lock if a remote has it, else the tested one.

    Raises PreflightError if the repository does not have it any more.
    """
    lived = release.state.commit
    if lived and repository.resolve(lived) and repository.is_on_a_remote(lived):
        return lived
    if not repository.resolve(release.manifest.commit):
        message = f"Commit {release.manifest.commit[:12]} of release {release.id} is not in the repository any more."
        advice = f"Run `releaser rollback {release.id} --keep-code` to leave the code as it is."
        raise refuse("no-commit", message, advice)
    return release.manifest.commit


def _refuse_losing_commits(site: Site, repository: Repository, head: str, commit: str) -> None:
    own = read_pending(site.paths).commits
    only_here = repository.read("rev-list", head, f"^{commit}", "--not", "--remotes").split()
    lost = [name for name in only_here if name not in own]
    if lost:
        message = f"The checkout has commits that are on no remote: {join_few([name[:12] for name in lost])}."
        advice = "Push them, or leave the code as it is: `releaser rollback --keep-code`."
        raise refuse("unpushed-commits", message, advice)


def _may_commit(site: Site, repository: Repository) -> bool:
    """Return True if HEAD is the head of the upstream, as last fetched, so that the older lock can be pushed."""
    try:
        target = choose_target(site, repository, read_pending(site.paths), read_holds(site.paths).code)
    except PreflightError:
        return False
    return target.publishes and target.commit == target.head


def preview_rollback(site: Site, name: str | None, *, keep_code: bool) -> Outcome:
    """Say what a rollback would do. Writes nothing."""
    require(site.problems)
    store, repository = Store(site.paths), open_repository(site)
    release = choose_release(site, store, name)
    entry = plan_rollback(site, Run("preview", "rollback"), repository, store, release, keep_code)
    changes = compare_releases(store.live, release) if store.live else ()
    words = [describe_changes(changes) or "the same packages"]
    words += [f"the checkout moves to {entry.commit[:12]}"] if entry.commit != entry.head else []
    if site.paths.journal.exists():
        words.append("first of all, an interrupted run is finished or undone")
    return Outcome("no-changes", 0, f"Would make {release.id} live: {'; '.join(words)}.", release.id, changes=changes)
