"""The code that belongs to a release: the commit that it was tested with, and how the checkout gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import PreflightError, Unfit
from releaser.steps.own_commits import SEEN, own_commits
from releaser.steps.pull import Target
from releaser.steps.resolve import own_files

if TYPE_CHECKING:
    from releaser.project.site import Site
    from releaser.releases.release import Release

_KEEP = "`--keep-code` goes back to the packages alone."


def code_of_release(site: Site, release: Release) -> Target:
    """Return where the checkout has to go for a release to be as it was tested; it need not if the code is the same.

    Raises ToolError, and PreflightError where a commit would be lost that is nowhere but here.
    """
    git, manifest = site.git, release.manifest
    head = git.commit("HEAD")
    own = own_files(site, git.layout.top)
    if not manifest.commit or not manifest.code_key or git.code_key(own, commit=head) == manifest.code_key:
        return Target(head=head, commit=head)
    if not git.has(manifest.commit):
        message = f"commit {manifest.commit[:12]}, with which {release.id} was tested, is not in this repository"
        raise PreflightError((Unfit(message, advice=_KEEP),))
    _refuse_other_work(site)
    _refuse_loss(site, manifest.commit, head)
    commit = _with_lock(site, release, manifest.commit, head, own)
    return Target(head=head, commit=commit, brings_code=True, forward=False)


def _refuse_other_work(site: Site) -> None:
    """Refuse to move a branch that is not the site's, or one on which somebody's rebase waits."""
    waiting, branch, wanted = site.git.layout.in_progress(), site.git.state().branch, site.settings.branch
    if waiting is not None or branch != wanted:
        what = f"{waiting} is in progress" if waiting else f"{branch or 'a commit'} is checked out, not {wanted}"
        raise PreflightError((Unfit(f"the code cannot go back: {what}", advice=_KEEP),))


def _refuse_loss(site: Site, commit: str, head: str) -> None:
    """Refuse to go back behind commits of a person that are not on the remote."""
    git, own = site.git, own_commits(site)
    remote = git.remote(site.settings.branch)
    known = (git.reference(SEEN), git.tracked(remote, site.settings.branch) if remote else None)
    places = [one for one in known if one is not None]
    here = [
        one
        for one in git.commits(commit, head)
        if one.id not in own and not any(git.is_ancestor(one.id, place) for place in places)
    ]
    if here:
        count = "1 commit is" if len(here) == 1 else f"{len(here)} commits are"
        message = f"{count} only in this checkout, the newest of them {here[0].id[:12]} ({here[0].subject})"
        raise PreflightError((Unfit(message, advice=f"Push first, so that nothing is lost. {_KEEP}"),))


def _with_lock(site: Site, release: Release, commit: str, head: str, own: tuple[str, ...]) -> str:
    """Return the commit in which releaser published the lock of a release, if it follows `commit`; else that one."""
    git = site.git
    lock, wanted = str(site.project.lock.relative_to(git.layout.top)), release.lock.read_bytes()
    found = commit
    for one in git.following(commit, head):
        if git.code_key(own, commit=one) != release.manifest.code_key:
            break
        if git.data(one, lock) == wanted:
            found = one
    return found
