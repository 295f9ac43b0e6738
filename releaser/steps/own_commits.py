"""The commits that releaser made: only these are pushed, and only these give way to what the remote has."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.releases.store import ReleaseStore
from releaser.steps.follow_ups import note_due, pending
from releaser.steps.resolve import own_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from releaser.project.site import Site
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.tools.git import Git

SEEN = "seen"  # the reference to where the remote branch was when it was last as expected
_LOOKED_AT = 3  # commits that might be ours, though that is not noted
_MOST = 1000  # commits that may wait to be pushed, where nobody knows what the remote has


def own_commits(site: Site) -> frozenset[str]:
    """Return the commits that releaser made here and that are not known to be pushed. Raises ToolError."""
    state = pending(site.project.state_dir)
    noted = frozenset(_listed(state.get("commits"))) | _unrecorded(site.git, state.get("committing"))
    return noted | _recognized(site, noted)


def _recognized(site: Site, noted: frozenset[str]) -> frozenset[str]:
    """Return the newest commits that can be nobody else's, though a full disk kept them from being noted.

    They have the message that releaser writes, change only the files that it commits, and have the lock of a release.
    What the remote has had is pushed, hence none of them.
    """
    git, found = site.git, set[str]()
    seen = git.reference(SEEN)
    lock = os.path.relpath(site.project.lock, git.layout.top)
    releases = ReleaseStore(state_dir=site.project.state_dir, link=site.project.venv).all()
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


def make_commit(run: Run, paths: Sequence[str], message: str) -> bool:
    """Commit these paths and remember the commit as ours; False when they are as committed. Raises ToolError.

    What is about to be committed is noted first, so that the commit is known as ours if releaser dies right after it.
    """
    git = run.site.git
    known = [*_listed(pending(run.site.project.state_dir).get("commits"))]
    known += sorted(own_commits(run.site) - {*known})  # what a run committed that died before it could note it
    known = _waiting(git, known)[-_MOST:]
    note_due(run, commits=known or None, committing={"parent": git.commit("HEAD"), "message": message})
    try:
        if not git.commit_only(paths, message):
            return False
        run.draft.made_commits.append(git.commit("HEAD"))
        note_due(run, commits=[*known, *run.draft.made_commits[-1:]])
    finally:
        note_due(run, committing=None)
    return True


def forget_pushed(run: Run, pushed: str) -> None:
    """Forget the commits of ours that `pushed` has."""
    git = run.site.git
    known = _listed(pending(run.site.project.state_dir).get("commits"))
    left = [one for one in known if not git.is_ancestor(one, pushed)]
    note_due(run, commits=left or None)


def _waiting(git: Git, known: Sequence[str]) -> list[str]:
    """Return the commits that are here and not on the remote, as far as it is known what that has."""
    seen = git.reference(SEEN)
    if seen is None:
        return list(known)
    here = {one.id for one in git.commits(seen, "HEAD")}
    return [one for one in known if one in here]


def _unrecorded(git: Git, noted: object) -> frozenset[str]:
    """Return HEAD if it is the commit that a run was about to make when it died."""
    if not isinstance(noted, dict):
        return frozenset()
    try:
        head, parent = git.commit("HEAD"), git.commit("HEAD^")
        same = noted.get("parent") == parent and str(noted.get("message")).strip() == git.message(head).strip()
        return frozenset({head}) if same else frozenset()
    except ToolError:
        return frozenset()


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
