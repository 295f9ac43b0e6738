"""Commits and pushes the lock: on top of the upstream, never forced, never a person's work."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable

import msgspec

from releaser.checkout.move import put_file
from releaser.checkout.pending import Pending, read_pending, write_pending
from releaser.checkout.repository import NETWORK, Repository, find_export_problems, has_live_lock
from releaser.errors import Problem, ReleaserError, ToolError, refuse, require
from releaser.releases.link import read_link
from releaser.releases.release import EXPORT
from releaser.site.site import Site
from releaser.system.files import sync_file_system
from releaser.system.run import Run
from releaser.system.text import count

_REMOTE_LINE = re.compile(r"^remote: (.*\S)", re.MULTILINE)
_IDENTITY = {"GIT_AUTHOR_NAME": "releaser", "GIT_AUTHOR_EMAIL": "releaser@localhost"}
_COMMITTER = {"GIT_COMMITTER_NAME": "releaser", "GIT_COMMITTER_EMAIL": "releaser@localhost"}


class Published(msgspec.Struct, frozen=True):
    """The commit that was made, if any, and the problem that kept it from the remote: the next run tries again."""

    commit: str = ""
    problem: Problem | None = None


def publish(
    site: Site, run: Run, repository: Repository, write_message: Callable[[], str], *, timeout: float = NETWORK
) -> Published:
    """Commit uv.lock, with a message, if it is that of the live release and not HEAD's; push releaser's commits."""
    pending = read_pending(site.paths, run)
    commit = ""
    try:
        if site.paths.lockfile_in_tree in repository.changed_tracked_files() and has_live_lock(site):
            if repository.head_ref() != _name_branch(site):
                raise refuse("other-branch", f"the checkout is not on `{site.settings.site.branch}`.")
            pending, commit = _commit_lock(site, repository, pending, write_message())
    except (ReleaserError, OSError) as error:
        reason = error.message if isinstance(error, ReleaserError) else str(error)
        message = f"uv.lock could not be committed: {reason}"
        advice = f"See `git -C {site.paths.top} status`. The next run tries again."
        return Published(problem=Problem("not-committed", message, advice))
    return Published(commit, push_pending(site, repository, pending, timeout=timeout))


def push_pending(site: Site, repository: Repository, pending: Pending, *, timeout: float = NETWORK) -> Problem | None:
    """Push releaser's commits if HEAD is the newest of them and no person's commit would go along."""
    branch = site.settings.site.branch
    upstream, head = repository.upstream(branch), repository.head()
    if repository.head_ref() != _name_branch(site):
        return None
    if head not in pending.commits:
        if pending.commits and not any(repository.is_ancestor(commit, head) for commit in pending.commits):
            write_pending(site.paths, pending, commits=(), reason="")  # made again elsewhere, or dropped by a person
        return None
    if upstream is None or not site.settings.git.git_push:
        return None
    remote = repository.upstream_head(branch)
    if remote and not repository.is_ancestor(remote, head):
        return None  # the next update makes the commit again, on the head of the remote
    unpushed = repository.commits_between(remote, head) if remote else []
    foreign = [commit for commit in unpushed if commit not in pending.commits]
    if foreign:
        message = (
            f"Nothing was pushed: releaser's commit is on top of {count(len(foreign), 'unpushed commit')} of people."
        )
        return Problem("not-pushed", message, f"Run `git -C {site.paths.top} push`.")
    try:
        repository.push(head, upstream, timeout=timeout)
    except ToolError as error:
        reason = " ".join(_REMOTE_LINE.findall(error.output)[:3]) or error.message
        write_pending(site.paths, pending, reason=reason)
        message = f"Commit {head[:12]} could not be pushed: {reason}"
        return Problem("not-pushed", message, "The next run tries again.")
    write_pending(site.paths, pending, commits=(), reason="", remote_head=head)
    return None


def _name_branch(site: Site) -> str:
    return f"refs/heads/{site.settings.site.branch}"


def _commit_lock(site: Site, repository: Repository, pending: Pending, message: str) -> tuple[Pending, str]:
    """Commit uv.lock and the export alone; what a person has staged stays staged. Returns the commit.

    It is pending before it is on the branch, so that no kill makes it a person's. Not by `git commit --only`, which
    does not sync the index that it writes (seen with git 2.39).
    """
    paths, head = [site.paths.lockfile_in_tree, *_put_export(site)], repository.head()
    has_identity = repository.ask("config", "user.email") and repository.ask("config", "user.name")
    variables = {} if has_identity else _IDENTITY | _COMMITTER
    repository.run("update-index", "--add", "--", *paths)
    with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:
        variables = {**variables, "GIT_INDEX_FILE": f"{place}/index"}
        repository.run("read-tree", head, variables=variables)
        repository.run("update-index", "--add", "--", *paths, variables=variables)
        tree = repository.read("write-tree", variables=variables)
    commit = repository.read("commit-tree", tree, "-p", head, "-m", message, variables=variables)
    pending = write_pending(site.paths, pending, commits=(*pending.commits, commit), reason="no push was tried.")
    repository.run("update-ref", "-m", f"commit: {message.splitlines()[0]}", _name_branch(site), commit, head)
    sync_file_system(site.paths.top)
    return pending, commit


def _put_export(site: Site) -> list[str]:
    """Put the export of the live release into the checkout and return its path, never over a person's work."""
    export = site.paths.releases / str(read_link(site.paths).release) / EXPORT
    if site.export is None or not export.is_file():
        return []
    require(find_export_problems(site, site.paths.project))
    put_file(site.export, export.read_bytes())
    return [site.committed_paths[1]]


def remember_remote(site: Site, repository: Repository) -> None:
    """Record the head of the upstream if the checkout has it: a remote that moves back from there is not followed."""
    pending, head = read_pending(site.paths), repository.head()
    remote, before = repository.upstream_head(site.settings.site.branch), pending.remote_head
    has_moved_back = before and repository.is_ancestor(remote, before) and repository.is_ancestor(before, head)
    if remote and repository.is_ancestor(remote, head) and not has_moved_back:
        write_pending(site.paths, pending, remote_head=remote)
