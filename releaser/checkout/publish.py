"""Export, commit and push."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from releaser.checkout.commits import SEEN, attempt, commit_message, make_commit, note_due, own_commits, pending
from releaser.errors import FollowUpError, ToolError, os_reason
from releaser.releases.quarantine import read_quarantine
from releaser.site.conventions import choose_export_group, find_left_out
from releaser.system.files import replace_file
from releaser.tools.uv import requirements_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.project import Project
    from releaser.site.site import Site
    from releaser.tools.git_reader import CheckoutState, Commit


def publish_lock(  # noqa: PLR0913 - what is published, and what is known of the checkout
    site: Site, log: RunLog, release: Release, *, command: str, pushes: bool = True, state: CheckoutState | None = None
) -> str | None:
    """Export, commit and push the lock of the live release, if the checkout is in a state to be committed in.

    `command` is the one that made the release live; without `pushes` the push stays due. `state` is the checkout's as
    it was just now, if somebody has looked. Returns the commit that was made, None if none was. Failures are reported.
    """
    note_due(site, commit=True)
    if not _may_commit(site, log, state) or not _is_ours(site, log, release):
        return None
    if site.settings.requirements_export:
        attempt(log, "export", lambda step: _export(site, step))
    made: str | None = None

    def commit(step: Step) -> None:
        nonlocal made
        made = _commit(site, step, release, commit_message(command, release))

    if attempt(log, "commit", commit) and pushes:
        push_what_is_due(site, log)
    return made


def put_lock_back(site: Site, log: RunLog, live: Release) -> None:
    """Give the checkout the lock of the live release back, and publish that. Failures are reported. Raises OSError."""
    replace_file(site.project.lock, live.lock.read_bytes(), staging=site.state_dir)
    publish_lock(site, log, live, command=log.command)


def push_what_is_due(site: Site, log: RunLog) -> None:
    """Push commits of ours that are not pushed yet, if pushing is on. A failure is reported."""
    if site.settings.git_push:
        attempt(log, "push", lambda step: _push(site, step))


def _may_commit(site: Site, log: RunLog, state: CheckoutState | None) -> bool:
    """Commit nothing in the middle of somebody's rebase, nor on a branch that is not ours."""
    wanted, git = site.settings.branch, site.git
    try:
        waiting, branch = git.layout.in_progress(), (state or git.state()).branch
    except ToolError as error:
        log.failed(FollowUpError(f"uv.lock is not committed: {error.message}", output=error.output))
        return False
    if waiting is None and branch == wanted:
        return True
    what = f"{waiting} is in progress" if waiting else f"branch {branch or '(none)'} is checked out"
    advice = f"Commit uv.lock on {wanted} yourself, or let the next update do it."
    log.failed(FollowUpError(f"uv.lock is not committed: {what}", advice=advice))
    return False


def _is_ours(site: Site, log: RunLog, release: Release) -> bool:
    """Whether uv.lock of the checkout is that of the release; another one is somebody's, and this is told."""
    lock = site.project.lock
    try:
        if lock.read_bytes() == release.lock.read_bytes():
            return True
        reason = "somebody has changed it since"
    except OSError as error:
        reason = os_reason(error)
    advice = "Commit it if you meant it, or run `git checkout uv.lock`; the next update uses what is there."
    log.failed(FollowUpError(f"{lock.name} is not committed: {reason}", advice=advice))
    note_due(site, commit=False)
    return False


def _export(site: Site, step: Step) -> None:
    """Write the export. It depends on the commit alone, as several hosts may write it in turn."""
    root, settings = site.project.root, site.settings
    path = root / str(settings.requirements_export)
    group = choose_export_group(settings, site.pyproject)
    hashes = settings.requirements_export_hashes
    without = find_left_out(site, site.project.lock)
    text = site.uv().run(requirements_arguments(group=group, hashes=hashes, without=without), tree=root).encode()
    if not path.exists() or path.read_bytes() != text:
        replace_file(path, text, staging=site.state_dir)
    step.says(path.name)


def _commit(site: Site, step: Step, release: Release, message: str) -> str | None:
    """Commit uv.lock, what came along with it, the export if git does not ignore it, and nothing else.

    Returns the commit, None if all is as committed. Raises ToolError.
    """
    export, git = site.settings.requirements_export, site.git
    founded = ["pyproject.toml"] if _came_along(site.project, release) else []
    lock = os.path.relpath(site.project.lock, site.project.root)
    paths = [*founded, lock, *([export] if export and not git.ignores(export) else [])]
    was_due = push_is_due(site.state_dir)
    # Noted before the commit is made: a crash right behind it would leave it unpushed for good.
    note_due(site, push=site.settings.git_push or was_due)
    made = make_commit(site, paths, message)
    if made:
        step.says(" and ".join(paths))
    else:
        note_due(site, push=was_due)
        step.skipped("as committed")
    note_due(site, commit=False)
    return made


def _push(site: Site, step: Step) -> None:
    if not push_is_due(site.state_dir):
        step.skipped("nothing to push")
        return
    branch = site.settings.branch
    remote = site.git.remote(branch)
    if remote is None:
        step.skipped("no remote")
        return
    theirs = site.git.fetch(remote, branch)
    waiting, behind = site.git.apart(f"refs/heads/{branch}", theirs)
    if behind and read_quarantine(site.state_dir).commit(site.code_key(theirs)) is not None:
        note_due(site, push=False)  # the commits give way once the remote has something newer
        step.skipped(f"{remote} is ahead, with a commit that was rejected here")
        return
    own = own_commits(site, waiting)
    ready = list(itertools.takewhile(lambda one: one.id in own, reversed(waiting)))
    others = [one for one in waiting if one.id not in own]
    if ready:
        try:
            site.git.push(remote, branch, ready[-1].id)
        except ToolError as error:
            raise _push_error(remote, error) from error
        site.git.set_reference(SEEN, ready[-1].id)
        note_due(site, commits=tuple(one.id for one in reversed(waiting) if one.id in own and one not in ready))
        step.says(f"to {remote}")
    if others:
        raise _unpushed(branch, remote, others)
    note_due(site, push=False)
    if not ready:
        step.skipped("nothing to push")


def _unpushed(branch: str, remote: str, others: Sequence[Commit]) -> ToolError:
    count = "1 commit of yours is" if len(others) == 1 else f"{len(others)} commits of yours are"
    message = f"{count} not pushed ({others[0].id[:12]} {others[0].subject}); the lock waits"
    return ToolError(message, advice=f"Push when you are done: `git push {remote} {branch}`.")


def _push_error(remote: str, error: ToolError) -> ToolError:
    if "[rejected]" in error.output or "fetch first" in error.output or "non-fast-forward" in error.output:
        return ToolError(
            f"push rejected: {remote} has commits that this checkout does not have",
            advice="The commit stays. The next run tries again; with git_pull on, it pulls first.",
            output=error.output,
        )
    return error


def files_due(site: Site, live: Release | None) -> frozenset[str]:
    """Return the files whose commit may still be due, relative to the top of the work tree.

    uv.lock is ours, and not somebody's uncommitted work, if it is the one of the live release, and so is pyproject.toml
    if it came with that; the export is ours while a commit is noted as due.
    """
    project, export = site.project, site.settings.requirements_export
    try:
        if live is None or live.lock.read_bytes() != project.lock.read_bytes():
            return frozenset()
        top = site.git.layout.top
    except (OSError, ToolError):
        return frozenset()
    exported = [project.root / export] if export and pending(project.state_dir).commit else []
    founded = [project.pyproject] if _came_along(project, live) else []
    return frozenset(os.path.relpath(file, top) for file in [project.lock, *founded, *exported])


def _came_along(project: Project, live: Release) -> bool:
    """Whether this file is the one that came with the first lock: with what is live, or before, if it is still due."""
    brought = [live.pyproject]
    if pending(project.state_dir).commit:
        brought += live.directory.parent.glob(f"*/{live.pyproject.name}")
    try:
        text = project.pyproject.read_bytes()
        return any(one.read_bytes() == text for one in brought if one.is_file())
    except OSError:
        return False


def push_is_due(state_dir: Path) -> bool:
    """Tell whether a commit of ours still has to be pushed, by the state alone."""
    return pending(state_dir).push
