"""The code that belongs to a release: the commit that it was tested with, and how the checkout gets there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, Unfit
from releaser.steps.own_commits import SEEN, own_commits
from releaser.steps.pull import Target
from releaser.steps.resolve import own_files

if TYPE_CHECKING:
    from releaser.project.site import Site
    from releaser.releases.release import Release

_MOST_FOLLOWING = 20  # commits among which the one of a lock is looked for
_KEEP = "`--keep-code` goes back to the packages alone."


def has_other_code(site: Site, release: Release) -> bool:
    """Whether a release was tested with other code than what is checked out, as far as is known. Raises ToolError."""
    manifest = release.manifest
    if not manifest.commit or not manifest.code_key or site.git.commit("HEAD") == manifest.commit:
        return False
    return not _has_code_of(site, release, "HEAD")


def _has_code_of(site: Site, release: Release, commit: str) -> bool:
    """Whether a commit has the code that a release was tested with.

    A release that brought the first lock was tested with its own pyproject.toml, which was committed only afterwards.
    """
    git, manifest = site.git, release.manifest
    own = own_files(site, git.layout.top)
    if not release.pyproject.is_file():
        return git.code_key(own, commit=commit) == manifest.code_key
    pyproject = os.path.relpath(site.project.pyproject, git.layout.top)
    if git.data(commit, pyproject) != release.pyproject.read_bytes() or not git.has(str(manifest.commit)):
        return False
    own = (*own, pyproject)
    return git.code_key(own, commit=commit) == git.code_key(own, commit=str(manifest.commit))


def code_of_release(site: Site, release: Release) -> Target:
    """Return where the checkout has to go for a release to be as it was tested; it need not if the code is the same.

    Raises ToolError, and PreflightError where a commit would be lost that is nowhere but here.
    """
    git, manifest = site.git, release.manifest
    head = git.commit("HEAD")
    if not manifest.commit or not has_other_code(site, release):
        return Target(head=head, commit=head)
    if not git.has(manifest.commit):
        message = f"commit {manifest.commit[:12]}, with which {release.id} was tested, is not in this repository"
        raise PreflightError((Unfit(message, advice=_KEEP),))
    _refuse_other_work(site)
    _refuse_loss(site, manifest.commit, head)
    commit = _with_lock(site, release, manifest.commit)
    return Target(head=head, commit=commit, brings_code=True, forward=False)


def _refuse_other_work(site: Site) -> None:
    """Refuse to move a branch that is not the site's, or one on which somebody's rebase waits."""
    waiting, branch, wanted = site.git.layout.in_progress(), site.git.state().branch, site.settings.branch
    if waiting is not None or branch != wanted:
        what = f"{waiting} is in progress" if waiting else f"{branch or 'a commit'} is checked out, not {wanted}"
        raise PreflightError((Unfit(f"the code cannot go back: {what}", advice=_KEEP),))


def _refuse_loss(site: Site, commit: str, head: str) -> None:
    """Refuse to go back behind commits of a person that are not on the remote."""
    git, own, places = site.git, own_commits(site), _known_of_remote(site)
    if git.remote(site.settings.branch) is None:
        return  # there is nowhere to push to; a rollback keeps the commits under a name of their own
    here = [
        one
        for one in git.commits(commit, head)
        if one.id not in own and not any(git.is_ancestor(one.id, place) for place in places)
    ]
    if here:
        count = "1 commit is" if len(here) == 1 else f"{len(here)} commits are"
        message = f"{count} only in this checkout, the newest of them {here[0].id[:12]} ({here[0].subject})"
        raise PreflightError((Unfit(message, advice=f"Push first, so that nothing is lost. {_KEEP}"),))


def _known_of_remote(site: Site) -> list[str]:
    """Return where the remote branch was, as far as that is known without asking it."""
    git, branch = site.git, site.settings.branch
    remote = git.remote(branch)
    known = (git.reference(SEEN), git.tracked(remote, branch) if remote else None)
    return [one for one in known if one is not None]


def _with_lock(site: Site, release: Release, commit: str) -> str:
    """Return the commit in which releaser published the lock of a release, if it follows `commit`; else that one."""
    git = site.git
    lock, wanted = os.path.relpath(site.project.lock, git.layout.top), release.lock.read_bytes()
    for line in ("HEAD", *_known_of_remote(site)):
        found = ""
        for one in git.following(commit, line)[:_MOST_FOLLOWING]:
            if not _has_code_of(site, release, one):
                break
            found = one if git.data(one, lock) == wanted else found
        if found:
            return found
    return commit
