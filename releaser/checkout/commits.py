"""Which commits releaser made, and what of restarting, committing and pushing is still due."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.releases.store import store_of
from releaser.resolution.resolve import own_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site
    from releaser.tools.git import Git


import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from releaser.errors import FollowUpError, ReleaserError
from releaser.system.files import load_state, write_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report import Step
    from releaser.site.site import Site


PENDING = "pending.json"
_AGAIN = "releaser tries again at the next run."


@dataclass(frozen=True, kw_only=True)
class FailedSteps:
    """The steps after the flip to a release that failed."""

    release: str
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BegunCommit:
    """A commit that a run was about to make."""

    parent: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What is still due."""

    #: Whether the lock of the live release is to be committed.
    commit: bool = False
    #: Whether a commit is to be pushed.
    push: bool = False
    #: What to do again after a flip that was not taken back.
    unsettled: FailedSteps | None = None
    #: The commits that releaser made and that are not known to be pushed.
    commits: tuple[str, ...] = ()
    committing: BegunCommit | None = None


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


def note_unsettled(site: Site, release: Release, names: Iterable[str]) -> None:
    """Note which steps after the flip to a release have failed, so that the next update does them again."""
    failed = tuple(sorted(names))
    note_due(site, unsettled=FailedSteps(release=release.id, steps=failed) if failed else None)


def unsettled(state_dir: Path, release: Release | None) -> frozenset[str]:
    """Return the steps after the flip to a release that are still to be done."""
    found = pending(state_dir).unsettled
    if release is None or found is None or found.release != release.id:
        return frozenset()
    return frozenset(found.steps)


SEEN = "seen"  # the reference to where the remote branch was when it was last as expected
_LOOKED_AT = 3  # commits that might be ours, though that is not noted
_MOST = 1000  # commits that may wait to be pushed, where nobody knows what the remote has


def own_commits(site: Site) -> frozenset[str]:
    """Return the commits that releaser made here and that are not known to be pushed. Raises ToolError."""
    state = pending(site.state_dir)
    noted = frozenset(state.commits) | _unrecorded(site.git, state.committing)
    return noted | _recognized(site, noted)


def _recognized(site: Site, noted: frozenset[str]) -> frozenset[str]:
    """Return the newest commits that can be nobody else's, though a full disk kept them from being noted.

    They have the message that releaser writes, change only the files that it commits, and have the lock of a release.
    What the remote has had is pushed, hence none of them.
    """
    git, found = site.git, set[str]()
    seen = git.reference(SEEN)
    lock = os.path.relpath(site.project.lock, git.layout.top)
    releases = store_of(site).all()
    for commit in git.newest("HEAD", _LOOKED_AT):
        if commit in noted:
            continue
        if seen is not None and git.is_ancestor(commit, seen):
            break
        data, message = git.data(commit, lock), git.message(commit).strip()
        if not any(_read(one.lock) == data and message in _messages(one) for one in releases):
            break
        if not git.changed_since_parting(commit, f"{commit}^") <= set(own_files(site, git.layout.top)):
            break
        found.add(commit)
    return frozenset(found)


def _messages(release: Release) -> set[str]:
    return {commit_message(command, release).strip() for command in ("update", "init", "rollback", "rebuild")}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


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
    """Commit these paths, remember the commit as ours and return it; None if they are as committed. Raises ToolError.

    What is about to be committed is noted first, so that the commit is known as ours if releaser dies right after it.
    """
    git = site.git
    known = [*pending(site.state_dir).commits]
    known += sorted(own_commits(site) - {*known})  # what a run committed that died before it could note it
    known = _waiting(git, known)[-_MOST:]
    begun = BegunCommit(parent=git.commit("HEAD"), message=message)
    note_due(site, commits=tuple(known), committing=begun)
    try:
        if not git.commit_only(paths, message):
            return None
        made = git.commit("HEAD")
        note_due(site, commits=(*known, made))
    finally:
        note_due(site, committing=None)
    return made


def forget_pushed(site: Site, pushed: str) -> None:
    """Forget the commits of ours that `pushed` has."""
    git = site.git
    known = pending(site.state_dir).commits
    note_due(site, commits=tuple(one for one in known if not git.is_ancestor(one, pushed)))


def _waiting(git: Git, known: Sequence[str]) -> list[str]:
    """Return the commits that are here and not on the remote, as far as it is known what that has."""
    seen = git.reference(SEEN)
    if seen is None:
        return list(known)
    here = {one.id for one in git.commits(seen, "HEAD")}
    return [one for one in known if one in here]


def _unrecorded(git: Git, begun: BegunCommit | None) -> frozenset[str]:
    """Return HEAD if it is the commit that a run was about to make when it died."""
    if begun is None:
        return frozenset()
    try:
        head, parent = git.commit("HEAD"), git.commit("HEAD^")
        same = begun.parent == parent and begun.message.strip() == git.message(head).strip()
        return frozenset({head}) if same else frozenset()
    except ToolError:
        return frozenset()
