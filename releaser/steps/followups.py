"""What is due once a release is live and good; none of it ever takes a good release back."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, read_json, replace_file, write_json
from releaser.errors import FollowUpError, ReleaserError, ToolError
from releaser.releases import leases
from releaser.releases.policy import KeepPolicy, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from releaser.project.settings import Settings
    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.report.recorder import Step
    from releaser.run import Run

PENDING = "pending.json"


def follow_up(run: Run, release: Release, remote: str | None) -> None:
    """Export, commit, push and prune; a failure is reported, and what failed is tried again by the next run."""
    publish_lock(run, release, remote)
    attempt(run, "prune", lambda step: _prune(run, step))


def publish_lock(run: Run, release: Release, remote: str | None) -> None:
    """Export, commit and push the lock of the live release."""
    if run.site.settings.requirements_export:
        attempt(run, "export", lambda step: _export(run, release, step))
    if not run.draft.commits:
        return
    if attempt(run, "commit", lambda step: commit(run, step, _message(run, release))) and run.site.settings.git_push:
        attempt(run, "push", lambda step: push(run, remote, step))


def attempt(run: Run, name: str, act: Callable[[Step], None]) -> bool:
    """Do one follow-up; False when it failed, which is reported and makes the exit code 7."""
    with run.recorder.step(name) as step:
        try:
            act(step)
        except (ReleaserError, OSError) as error:
            failure = _follow_up_error(name, error)
            step.status, step.detail = "failed", failure.message
            run.note_problem(failure)
            return False
    return True


def _follow_up_error(name: str, error: ReleaserError | OSError) -> FollowUpError:
    if isinstance(error, ReleaserError):
        advice = error.advice or "releaser tries again at the next run."
        return FollowUpError(f"{name} failed: {error.message}", advice=advice, output=error.output)
    return FollowUpError(f"{name} failed: {error}", advice="releaser tries again at the next run.")


def _export(run: Run, release: Release, step: Step) -> None:
    root = run.site.project.root
    path = root / str(run.site.settings.requirements_export)
    text = run.site.uv().requirements(root, group=release.manifest.group).encode()
    if not path.exists() or path.read_bytes() != text:
        replace_file(path, text, staging=run.site.project.state_dir)
    step.says(path.name)


def commit(run: Run, step: Step, message: str) -> None:
    """Commit uv.lock, and the export if one is set, and nothing else. Raises ToolError."""
    export = run.site.settings.requirements_export
    was_due = push_is_due(run)
    # Noted before the commit is made: a crash right behind it would leave it unpushed for good.
    _set_push_due(run, due=run.site.settings.git_push)
    if run.site.git.commit_only(["uv.lock", *([export] if export else [])], message):
        step.says("uv.lock" + (f" and {export}" if export else ""))
    else:
        _set_push_due(run, due=was_due)
        step.skipped("as committed")


def push(run: Run, remote: str | None, step: Step) -> None:
    """Push what was committed, if anything is due. Raises ToolError."""
    if not push_is_due(run):
        step.skipped("nothing to push")
        return
    if remote is None:
        step.skipped("no remote")
        return
    try:
        run.site.git.push(remote, run.site.settings.branch)
    except ToolError as error:
        raise _push_error(remote, error) from error
    _set_push_due(run, due=False)
    step.says(f"to {remote}")


def _push_error(remote: str, error: ToolError) -> ToolError:
    if "[rejected]" in error.output or "fetch first" in error.output or "non-fast-forward" in error.output:
        return ToolError(
            f"{remote} has commits that are not here, so it refused",
            advice="The commit stays; bring the two together (`git pull --rebase`), or let the next run try again.",
            output=error.output,
        )
    return error


def files_due(site: Site, live: Release | None) -> frozenset[str]:
    """Return the files whose commit may still be due, relative to the top of the work tree.

    They are ours, and not somebody's uncommitted work, only if the checkout's lock is the one of the live release.
    """
    project, export = site.project, site.settings.requirements_export
    try:
        if live is None or live.lock.read_bytes() != project.lock.read_bytes():
            return frozenset()
        top = site.git.layout.top
    except (OSError, ToolError):
        return frozenset()
    files = [project.lock, *([project.root / export] if export else [])]
    return frozenset(str(file.relative_to(top)) for file in files)


def _pending(state_dir: Path) -> dict[str, object]:
    with contextlib.suppress(UnreadableStateError):
        return read_json(state_dir / PENDING) or {}
    return {}


def push_is_due(run: Run) -> bool:
    """Tell whether a commit of ours still has to be pushed."""
    return bool(_pending(run.site.project.state_dir).get("push"))


def _set_push_due(run: Run, *, due: bool) -> None:
    if push_is_due(run) != due:
        write_json(run.site.project.state_dir / PENDING, {"push": due})


def _message(run: Run, release: Release) -> str:
    changes = release.manifest.changes if run.command == "update" else ()
    if run.command == "rollback":
        return f"Roll back to release {release.id}"
    if not changes:
        return f"Lock as in release {release.id}"
    title = f"Update {len(changes)} {'package' if len(changes) == 1 else 'packages'}"
    lines = [f"{change.name}: {change.old or 'none'} -> {change.new or 'none'}" for change in changes]
    return "\n".join([title, "", *lines])


def verdicts(policy: KeepPolicy, store: ReleaseStore) -> tuple[Verdict, ...]:
    """Decide what the policy keeps of the releases that are there now."""
    releases = store.all()
    target = store.rollback_target()
    in_use = frozenset(one.id for one in releases if leases.holders(str(one.directory)))
    return judge(
        releases,
        policy,
        now=datetime.now(UTC),
        rollback_target=target.id if target else None,
        in_use=in_use,
        just_left=_just_left(store),
    )


def _just_left(store: ReleaseStore) -> str | None:
    """Return the release that was live until the last flip."""
    activations = store.ledger().activations
    return activations[-2] if len(activations) > 1 and activations[-1] == store.live_id() else None


def keep_policy(settings: Settings) -> KeepPolicy:
    """Return the policy that the settings describe."""
    return KeepPolicy(
        keep=settings.keep,
        keep_within=timedelta(seconds=settings.keep_within),
        keep_failed=settings.keep_failed,
    )


def _prune(run: Run, step: Step) -> None:
    removed = prune(run.store, verdicts(keep_policy(run.site.settings), run.store))
    if removed:
        step.says(f"{len(removed)} removed")
    else:
        step.skipped("nothing to remove")


def prune(store: ReleaseStore, decided: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """Delete what was decided against and is not in use; return what was deleted. Raises OSError."""
    removed = []
    for verdict in decided:
        if verdict.kept:
            continue
        claimed = leases.claim(str(verdict.release.directory))
        if claimed is None:
            continue
        try:
            store.remove(verdict.release.id)
        finally:
            leases.release(claimed)
        removed.append(verdict)
    return tuple(removed)
