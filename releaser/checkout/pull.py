"""Fetches and chooses the commit that may go live, and finds the commit for the code of an earlier release."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import tomli

from releaser.checkout.checks import (
    describe_divergence,
    describe_rewrite,
    filter_findings,
    is_below,
    no_such_branch,
    own_paths,
    unreachable,
)
from releaser.checkout.publish import SEEN, own_commits
from releaser.core.target import Target
from releaser.errors import Finding, PreflightError, ResolutionError, ToolError, refuse, refuse_any
from releaser.releases.blocks import read_blocks
from releaser.releases.journal import note, read_notes
from releaser.releases.store import store_of
from releaser.site.project import Pyproject
from releaser.system.files import is_same_text, read_file
from releaser.system.frozen import replace
from releaser.system.words import first_few, plural
from releaser.tools.git_reader import asks_for_credentials

if TYPE_CHECKING:
    from collections.abc import Collection

    from releaser.checkout.checks import CheckoutSnapshot
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts
    from releaser.tools.git_state import CheckoutState, Commit

_MOST_FOLLOWING = 20  # commits that are searched for a lock
_PATIENCE = 30.0  # seconds that a rollback waits for the remote
_KEEP = "To roll back the packages only, add `--keep-code`."


def note_untracked_files(site: Site, log: RunLog, state: CheckoutState, *, before: Collection[str]) -> None:
    """Report untracked files that did not exist `before` this run."""
    project, ours = site.project, own_paths(site, site.git.layout.top)
    found = [path for path in state.untracked if path not in before and not is_below(path, ours)]
    known = read_notes(project.state_dir).untracked
    fresh = [path for path in found if path not in known]
    if not fresh:
        return
    note(project.state_dir, untracked=known | set(fresh))
    message = f"the tests, the build or collectstatic left files in the checkout: {first_few(fresh)}"
    log.note(
        Finding("files-left", message=message, advice="Add them to .gitignore. Later runs do not report them again.")
    )


def as_checked_out(snapshot: CheckoutSnapshot) -> Target:
    """Return the commit of the checkout as the target."""
    head = snapshot.head or ""
    return Target(head=head, commit=head)


def fetch(site: Site, log: RunLog, facts: SiteFacts, *, follow: bool = False) -> str | None:
    """Fetch, and return the remote head; None if pulls are off. The checkout does not move.

    With `follow`, a remote branch that was moved back or rewritten is accepted. Raises PreflightError if the remote
    asks for credentials, lacks the branch, has diverged or was rewritten, and ResolutionError if it cannot be reached.
    Nothing has changed by then, not even by an adoption.
    """
    if not site.pulls or facts.checkout.remote is None:
        return None
    with log.step("fetch"):
        git, branch = site.git, site.branch
        seen = git.reference(SEEN)
        if seen is None and (seen := git.tracked(facts.checkout.remote, branch)) is not None:
            git.set_reference(SEEN, seen)  # from the last fetch or push by a person, before this fetch moves it
        try:
            remote_head = git.fetch(facts.checkout.remote, branch, shared=True)
        except ToolError as error:
            if "couldn't find remote ref" in error.output:
                raise PreflightError(no_such_branch(facts.checkout.remote, branch)) from error
            finding = unreachable(facts.checkout.remote, error)
            if asks_for_credentials(error):
                raise PreflightError(finding) from error
            raise ResolutionError(finding.message, finding.advice, output=error.output) from error
        _refuse_divergence(site, facts, remote_head, seen, follow=follow)
        if seen != remote_head:
            git.set_reference(SEEN, remote_head)
    return remote_head


def choose_target(  # noqa: PLR0913 - both commits, and the options of the run
    site: Site,
    log: RunLog,
    snapshot: CheckoutSnapshot,
    facts: SiteFacts,
    remote_head: str | None,
    *,
    force: bool = False,
    follow: bool = False,
) -> Target:
    """Return the commit that may go live: the remote head, or the commit of the checkout.

    The checkout stays if the remote has nothing new, or if the remote head is blocked after a rollback or failed tests,
    unless `force` is set. Raises PreflightError.
    """
    head, git = snapshot.head or facts.checkout.state.head or "", site.git
    stay = Target(head=head, commit=head)
    if remote_head is None or remote_head == head:
        return stay
    ahead, behind = git.list_diverged(head, remote_head)
    if not behind and not follow:
        return stay
    with log.step("choose commit") as step:
        own = site.own_files()
        key = git.code_key(own, commit=remote_head)
        hold = None if force else read_blocks(site.state_dir).commit(key)
        if hold is not None:
            step.says(f"stays at {head[:12]}: commit {hold.commit[:12]} {hold.reason}")
            return replace(stay, commits=behind, commit_on_hold=hold, offered=remote_head)
        _refuse_other_places(site, remote_head)
        refuse_any(*filter_findings(site, remote_head))
        _refuse_unsigned(site, remote_head)
        # git would refuse most of these files, too. But a file that is identical to the pulled one would look like
        # git's own, and an undo of the move would delete it.
        if paths := git.in_the_way(head, remote_head):
            from releaser.tools.in_the_way import advise_in_the_way, describe_in_the_way

            refuse("git-in-the-way", describe_in_the_way(paths, remote_head), advise_in_the_way(paths, git.layout.top))
        step.says(plural(len(behind), "new commit") if behind else f"back to {remote_head[:12]}")
        brings_code = key != git.code_key(own, commit=head)
    return Target(head=head, commit=remote_head, commits=behind, brings_code=brings_code, forward=not ahead)


def _refuse_divergence(site: Site, facts: SiteFacts, remote_head: str, seen: str | None, *, follow: bool) -> None:
    """Refuse a remote head that is not a fast-forward, unless the checkout is only ahead by releaser's own commits.

    `seen` is the last accepted remote head.
    """
    git, ours, branch = site.git, facts.checkout.state.head or "HEAD", site.branch
    if remote_head == ours:
        return
    ahead, behind = git.list_diverged(ours, remote_head)
    own = own_commits(site, ahead)
    others = [commit for commit in ahead if commit.id not in own]
    lost = [other for other in others if seen is not None and git.is_ancestor(other.id, seen)]
    if lost and not follow:
        back = seen is not None and git.is_ancestor(remote_head, seen)
        raise PreflightError(describe_rewrite(facts.checkout.remote or "", branch, remote_head, lost, moved_back=back))
    if len(others) > len(lost) and (behind or follow):
        raise PreflightError(describe_divergence(facts.checkout.remote or "", branch))


def _refuse_other_places(site: Site, commit: str) -> None:
    """Refuse a commit that sets another `state_dir` or `venv`: the live release could not be found there."""
    project, top = site.project, site.git.layout.top
    text = site.git.content(commit, os.path.relpath(project.pyproject, top))
    try:
        fresh = Pyproject(path=project.pyproject, content=tomli.loads(text or ""))
    except tomli.TOMLDecodeError:
        return  # preflight reports it once the commit is staged
    for key in ("state_dir", "venv"):
        old, new = (pyproject.table("tool", "releaser").get(key) for pyproject in (site.pyproject, fresh))
        if old != new:
            message = f"commit {commit[:12]} changes tool.releaser.{key} from {old!r} to {new!r}"
            advice = "Pull it yourself, move the releases to the new place, and run `releaser init`; or do not change"
            refuse("commit-moves-places", message, f"{advice} {key}.")


def _refuse_unsigned(site: Site, commit: str) -> None:
    """Refuse a commit without a required signature now; git would refuse it only when the service is stopped."""
    if site.git.lacks_signature(commit, site.branch):
        top = site.git.layout.top
        message = f"commit {commit[:12]} has no trusted signature, which git's `merge.verifySignatures` requires"
        refuse(
            "commit-unsigned",
            message,
            f"Push a signed commit. For details, run `git -C {top} verify-commit {commit[:12]}`.",
        )


# The code of an earlier release


def has_other_code(site: Site, release: Release) -> bool:
    """True if a release was tested with other code than the checkout has; False if unknown. Raises ToolError."""
    manifest = release.manifest
    if not manifest.code_key:
        return False
    if not manifest.commit:  # a code key of another pyproject.toml cannot be compared
        return not release.pyproject.is_file() and site.git.differs_from(manifest.code_key, since=manifest.created_at)
    head = site.git.head()  # git is asked once about a whole id, and each time about HEAD
    return head not in ("", manifest.commit) and not _has_code_of(site, release, head)


def _has_code_of(site: Site, release: Release, commit: str) -> bool:
    """True if a commit has the code that a release was tested with.

    A release with the first lock was tested with its own pyproject.toml, which was committed only afterwards.
    """
    git, manifest = site.git, release.manifest
    own = site.own_files()
    if not release.pyproject.is_file():
        return git.code_key(own, commit=commit) == manifest.code_key
    pyproject = os.path.relpath(site.project.pyproject, git.layout.top)
    if not is_same_text(git.data(commit, pyproject), read_file(release.pyproject)) or not git.has_commit(
        str(manifest.commit)
    ):
        return False
    own = (*own, pyproject)
    return git.code_key(own, commit=commit) == git.code_key(own, commit=str(manifest.commit))


def code_of_release(site: Site, release: Release) -> Target:
    """Return the target with the code that a release was tested with; the checkout stays if its code is the same.

    Raises ToolError, and PreflightError if the move is impossible, or would lose a commit that is only here.
    """
    git, manifest = site.git, release.manifest
    head = git.head()
    if not manifest.commit or not has_other_code(site, release):
        return Target(head=head, commit=head)
    if not git.has_commit(manifest.commit):
        message = f"{release.id} was tested with commit {manifest.commit[:12]}, which is not in this repository"
        refuse("commit-missing", message, _KEEP)
    waiting, branch, wanted = git.layout.in_progress(), git.branch(), site.branch
    if waiting is not None or branch != wanted:
        obstacle = (
            f"{waiting} is in progress" if waiting else f"the checkout is on {branch or 'no branch'}, not {wanted}"
        )
        refuse("code-cannot-return", f"the code cannot be rolled back: {obstacle}", _KEEP)
    refuse_any(*filter_findings(site, manifest.commit))
    _refuse_loss(site, manifest.commit, head)
    commit = commit_with_lock(site, release, manifest.commit)
    return Target(head=head, commit=commit, brings_code=True, forward=False)


def _refuse_loss(site: Site, commit: str, head: str) -> None:
    """Refuse to move back before commits of a person that exist only in this checkout."""
    git, remote = site.git, site.git.remote(site.branch)
    if remote is None:
        return  # without a remote to push to, a rollback keeps the commits under a separate reference
    commits = git.commits(commit, head)
    own = own_commits(site, commits)

    def only_here(*places: str) -> list[Commit]:
        others = [one for one in commits if one.id not in own]
        return [other for other in others if not any(git.is_ancestor(other.id, place) for place in places)]

    places = [*_find_remote_commits(site), *_bundled_commits(site)]
    if not only_here(*places):
        return
    reason = ""
    try:
        places += _ask_remote(site, remote)
    except ToolError as error:
        reason = f"; {unreachable(remote, error).message}"
    if here := only_here(*places):
        count = "1 commit is" if len(here) == 1 else f"{len(here)} commits are"
        message = f"{count} only in this checkout, the newest of them {here[0].id[:12]} ({here[0].subject}){reason}"
        refuse("git-unpushed", message, f"Push first, so that no commit is lost. {_KEEP}")


def _bundled_commits(site: Site) -> list[str]:
    """Return the commits from bundles: the creator of a bundle has them, too."""
    commits = [release.manifest.commit for release in store_of(site).all() if release.provenance.release]
    return [commit for commit in commits if commit and site.git.has_commit(commit)]


def _ask_remote(site: Site, remote: str) -> list[str]:
    """Return the present remote head, if the branch exists; fetch it if it is new. Raises ToolError.

    The time limit is short, as a rollback is urgent.
    """
    branch, git = site.branch, replace(site.git, timeout=min(site.git.timeout, _PATIENCE))
    remote_head = git.remote_commit(remote, branch)
    if remote_head is None:
        return []
    return [remote_head if git.has_commit(remote_head) else git.fetch(remote, branch)]


def _find_remote_commits(site: Site) -> list[str]:
    """Return the known remote heads, without asking the remote."""
    git, branch = site.git, site.branch
    remote = git.remote(branch)
    known = (git.reference(SEEN), git.tracked(remote, branch) if remote else None)
    return [commit for commit in known if commit is not None]


def commit_with_lock(site: Site, release: Release, commit: str) -> str:
    """Return the commit after `commit` in which releaser published the lock of a release; without one, `commit`."""
    git = site.git
    lock, wanted = os.path.relpath(site.project.lock, git.layout.top), read_file(release.lock)
    for line in ("HEAD", *_find_remote_commits(site)):
        found = ""
        for following in git.following(commit, line)[:_MOST_FOLLOWING]:
            if not _has_code_of(site, release, following):
                break
            found = following if is_same_text(git.data(following, lock), wanted) else found
        if found:
            return found
    return commit
