"""Moving the checkout to a tested commit as a release goes live, and back; and which commit belongs to a release."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.checkout.commits import SEEN, own_commits
from releaser.checkout.files import is_committed_by_somebody, keep_edited_lock, own_files_as_committed, restore_files
from releaser.checkout.pull import Target
from releaser.errors import ActivationError, Finding, PreflightError, ToolError
from releaser.releases.journal import journal_of, make_entry
from releaser.run import close_journal
from releaser.system.process import write_out

if TYPE_CHECKING:
    from releaser.releases.journal import Entry
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site


_MOST_FOLLOWING = 20  # commits among which the one of a lock is looked for
_KEEP = "`--keep-code` goes back to the packages alone."


def move_checkout(site: Site, log: RunLog, target: Target) -> None:
    """Move the checkout to the commit that was tested: forward, or back where releaser's own commits give way.

    uv.lock and the export may still wait to be committed; they get the content that HEAD has for them first, as git
    would refuse to replace them otherwise. Raises ToolError, with the checkout at the commit where it was.
    """
    if not target.moves:
        return
    with log.step("move checkout") as step:
        own_files_as_committed(site, log)
        write_out(site.project.root)  # else the moved checkout would wait for all that others have written
        see_where_head_is(site, target)  # last of all, as a person may commit at any moment
        log.moved_checkout = True
        if target.forward:
            site.git.fast_forward(target.commit)
        else:
            site.git.reset_keep(target.commit)
        step.says(f"{target.head[:12]} → {target.commit[:12]}")


def see_where_head_is(site: Site, target: Target) -> None:
    """See that the checkout still is at the commit and on the branch from which it is to move. Raises ToolError."""
    state, wanted = site.git.state(), site.settings.branch
    if state.branch != wanted:
        message = f"somebody checked out {state.branch or 'a commit'} instead of {wanted}"
    elif state.head != target.head:
        message = f"somebody committed {(state.head or '')[:12]} meanwhile"
    else:
        return
    raise ToolError(message, advice="Nothing went live; run it again when they are done.")


def move_without_build(site: Site, log: RunLog, target: Target) -> None:
    """Move to a commit with the code and packages that are live: it brings no more than another text of the lock.

    Raises ToolError.
    """
    journal_of(site).write(make_entry(log, "pulling", head_before=target.head, head_after=target.commit))
    move_checkout(site, log, target)
    close_journal(site, log)


def restore_checkout(site: Site, log: RunLog, entry: Entry) -> None:
    """Take the checkout back to what it was before the flip: its commit, uv.lock, and what else came. Raises OSError.

    What somebody has committed since stays, and is reported.
    """
    keep_edited_lock(site, log, entry)
    stays = is_committed_by_somebody(site, log, entry)
    move_back(site, log, entry)
    if not stays:
        restore_files(site, entry)


def move_back(site: Site, log: RunLog, entry: Entry) -> None:
    """Take the checkout back to the commit before a flip, if it is still where releaser moved it; else report it."""
    if entry.head_before is None or entry.head_after is None or entry.head_before == entry.head_after:
        return
    try:
        _move_back(site, log, entry.head_before, entry.head_after)
    except ToolError as error:
        message = (
            f"the checkout could not be taken back to {entry.head_before[:12]}, so that the site has newer code than"
            f" packages: {error.message}"
        )
        advice = f"{error.advice} Put aside what is in the way, then `git reset --keep {entry.head_before[:12]}`."
        log.failed(ActivationError(message, advice=advice.strip(), output=error.output))


def _move_back(site: Site, log: RunLog, before: str, after: str) -> None:
    git = site.git
    head = git.commit("HEAD")
    if head not in (before, after) and not _has_moved(site, before, after, head):
        return  # somebody committed before it came to the move, which then did not happen
    if head not in (before, after):
        message = f"HEAD is neither at {before[:12]} nor at {after[:12]}"
        raise ToolError(message, advice="Somebody committed meanwhile; decide by hand which commits stay.")
    own_files_as_committed(site, log)
    log.moved_checkout = True
    if head == before:
        git.reset_torn(before, after)
        return
    try:
        git.reset_keep(before)
    except ToolError:
        if log.finishing is None:
            raise
        git.reset_torn(before, after)  # a power cut may have emptied files


def _has_moved(site: Site, before: str, after: str, head: str) -> bool:
    """Tell whether a checkout that somebody has committed in was moved from `before` to `after`, older or newer."""
    git = site.git
    if git.is_ancestor(before, after):
        return git.is_ancestor(after, head)
    return not git.is_ancestor(before, head)


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
    own = site.own_files()
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
        raise PreflightError(Finding(message, advice=_KEEP))
    _refuse_other_work(site)
    _refuse_loss(site, manifest.commit, head)
    commit = _with_lock(site, release, manifest.commit)
    return Target(head=head, commit=commit, brings_code=True, forward=False)


def _refuse_other_work(site: Site) -> None:
    """Refuse to move a branch that is not the site's, or one on which somebody's rebase waits."""
    waiting, branch, wanted = site.git.layout.in_progress(), site.git.state().branch, site.settings.branch
    if waiting is not None or branch != wanted:
        what = f"{waiting} is in progress" if waiting else f"{branch or 'a commit'} is checked out, not {wanted}"
        raise PreflightError(Finding(f"the code cannot go back: {what}", advice=_KEEP))


def _refuse_loss(site: Site, commit: str, head: str) -> None:
    """Refuse to go back behind commits of a person that are not on the remote."""
    git, places = site.git, _known_of_remote(site)
    if git.remote(site.settings.branch) is None:
        return  # there is nowhere to push to; a rollback keeps the commits under a name of their own
    commits = git.commits(commit, head)
    own = own_commits(site, commits)
    here = [one for one in commits if one.id not in own and not any(git.is_ancestor(one.id, place) for place in places)]
    if here:
        count = "1 commit is" if len(here) == 1 else f"{len(here)} commits are"
        message = f"{count} only in this checkout, the newest of them {here[0].id[:12]} ({here[0].subject})"
        raise PreflightError(Finding(message, advice=f"Push first, so that nothing is lost. {_KEEP}"))


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
