"""The commits that releaser made: only these are pushed, and only these give way to what the remote has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.steps.follow_ups import note_due, pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.project.site import Site
    from releaser.run import Run
    from releaser.tools.git import Git

SEEN = "seen"  # the reference to where the remote branch was when it was last as expected
_MOST = 1000  # commits that may wait to be pushed, where nobody knows what the remote has


def own_commits(site: Site) -> frozenset[str]:
    """Return the commits that releaser made here and that are not known to be pushed."""
    state = pending(site.project.state_dir)
    return frozenset(_listed(state.get("commits"))) | _unrecorded(site.git, state.get("committing"))


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
