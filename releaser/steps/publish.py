"""Publishing the lock of the live release: exported, committed, pushed; what fails is due at the next run."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from releaser.durable import replace_file
from releaser.errors import FollowUpError, ToolError, os_reason
from releaser.project.group import export_group
from releaser.steps.follow_ups import attempt, note_due, pending
from releaser.steps.own_commits import SEEN, commit_message, forget_pushed, make_commit, own_commits
from releaser.steps.resolve import code_key_of
from releaser.steps.test_packages import kept_out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from releaser.project.project import Project
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.report.recorder import Step
    from releaser.run import Run
    from releaser.tools.git import Commit


def publish_lock(run: Run, release: Release, *, command: str, pushes: bool = True) -> None:
    """Export, commit and push the lock of the live release, if the checkout is in a state to be committed in.

    `command` is the one that made the release live; without `pushes` the push stays due. Failures are reported.
    """
    note_due(run, commit=True)
    if not _may_commit(run):
        return
    if not _is_ours(run, release):
        return
    if run.site.settings.requirements_export:
        attempt(run, "export", lambda step: _export(run, step))
    if attempt(run, "commit", lambda step: _commit(run, step, release, commit_message(command, release))) and pushes:
        push_what_is_due(run)


def put_lock_back(run: Run, live: Release) -> None:
    """Give the checkout the lock of the live release back, and publish that. Failures are reported. Raises OSError."""
    replace_file(run.site.project.lock, live.lock.read_bytes(), staging=run.site.project.state_dir)
    publish_lock(run, live, command=run.command)


def push_what_is_due(run: Run) -> None:
    """Push commits of ours that are not pushed yet, if pushing is on. A failure is reported."""
    if run.site.settings.git_push:
        attempt(run, "push", lambda step: _push(run, step))


def _may_commit(run: Run) -> bool:
    """Commit nothing in the middle of somebody's rebase, nor on a branch that is not ours."""
    wanted, git = run.site.settings.branch, run.site.git
    try:
        waiting, branch = git.layout.in_progress(), git.state().branch
    except ToolError as error:
        run.note_problem(FollowUpError(f"uv.lock is not committed: {error.message}", output=error.output))
        return False
    if waiting is None and branch == wanted:
        return True
    what = f"{waiting} is in progress" if waiting else f"branch {branch or '(none)'} is checked out"
    advice = f"Commit uv.lock on {wanted} yourself, or let the next update do it."
    run.note_problem(FollowUpError(f"uv.lock is not committed: {what}", advice=advice))
    return False


def _is_ours(run: Run, release: Release) -> bool:
    """Whether uv.lock of the checkout is that of the release; another one is somebody's, and this is told."""
    lock = run.site.project.lock
    try:
        if lock.read_bytes() == release.lock.read_bytes():
            return True
        reason = "somebody has changed it since"
    except OSError as error:
        reason = os_reason(error)
    advice = "Commit it if it is meant, or `git checkout uv.lock`; the next update takes what is there."
    run.note_problem(FollowUpError(f"{lock.name} is not committed: {reason}", advice=advice))
    note_due(run, commit=False)
    return False


def _export(run: Run, step: Step) -> None:
    """Write the export. It depends on the commit alone, as several hosts may write it in turn."""
    root, settings = run.site.project.root, run.site.settings
    path = root / str(settings.requirements_export)
    group = export_group(settings, run.site.pyproject)
    hashes = settings.requirements_export_hashes
    without = kept_out(run.site, run.site.project.lock)
    text = run.site.uv().requirements(root, group=group, hashes=hashes, without=without).encode()
    if not path.exists() or path.read_bytes() != text:
        replace_file(path, text, staging=run.site.project.state_dir)
    step.says(path.name)


def _commit(run: Run, step: Step, release: Release, message: str) -> None:
    """Commit uv.lock, what came along with it, the export if git does not ignore it, and nothing else.

    Raises ToolError.
    """
    export, git = run.site.settings.requirements_export, run.site.git
    founded = ["pyproject.toml"] if _came_along(run.site.project, release) else []
    lock = os.path.relpath(run.site.project.lock, run.site.project.root)
    paths = [*founded, lock, *([export] if export and not git.ignores(export) else [])]
    was_due = push_is_due(run)
    # Noted before the commit is made: a crash right behind it would leave it unpushed for good.
    note_due(run, push=run.site.settings.git_push or was_due)
    if make_commit(run, paths, message):
        step.says(" and ".join(paths))
    else:
        note_due(run, push=was_due)
        step.skipped("as committed")
    note_due(run, commit=False)


def _push(run: Run, step: Step) -> None:
    if not push_is_due(run):
        step.skipped("nothing to push")
        return
    branch = run.site.settings.branch
    remote = run.site.git.remote(branch)
    if remote is None:
        step.skipped("no remote")
        return
    theirs = run.site.git.fetch(remote, branch)
    if stays_behind(run, theirs):
        note_due(run, push=False)  # the commits give way once the remote has something newer
        step.skipped(f"{remote} is ahead, with a commit that was rejected here")
        return
    waiting = run.site.git.commits(theirs, f"refs/heads/{branch}")
    own = own_commits(run.site)
    ready = list(itertools.takewhile(lambda one: one.id in own, reversed(waiting)))
    others = [one for one in waiting if one.id not in own]
    if ready:
        try:
            run.site.git.push(remote, branch, ready[-1].id)
        except ToolError as error:
            raise _push_error(remote, error) from error
        run.site.git.set_reference(SEEN, ready[-1].id)
        forget_pushed(run, ready[-1].id)
        step.says(f"to {remote}")
    if others:
        raise _unpushed(branch, remote, others)
    note_due(run, push=False)
    if not ready:
        step.skipped("nothing to push")


def stays_behind(run: Run, theirs: str) -> bool:
    """Whether the remote has commits that do not come in, as their code was rejected."""
    behind = run.site.git.apart("HEAD", theirs)[1] > 0
    return behind and run.quarantine().commit(code_key_of(run, theirs)) is not None


def _unpushed(branch: str, remote: str, others: Sequence[Commit]) -> ToolError:
    count = "1 commit of yours is" if len(others) == 1 else f"{len(others)} commits of yours are"
    message = f"{count} not pushed ({others[0].id[:12]} {others[0].subject}); the lock waits"
    return ToolError(message, advice=f"Push when you are done: `git push {remote} {branch}`.")


def _push_error(remote: str, error: ToolError) -> ToolError:
    if "[rejected]" in error.output or "fetch first" in error.output or "non-fast-forward" in error.output:
        return ToolError(
            f"{remote} has commits that are not here, so it refused",
            advice="The commit stays. The next run tries again; with git_pull on, it first takes what is new there.",
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
    exported = [project.root / export] if export and pending(project.state_dir).get("commit") else []
    founded = [project.pyproject] if _came_along(project, live) else []
    return frozenset(os.path.relpath(file, top) for file in [project.lock, *founded, *exported])


def _came_along(project: Project, live: Release) -> bool:
    """Whether this file is the one that came with the first lock: with what is live, or before, if it is still due."""
    brought = [live.pyproject]
    if pending(project.state_dir).get("commit"):
        brought += live.directory.parent.glob(f"*/{live.pyproject.name}")
    try:
        text = project.pyproject.read_bytes()
        return any(one.read_bytes() == text for one in brought if one.is_file())
    except OSError:
        return False


def push_is_due(run: Run) -> bool:
    """Tell whether a commit of ours still has to be pushed."""
    return push_is_due_in(run.site.project.state_dir)


def push_is_due_in(state_dir: Path) -> bool:
    """Tell whether a commit of ours still has to be pushed, by the state alone."""
    return bool(pending(state_dir).get("push"))
