"""Which commits releaser made, and what of restarting, committing and pushing is still due."""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from releaser.errors import FollowUpError, ReleaserError
from releaser.releases.store import store_of
from releaser.system.files import load_state, read_if_there, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site
    from releaser.tools.git_reader import Commit


PENDING = "pending.json"
_AGAIN = "releaser tries again at the next run."


@dataclass(frozen=True, kw_only=True)
class FailedSteps:
    """The steps after the flip to a release that failed."""

    release: str
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What is still due."""

    #: Whether the lock of the live release is to be committed.
    commit: bool = False
    #: Whether a commit is to be pushed.
    push: bool = False
    #: What to do again after a flip that was not taken back.
    pending_steps: FailedSteps | None = None
    #: The commits that releaser made and that are not known to be pushed.
    commits: tuple[str, ...] = ()


def attempt(log: RunLog, name: str, act: Callable[[Step], None]) -> bool:
    """Do one follow-up; False when it failed, which is reported and makes the exit code 7."""
    with log.step(name) as step:
        try:
            act(step)
        except (ReleaserError, OSError) as error:
            failure = _follow_up_error(name, error)
            step.status, step.detail = "failed", failure.message
            log.failed(failure)
            return False
    return True


def _follow_up_error(name: str, error: ReleaserError | OSError) -> FollowUpError:
    if isinstance(error, ReleaserError):
        return FollowUpError(f"{name} failed: {error.message}", advice=error.advice or _AGAIN, output=error.output)
    return FollowUpError(f"{name} failed: {error}", advice=_AGAIN)


def pending(state_dir: Path) -> Pending:
    """Return what is due; what cannot be read tells of nothing."""
    return load_state(state_dir / PENDING, Pending())


def note_due(site: Site, **due: Any) -> None:
    """Note what is due; a disk that is full must not keep a good release from being published."""
    state_dir = site.state_dir
    before = pending(state_dir)
    after = replace(before, **due)
    if after != before:
        with contextlib.suppress(OSError):
            write_state(state_dir / PENDING, after)


def note_failed_steps(site: Site, release: Release, names: Iterable[str]) -> None:
    """Note which steps after the flip to a release have failed, so that the next update does them again."""
    failed = tuple(sorted(names))
    note_due(site, pending_steps=FailedSteps(release=release.id, steps=failed) if failed else None)


def pending_steps(state_dir: Path, release: Release | None) -> frozenset[str]:
    """Return the steps after the flip to a release that are still to be done."""
    found = pending(state_dir).pending_steps
    if release is None or found is None or found.release != release.id:
        return frozenset()
    return frozenset(found.steps)


SEEN = "seen"  # the reference to where the remote branch was when it was last as expected
_LOOKED_AT = 3  # commits that might be ours, though that is not noted
_MOST = 1000  # commits that may wait to be pushed, where nobody knows what the remote has


def own_commits(site: Site, commits: Iterable[Commit]) -> frozenset[str]:
    """Return which of these `commits`, the newest first, releaser made and nobody is known to have pushed.

    The newest may not be noted, if the run that made them died or the disk was full. Raises ToolError.
    """
    noted = frozenset(pending(site.state_dir).commits)
    unknown = (one.id for one in commits if one.id not in noted)
    return noted.union(itertools.takewhile(partial(_is_own, site), itertools.islice(unknown, _LOOKED_AT)))


def _is_own(site: Site, commit: str) -> bool:
    """Whether a commit can be nobody else's: by its message, the files it changes, and its lock, that of a release.

    What the remote has had is pushed, hence none of them.
    """
    git, seen = site.git, site.git.reference(SEEN)
    if seen is not None and git.is_ancestor(commit, seen):
        return False
    message = git.message(commit).strip()
    releases = [one for one in store_of(site).all() if message in _messages(one)]
    if not releases or not git.has(f"{commit}^"):  # the first commit of a project is somebody's
        return False
    changed = git.changed_since_parting(commit, f"{commit}^")
    data = git.data(commit, os.path.relpath(site.project.lock, git.layout.top))
    return any(read_if_there(one.lock) == data and changed <= _files_of(site, one) for one in releases)


def _messages(release: Release) -> set[str]:
    return {commit_message(command, release).strip() for command in ("update", "init", "rollback", "rebuild")}


def _files_of(site: Site, release: Release) -> set[str]:
    """Return the files that releaser commits with a release: pyproject.toml too, if it came with the first lock."""
    top = site.git.layout.top
    brought = [os.path.relpath(site.project.pyproject, top)] if release.pyproject.is_file() else []
    return {*site.own_files(), *brought}


def commit_message(command: str, release: Release) -> str:
    """Return the message of the commit that goes with a release that `command` made live."""
    changes = release.manifest.changes if command == "update" else ()
    if command == "init" and release.pyproject.is_file():
        return f"Lock what is installed, as in release {release.id}"
    if command == "rollback":
        return f"Roll back to release {release.id}"
    if not changes:
        return f"Lock as in release {release.id}"
    title = f"Update {len(changes)} {'package' if len(changes) == 1 else 'packages'}"
    lines = [f"{change.name}: {change.old or 'none'} -> {change.new or 'none'}" for change in changes]
    return "\n".join([title, "", *lines])


def make_commit(site: Site, paths: Sequence[str], message: str) -> str | None:
    """Commit these paths, note the commit as ours and return it; None if they are as committed. Raises ToolError."""
    known = _waiting(site)  # before the commit, on top of which those before it are not looked for
    if not site.git.commit_only(paths, message):
        return None
    made = site.git.commit("HEAD")
    note_due(site, commits=(*known, made))
    return made


def _waiting(site: Site) -> list[str]:
    """List the commits of ours that wait to be pushed, oldest first, as far as it is known what the remote has.

    Those of a run that died before it could note them are among them.
    """
    git, seen = site.git, site.git.reference(SEEN)
    if seen is None:
        here = git.newest("HEAD", _LOOKED_AT)
        noted = pending(site.state_dir).commits
        known = [*noted, *sorted(own_commits(site, here).difference(noted))]
    else:
        here = git.commits(seen, "HEAD")
        own = own_commits(site, here)
        known = [one.id for one in reversed(here) if one.id in own]
    return known[-_MOST:]
