"""What must be right about the checkout before a run: the branch, a clean tree, the remote."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from releaser.checkout.commits import own_commits
from releaser.errors import Finding, ToolError, error_line
from releaser.site.disk import work_tree_dispute
from releaser.site.project import local_sources
from releaser.site.site import Checkout
from releaser.system.words import first_few
from releaser.tools.git_reader import CheckoutState, Commit, asks_for_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from releaser.errors import Findings
    from releaser.site.site import Site
    from releaser.tools.git_reader import Layout


def check_checkout(
    site: Site, findings: Findings, pending: frozenset[str], litter: frozenset[str], state: CheckoutState | None = None
) -> Checkout | None:
    """Check the checkout as `git status` shows it, now or a moment ago in `state`; None where git does not work."""
    try:
        layout = site.git.layout
        state = state or site.git.state()
        remote = site.git.remote(site.settings.branch) if site.settings.git_pull or site.settings.git_push else None
    except ToolError as error:
        findings.problems.append(_not_a_repository(site, error))
        return None
    findings.extend(_branch_findings(site, state, layout))
    findings.extend(_dirt_findings(site, state, layout, pending, litter))
    findings.extend(lock_findings(site))
    findings.extend(_staging_findings(site, layout))
    findings.extend(filter(None, [work_tree_dispute(site.project, layout)]))
    findings.extend(_hidden_findings(site))
    if remote is None and (site.settings.git_pull or site.settings.git_push):
        findings.problems.append(
            Finding(
                f"{site.project.root}: git has no remote to pull from and push to",
                advice="Add one (`git remote add origin URL`), or set git_pull and git_push to false.",
            )
        )
    return Checkout(layout=layout, state=state, remote=remote)


def _staging_findings(site: Site, layout: Layout) -> Iterator[Finding]:
    """Check that a tree can be made beside the repository, where that is not beside the project."""
    place = layout.top.parent
    if place != site.project.outer and not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            f"{place} is not writable for this user, so the staging tree cannot lie beside the repository",
            advice=f"Let this user write {place}.",
        )


def _hidden_findings(site: Site) -> Iterator[Finding]:
    """Check that git is told to overlook no edit: the tests would run without it, and visitors would get it."""
    try:
        hidden = site.git.hidden_edits()
    except ToolError as error:
        yield _not_a_repository(site, error)
        return
    if hidden:
        shown = first_few(hidden)
        yield Finding(
            f"{site.project.root}: --skip-worktree or --assume-unchanged hides edits from `git status`: {shown}",
            advice="Commit them, or keep them in a file that git does not track, and"
            f" `git update-index --no-skip-worktree --no-assume-unchanged {hidden[0]}`.",
        )


def lock_findings(site: Site) -> Iterator[Finding]:
    """Check that a uv.lock that is a symlink leads to a file of the repository, which a commit can take."""
    link, lock = site.project.root / "uv.lock", site.project.lock
    with contextlib.suppress(ToolError):
        if link.is_symlink() and not lock.is_relative_to(site.git.layout.top):
            yield Finding(
                f"{link} is a symlink to {lock}, which is outside the repository",
                advice="Make it a file, or a symlink to a file in the repository.",
            )


def _not_a_repository(site: Site, error: ToolError) -> Finding:
    return Finding(
        f"{site.project.root}: {': '.join(filter(None, (error.message, error_line(error.output))))}",
        advice="Run releaser as a user for whom `git status` works here.",
    )


def _branch_findings(site: Site, state: CheckoutState, layout: Layout) -> Iterator[Finding]:
    wanted = site.settings.branch
    waiting = layout.in_progress()
    if waiting is not None:
        yield Finding(
            f"{site.project.root}: {waiting} is in progress",
            advice="Finish or abort it; `git status` shows how.",
        )
    elif state.branch is None:
        yield Finding(f"{site.project.root}: HEAD is detached", advice=f"Check out the branch: `git switch {wanted}`.")
    elif state.branch != wanted:
        yield Finding(
            f"{site.project.root}: branch {state.branch} is checked out, not {wanted}",
            advice=f"`git switch {wanted}`, or set `branch`.",
        )
    if state.head is None:
        yield Finding(f"{site.project.root}: there is no commit yet", advice="Commit the project first.")


def _dirt_findings(
    site: Site, state: CheckoutState, layout: Layout, pending: frozenset[str], litter: frozenset[str]
) -> Iterator[Finding]:
    ours = own_paths(site, layout.top)
    dirty = [path for path in state.dirty if path not in pending]
    untracked = [path for path in state.untracked if path not in pending | litter and not is_below(path, ours)]
    found = dirty + untracked
    if found:
        shown = first_few(found)
        yield Finding(
            f"{site.project.root}: the working tree is not clean: {shown}",
            advice="Commit, ignore or remove these; releaser runs only what is committed.",
        )


def own_paths(site: Site, top: Path) -> tuple[str, ...]:
    """List what may lie untracked in the work tree: releaser's own things, and where uv takes local packages from."""
    project = site.project
    sources = [project.root / source for source in local_sources(site.pyproject)]
    places = [project.venv, project.state_dir, *sources]
    return tuple(str(place.relative_to(top)) for place in places if place.is_relative_to(top) and place != top)


def is_below(path: str, places: tuple[str, ...]) -> bool:
    """Tell whether a path is one of these places, or lies in one."""
    name = path.rstrip("/")
    return any(name == place or name.startswith(place + "/") for place in places)


def remote_findings(site: Site, remote: str | None) -> Iterator[Finding]:
    """Ask the remote whether it can be pulled from, without fetching; releaser's own commits would give way."""
    if remote is None or not site.settings.git_pull:
        return
    branch = site.settings.branch
    try:
        theirs = site.git.remote_commit(remote, branch)
    except ToolError as error:
        yield unreachable(remote, error)
        return
    if theirs is None:
        yield no_such_branch(remote, branch)
        return
    with contextlib.suppress(ToolError):  # a commit that is not here yet can only be judged once it is fetched
        ahead, behind = site.git.apart(f"refs/heads/{branch}", theirs)
        if ahead and behind and not {one.id for one in ahead} <= own_commits(site, ahead):
            yield diverged(remote, branch)


def unreachable(remote: str, error: ToolError) -> Finding:
    """Say why a remote does not answer: it wants credentials, or it is not there."""
    if asked := asks_for_credentials(error):
        return Finding(
            f"git remote {remote} asks for a password, a key or a trusted host key: {asked}",
            advice="Give this user a key or a credential helper that works without a person, or set git_pull to false.",
            output=error.output,
        )
    return Finding(
        f"git remote {remote} cannot be read: {error_line(error.output) or error.message}",
        advice="Check the URL and the network; releaser tries again at the next run.",
        output=error.output,
    )


def no_such_branch(remote: str, branch: str) -> Finding:
    """Say that the remote lacks the branch."""
    return Finding(
        f"git remote {remote} has no branch {branch}",
        advice=f"`git push {remote} {branch}`, or set `branch`.",
    )


def rewritten(remote: str, branch: str, theirs: str, lost: Sequence[Commit], *, moved_back: bool) -> Finding:
    """Say that the remote branch lacks commits that it had before."""
    what = "was moved back" if moved_back else "was rewritten"
    count = "1 commit" if len(lost) == 1 else f"{len(lost)} commits"
    newest = f"{lost[0].id[:12]} ({lost[0].subject})"
    return Finding(
        f"{branch} on {remote} {what} to {theirs[:12]}: {count} that it had before, up to {newest}, are live here",
        advice=(
            f"`releaser update --follow-remote` tests what is there now and goes live with it;"
            f" `git push {remote} {branch}` puts the commits back."
        ),
    )


def diverged(remote: str, branch: str) -> Finding:
    """Say that a pull would need a merge."""
    return Finding(
        f"{branch} here and on {remote} have diverged, so a pull would not be a fast-forward",
        advice=f"Reconcile them by hand, for example with `git pull --rebase {remote} {branch}`, then `git push`.",
    )
