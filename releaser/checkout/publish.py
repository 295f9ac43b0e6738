"""Exports, commits and pushes the lock of the live release, and recognizes releaser's own commits."""

from __future__ import annotations

import contextlib
import itertools
import os
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.files import export_lock
from releaser.core.follow_up import attempt, note_due, read_pending
from releaser.errors import Finding, FollowUpError, RefusedPushError, ToolError, os_reason
from releaser.locks.differences import find_differences
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.rules import Packages, Policy, Rules
from releaser.releases.blocks import read_blocks
from releaser.releases.journal import note, read_notes
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.resolution.rules import read_limits
from releaser.resolution.version_settings import VersionSettings
from releaser.site.export_settings import ExportSettings
from releaser.system.files import is_same_text, read_file, read_if_there, replace_file
from releaser.system.frozen import replace
from releaser.system.words import first_few

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.locks.differences import LockDifference
    from releaser.releases.release import Release
    from releaser.report import RunLog, RunReport, Step
    from releaser.site.project import Project
    from releaser.site.site import Site
    from releaser.tools.git_state import Commit


_AGAIN = "The next run tries again."


SEEN = "seen"  # the reference to the last accepted remote head
_MOST_UNPUSHED = 10  # commits that a report names
_LOOKED_AT = 3  # newest unrecorded commits that may be releaser's own
_MOST = 1000  # commits that may wait to be pushed
_TRIES = 4  # another host may push between a fetch and a push


def own_commits(site: Site, commits: Iterable[Commit]) -> frozenset[str]:
    """Return releaser's own commits that may not be pushed yet: recorded ones, and the newest of `commits`.

    `commits` are newest first. The newest may not be recorded, if the run that made them was killed or the disk was
    full. Raises ToolError.
    """
    noted = frozenset(read_pending(site.state_dir).commits)
    unknown = (commit.id for commit in commits if commit.id not in noted)
    return noted.union(itertools.takewhile(partial(_is_own, site), itertools.islice(unknown, _LOOKED_AT)))


def _is_own(site: Site, commit: str) -> bool:
    """True if releaser made a commit: by its message, its files, and its lock, which is that of a release.

    Commits that the remote branch already had do not count.
    """
    git, seen = site.git, site.git.reference(SEEN)
    if seen is not None and git.is_ancestor(commit, seen):
        return False
    message = git.message(commit).strip()
    commands = ("update", "init", "rollback", "rebuild")
    releases = [
        release
        for release in store_of(site).all()
        if message in (commit_message(command, release).strip() for command in commands)
    ]
    if not releases or not git.has_commit(f"{commit}^"):  # a person made the first commit of a project
        return False
    changed, own = git.changed_since_parting(commit, f"{commit}^"), {*site.own_files()}
    data = git.data(commit, os.path.relpath(site.project.lock, git.layout.top))
    return changed <= own and any(is_same_text(read_if_there(release.lock), data) for release in releases)


def commit_message(command: str, release: Release) -> str:
    """Return the message of the commit that goes with a release that `command` made live."""
    changes = release.manifest.changes if command in ("update", "rebuild") else ()
    if command == "rollback":
        return f"Roll back to release {release.id}"
    if not changes:
        return f"Lock as in release {release.id}"
    title = f"Update {len(changes)} {'package' if len(changes) == 1 else 'packages'}"
    lines = [f"{change.name}: {change.old or 'none'} -> {change.new or 'none'}" for change in changes]
    return "\n".join([title, "", *lines])


def list_unpushed(site: Site) -> list[str]:
    """List releaser's own commits that may have to be pushed, also unrecorded ones, oldest first."""
    git, seen = site.git, site.git.reference(SEEN)
    if seen is None:
        here = git.newest("HEAD", _LOOKED_AT)
        noted = read_pending(site.state_dir).commits
        known = [*noted, *sorted(own_commits(site, here).difference(noted))]
    else:
        here = git.commits(seen, "HEAD")
        own = own_commits(site, here)
        known = [commit.id for commit in reversed(here) if commit.id in own]
    return known[-_MOST:]


def publish_lock(  # noqa: PLR0913 - the options of commit and push
    site: Site, log: RunLog, release: Release, *, command: str, pushes: bool = True, may_move: bool = True
) -> str | None:
    """Export, commit and push the lock of the live release, if the checkout allows a commit; failures are reported.

    `command` made the release live; without `pushes` the push stays due. `may_move` as for `push_what_is_due`. Returns
    the commit, or None. If the source of the lock does not publish it, only `init` commits. A rollback from a bundle
    is committed, but never pushed: the host that created the bundle publishes the lock.
    """
    if not site.project.has_git:
        _export_without_git(site, log, release)
        return None
    if not site.supply.publishes and command != "init":
        note_due(site, commit=False, push=False)
        return None
    rollback = {"left": store_of(site).snapshot().live_before_flip or ""} if command == "rollback" else {}
    note_due(site, commit=True, **rollback)
    if not _may_commit(site, log) or not _is_ours(site, log, release) or _differs(site, log, release):
        return None
    if ExportSettings.of(site).requirements_export:
        attempt(log, "export", lambda step: export_lock(site, step))
    # A rollback whose commit could not be pushed is committed again on top of the remote head.
    had_left = bool(read_pending(site.state_dir).left)
    goes_back = command == "rollback" or (had_left and bool(_find_differences(site, release, left="")))
    commit_id: str | None = None

    def commit(step: Step) -> None:
        nonlocal commit_id
        commit_id = _commit(site, step, release, commit_message("rollback" if goes_back else command, release))

    is_committed = attempt(log, "commit", commit)
    if command == "rollback" and _left_bundle(site):
        note_due(site, push=False, left="")
    elif is_committed and pushes:
        push_what_is_due(site, log, may_move=may_move)
        if not site.pushes:
            note_due(site, left="")  # no push will come
    return commit_id


def _export_without_git(site: Site, log: RunLog, release: Release) -> None:
    if not site.project.uses_git:
        note_due(site, commit=False, push=False)  # due since the project was under git
    is_ours = is_same_text(read_if_there(site.project.lock), read_file(release.lock))
    if ExportSettings.of(site).requirements_export and is_ours:
        attempt(log, "export", lambda step: export_lock(site, step))


def _left_bundle(site: Site) -> bool:
    """True if the rollback left the release of a bundle."""
    left = store_of(site).get(store_of(site).snapshot().live_before_flip)
    return left is not None and bool(left.provenance.release)


def restore_lock(site: Site, log: RunLog, live: Release) -> None:
    """Put the lock of the live release into the checkout, and publish it. Failures are reported. Raises OSError."""
    if not is_same_text(read_if_there(site.project.lock), data := read_file(live.lock)):
        replace_file(site.project.lock, data, staging=site.state_dir)
    publish_lock(site, log, live, command=log.command)


def push_what_is_due(site: Site, log: RunLog, *, may_move: bool = True) -> None:
    """Push releaser's own commits, if pushing is on. A failure is reported.

    If other sites have pushed meanwhile, the newest commit is repeated on top of the remote head. With `may_move`, the
    branch follows if no file differs; otherwise, the next run moves the checkout.
    """
    if site.pushes and site.supply.publishes:
        attempt(log, "push", lambda step: _push(site, log, step, may_move=may_move))


def _may_commit(site: Site, log: RunLog) -> bool:
    """True if no rebase or merge is in progress, and the right branch is checked out; else report a failure."""
    wanted, git = site.branch, site.git
    try:
        waiting, branch = git.layout.in_progress(), git.branch()
    except ToolError as error:
        message, advice = f"uv.lock is not committed: {error.message}", error.advice or _AGAIN
        log.note_failure(FollowUpError(message, advice, output=error.output))
        return False
    if waiting is None and branch == wanted:
        return True
    obstacle = f"{waiting} is in progress" if waiting else f"branch {branch or '(none)'} is checked out"
    advice = f"The next update commits it. To do it now, commit uv.lock on {wanted} yourself."
    log.note_failure(FollowUpError(f"uv.lock is not committed: {obstacle}", advice))
    return False


def _is_ours(site: Site, log: RunLog, release: Release) -> bool:
    """True if uv.lock of the checkout equals the lock of the release; else report that a person changed it."""
    lock = site.project.lock
    try:
        if is_same_text(read_file(lock), read_file(release.lock)):
            return True
        reason = "it was changed after the release went live"
    except OSError as error:
        reason = os_reason(error)
    advice = (
        "If the change is intended, commit it; otherwise run `git checkout uv.lock`. The next update uses "
        "the file as it is."
    )
    log.note_failure(FollowUpError(f"{lock.name} is not committed: {reason}", advice))
    note_due(site, commit=False)
    return False


def _differs(site: Site, log: RunLog, release: Release, *, commit: str = "HEAD") -> bool:
    """True if the lock of the live release is not committed, because it would lower versions in that of `commit`.

    The lock in git is for all hosts and developers: holds of this host never lower it. The difference is reported with
    each release that goes live, and when it changes.
    """
    found = _find_differences(site, release, left=read_pending(site.state_dir).left, commit=commit)
    known = read_notes(site.state_dir).lock_differences
    if found and (found != known or log.learned.live_changed):
        names = " ".join(difference.name for difference in found if difference.is_held or not difference.is_kept)
        pins = " ".join(
            f"--upgrade-package {difference.name}=={difference.live}"
            for difference in found
            if difference.is_kept and not difference.is_held and ", " not in difference.live
        )
        message = f"uv.lock is not committed: {first_few(map(str, found))}"
        advice = "This host keeps the live versions."
        advice += f" To follow the committed lock again, run `releaser unhold {names}`." if names else ""
        if pins:
            advice += f" To commit these versions, run `uv lock {pins}` on your own machine, and push uv.lock."
        log.note(Finding("lock-not-committed", message=message, advice=advice))
    note(site.state_dir, lock_differences=found)
    if found:
        note_due(site, commit=False, left="")
    return bool(found)


def _find_differences(site: Site, release: Release, *, left: str, commit: str = "HEAD") -> tuple[LockDifference, ...]:
    git, store = site.git, store_of(site)
    if site.supply.made_elsewhere:  # a person chose this lock, even if it is older
        return ()
    try:
        data = git.data(commit, os.path.relpath(site.project.lock, git.layout.top))
        committed = LockFile.parse(data or b"")
    except (ToolError, InvalidLockError):
        return ()
    if data == read_file(release.lock):
        return ()
    origin = store.get(left)
    limited, constraints = set[str](), VersionSettings.of(site).constraints
    if constraints and site.pyproject.table("tool", "releaser").get("constraints") == constraints:  # of all hosts
        policy = Policy(limits=read_limits(site))
        limits = Rules(packages=Packages(locked=committed.versions), policy=policy)
        limited = {name for name, version in committed.versions.items() if limits.beyond(name, version)}
    return find_differences(
        committed,
        lock_of(release),
        read_blocks(site.state_dir).own,
        limited=limited,
        left=lock_of(origin).versions if origin is not None else None,
    )


def _commit(site: Site, step: Step, release: Release, message: str) -> str | None:
    """Commit uv.lock, a pyproject.toml that came with it, and the export unless git ignores it.

    Returns the commit; None if nothing differs from HEAD. Raises ToolError.
    """
    export, git = ExportSettings.of(site).requirements_export, site.git
    due = read_pending(site.state_dir)
    lock = os.path.relpath(site.project.lock, site.project.root)
    paths = [
        *(change.name for change in _list_first_pyproject(site.project, release)),
        lock,
        *([export] if export and not git.ignores(export) else []),
    ]
    # Recorded before the commit: after a crash in between, the commit would never be pushed.
    note_due(site, push=site.pushes or due.push)
    known = list_unpushed(site)  # before the commit, below which unrecorded ones would not be found
    if not git.commit_only(paths, message):
        note_due(site, push=due.push, commit=False)
        step.skip("already committed")
        return None
    commit = git.commit("HEAD")
    note_due(site, commits=(*known, commit), commit=False)
    step.says(" and ".join(paths))
    return commit


def _push(site: Site, log: RunLog, step: Step, *, may_move: bool) -> None:
    if not read_pending(site.state_dir).push:
        step.skip("nothing to push")
        return
    remote = site.git.remote(site.branch)
    if remote is None:
        note_due(site, left="")
        step.skip("no remote")
        return
    from releaser.system.host_lock import one_at_a_time  # only with commits

    with one_at_a_time(site.git.push_address(remote), site.runner.environ, wait=site.settings.git_timeout):
        if _push_at_once(site, step, remote):
            return
        for tries_left in reversed(range(_TRIES)):
            try:
                _fetch_and_push(site, log, step, remote, may_move=may_move)
                break
            except _OvertakenError:
                if not tries_left:
                    raise


def _push_at_once(site: Site, step: Step, remote: str) -> bool:
    """Push without a fetch, if the remote head is still the last accepted one and only commits of releaser wait.

    False if a fetch must decide: a mirror that is behind would be refused each time. Raises ToolError.
    """
    if site.git.has_mirrors(remote):
        return False
    here, seen = site.git.commit(f"refs/heads/{site.branch}"), site.git.reference(SEEN)
    waiting, behind = site.git.list_diverged(here, seen) if seen is not None else ((), ())
    if seen is None or behind or not waiting or not own_commits(site, waiting).issuperset(one.id for one in waiting):
        return False
    try:
        site.git.push_over(remote, site.branch, here, seen)
    except RefusedPushError:
        return False
    site.git.set_reference(SEEN, here)
    note_due(site, commits=(), push=False, left="")
    step.says(f"to {remote}")
    return True


def _fetch_and_push(site: Site, log: RunLog, step: Step, remote: str, *, may_move: bool) -> None:
    """Push once. Raises _OvertakenError if another host pushes at the same time, and ToolError."""
    branch = site.branch
    here, remote_head = site.git.commit(f"refs/heads/{branch}"), site.git.fetch(remote, branch)
    waiting, behind = site.git.list_diverged(here, remote_head)
    if behind and read_blocks(site.state_dir).commit(site.code_key(remote_head)) is not None:
        note_due(site, push=False)  # the commits are dropped once the remote has a newer commit
        step.skip(f"{remote} is ahead, with a commit that is on hold here")
        return
    own = own_commits(site, waiting)
    ready = [commit.id for commit in itertools.takewhile(lambda commit: commit.id in own, reversed(waiting))]
    others = [commit for commit in waiting if commit.id not in own]
    goes_on_top = bool(behind and ready) and not others and _fits_on_top(site, here, remote_head)
    if goes_on_top and _is_overtaken(site, log, remote_head):
        note_due(site, push=False)  # the next run moves to the remote head
        step.skip(f"{remote} has a newer uv.lock")
        return
    if ready:
        head = site.git.put_on_top(ready[-1], remote_head, site.own_files()) if goes_on_top else ready[-1]
        if head != remote_head:
            _push_commit(site, remote, head, again=goes_on_top or not behind)
        site.git.set_reference(SEEN, head)
        note_due(site, commits=tuple(commit.id for commit in reversed(waiting) if commit.id in own.difference(ready)))
        if head != ready[-1] and may_move:
            site.git.take_over(branch, here, head)
        step.says(f"to {remote}" if head != remote_head else f"{remote} has the same uv.lock")
    if others:
        count = "1 of your commits is" if len(others) == 1 else f"{len(others)} of your commits are"
        message = (
            f"{count} not pushed ({others[0].id[:12]} {others[0].subject}), so releaser does not push uv.lock either"
        )
        raise ToolError(message, f"Push your commits: `git push {remote} {branch}`.")
    note_due(site, push=False, left="")
    if not ready:
        step.skip("nothing to push")


class _OvertakenError(ToolError):
    """The remote got other commits between the fetch and the push."""


def _push_commit(site: Site, remote: str, commit: str, *, again: bool) -> None:
    """Push a commit. Raises _OvertakenError if the remote refuses it and `again` is set, and ToolError."""
    try:
        site.git.push(remote, site.branch, commit)
    except RefusedPushError as error:
        message = f"push rejected: {remote} has commits that this checkout does not have"
        advice = "The commit stays in the checkout. The next run tries again; if `git_pull` is on, it pulls first."
        raise (_OvertakenError if again else ToolError)(message, advice, output=error.output) from error


def _fits_on_top(site: Site, here: str, remote_head: str) -> bool:
    """True if commits of releaser, and nothing else, go on top of commits that change nothing but locks.

    These are locks of this site, or of others in the repository. Any other file must be tested with this lock first.
    Without pulls the checkout would never follow. After a rollback, the next update decides about a newer lock.
    """
    own, git = set(site.own_files()), site.git
    changed = git.changed_since_parting(remote_head, here)
    if not site.pulls or not all(path in own or os.path.basename(path) == "uv.lock" for path in changed):
        return False
    is_same = all(git.blob(here, path) == git.blob(remote_head, path) for path in changed & own)
    return git.changed_since_parting(here, remote_head) <= own and (is_same or not read_pending(site.state_dir).left)


def _is_overtaken(site: Site, log: RunLog, remote_head: str) -> bool:
    """True if the lock of the live release would lower versions in the remote; that is reported."""
    live = store_of(site).live()
    return live is not None and _differs(site, log, live, commit=remote_head)


def files_due(site: Site, live: Release | None) -> frozenset[str]:
    """Return the files of releaser whose commit may be due, relative to the top of the work tree.

    uv.lock is releaser's, and no uncommitted work of a person, if it is that of the live release; the export is
    releaser's while a commit is recorded as due.
    """
    project, export = site.project, ExportSettings.of(site).requirements_export
    try:
        if live is None or not is_same_text(read_file(live.lock), read_file(project.lock)):
            return frozenset()
        top = site.git.layout.top
    except (OSError, ToolError):
        return frozenset()
    exported = [project.root / export] if export and read_pending(project.state_dir).commit else []
    return frozenset(
        os.path.relpath(file, top) for file in [*_list_first_pyproject(project, live), project.lock, *exported]
    )


def _list_first_pyproject(project: Project, release: Release) -> list[Path]:
    """Return pyproject.toml if it came with this release, as with the first lock of earlier versions of releaser."""
    if not release.pyproject.is_file():
        return []
    return [project.pyproject] if is_same_text(read_if_there(project.pyproject), read_file(release.pyproject)) else []


def add_unpushed(site: Site, report: RunReport) -> RunReport:
    """Add releaser's own commits that may not be pushed yet."""
    with contextlib.suppress(OSError, ToolError):
        if read_pending(site.state_dir).commits:
            ids = list_unpushed(site)[-_MOST_UNPUSHED:]
            shown = tuple(site.redactor.line(f"{commit_id[:12]} {site.git.subject(commit_id)}") for commit_id in ids)
            return replace(report, unpushed=shown)
    return report
