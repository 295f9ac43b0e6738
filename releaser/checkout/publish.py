"""Which lock is worth a commit; its commit and push: on top of the upstream, never forced, never a person's work."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Sequence

import msgspec

from releaser.checkout.move import put_file
from releaser.checkout.own_files import find_export_problems, has_lock_of, make_export
from releaser.checkout.pending import Pending, read_pending, write_pending
from releaser.checkout.repository import CheckoutState, Repository
from releaser.errors import Problem, ReleaserError, ToolError, explain_error, refuse, require
from releaser.packages.changes import compare_locks, find_older
from releaser.packages.indexes import has_accepted_moves
from releaser.packages.lock import Lock, parse_lock, read_lock
from releaser.releases.journal import PUSH, Entry
from releaser.releases.release import EXPORT, PackageChange, Release
from releaser.site.site import Site
from releaser.system.files import sync_file_system
from releaser.system.run import Run
from releaser.system.text import LONGEST_LINE, clip, count, join_few, word

_LEFT_HEADS = 5  # of a remote that is rewritten again and again
_REMOTE_LINE = re.compile(r"^remote: (.*\S)|^ ! \[remote rejected\] .*\((.+)\)$", re.MULTILINE)
#: Words in the refusals of servers: the branch is protected, or this key may not push.
_REFUSALS = re.compile(
    r"declined|protected|GH0\d\d|denied|not allowed|not permitted|not authorized|read.only|\b403\b", re.IGNORECASE
)
_IDENTITY = {"GIT_AUTHOR_NAME": "releaser", "GIT_AUTHOR_EMAIL": "releaser@localhost"}
_COMMITTER = {"GIT_COMMITTER_NAME": "releaser", "GIT_COMMITTER_EMAIL": "releaser@localhost"}


class Published(msgspec.Struct, frozen=True):
    """The commit that was made, if any, and the problem that kept it from the remote: the next run tries again."""

    commit: str = ""
    problem: Problem | None = None


def is_worth_commit(
    repository: Repository,
    commit: str,
    path: str,
    release: Release,
    held: frozenset[str] = frozenset(),
    *,
    may_lower: bool = False,
) -> bool:
    """Return True if the lock of a release is worth a commit on top of `commit`: it is news for the lock there."""
    text, lock = repository.file_at(commit, path), read_lock(release.lock)
    return text is None or is_news(parse_lock(text, f"uv.lock of {commit[:12]}"), lock, held, may_lower=may_lower)


def is_news(committed: Lock, lock: Lock, held: frozenset[str] = frozenset(), *, may_lower: bool = False) -> bool:
    """Return True if a lock has other packages, versions, sources or files than the committed one, and may replace it.

    Unless it `may_lower` them, as a rollback may, none may be older than there: a host that merely holds a version
    keeps its lock to itself. No rule orders the commits of a package from git, so another one of a package on hold,
    of `held`, counts as older.
    """
    if committed.identities == lock.identities and not has_accepted_moves(committed, lock):
        return False
    moved = {name for name in held if committed.versions.get(name) != lock.versions.get(name)}
    is_git = any(package.source.commit for name in moved for package in (*committed.find(name), *lock.find(name)))
    return may_lower or not (is_git or find_older(committed, lock))


def describe_commit(changes: Sequence[PackageChange], verb: str) -> str:
    """Return a message for these changes; the verb is `Update` or `Roll back`."""
    lines = [f"{verb} {count(len(changes), 'package')}", ""] if changes else ["Update uv.lock", ""]
    lines += [f"{change.name} {change.old or 'none'} -> {change.new or 'none'}" for change in changes]
    return "\n".join(lines).rstrip() + "\n"


def publish(site: Site, run: Run, repository: Repository, release: Release, entry: Entry) -> Published:
    """Commit uv.lock if it is the live release's and not HEAD's, and push; `entry` is the change that this ends."""
    pending = read_pending(site.paths, run)
    commit = ""
    try:
        state = repository.state()
        if site.paths.lockfile_in_tree in state.changed and has_lock_of(site, release):
            if state.branch != site.settings.site.branch:
                raise refuse("other-branch", f"the checkout is not on `{site.settings.site.branch}`.")
            message = _prepare_commit(site, repository, release, entry, mark=run.id)
            pending, commit = _commit_lock(site, repository, state, pending, release, message)
            state = msgspec.structs.replace(state, head=commit)
    except (ReleaserError, OSError) as error:
        message = f"uv.lock could not be committed: {explain_error(error)}"
        advice = f"See `git -C {word(site.paths.top)} status`. The next run tries again."
        return Published(problem=Problem("not-committed", message, advice))
    run.problems = [problem for problem in run.problems if problem.name != "not-pushed"]  # which this push tries again
    return Published(commit, push_pending(site, repository, state, pending, timeout=entry.push_timeout))


def may_push(site: Site, repository: Repository, state: CheckoutState, pending: Pending) -> bool:
    """Return True if HEAD is a commit of releaser that waits for a push, and the remote has not moved on."""
    branch, upstream = site.settings.site.branch, repository.upstream(site.settings.site.branch)
    if state.branch != branch or state.head not in pending.commits or not (upstream and site.settings.git.git_push):
        return False
    remote = repository.upstream_head(branch)
    return not remote or repository.is_ancestor(remote, state.head)  # else the commit is made again, on that head


def push_pending(
    site: Site, repository: Repository, state: CheckoutState, pending: Pending, *, timeout: float = PUSH
) -> Problem | None:
    """Push releaser's commits, in `timeout` seconds, if no person's would go along; return why they wait."""
    branch, head = site.settings.site.branch, state.head
    is_waiting = state.branch == branch and pending.commits and head not in pending.commits
    if is_waiting and not any(repository.is_ancestor(commit, head) for commit in pending.commits):
        write_pending(site.paths, pending, commits=(), reason="")  # made again elsewhere, or dropped by a person
    upstream = repository.upstream(branch)
    if upstream is None or not may_push(site, repository, state, pending):
        return None
    remote = repository.upstream_head(branch)
    unpushed = repository.commits_between(remote, head) if remote else []
    foreign = [commit for commit in unpushed if commit not in pending.commits]
    if foreign:
        commits = count(len(foreign), "unpushed commit")
        message = f"Nothing was pushed: releaser's commit is on top of {commits} of people."
        return Problem("not-pushed", message, f"Run `git -C {word(site.paths.top)} push`.")
    try:
        repository.push(head, upstream, timeout=timeout)
    except ToolError as error:
        lines = _REMOTE_LINE.findall(error.output)
        words, refusals = ([line[number] for line in lines if line[number]] for number in (0, 1))
        reason = clip(" ".join([*words[:3], *refusals[:1]]), LONGEST_LINE) or error.message
        write_pending(site.paths, pending, reason=reason)
        message = f"Commit {head[:12]} could not be pushed: {clip(' '.join(words[:3]), LONGEST_LINE) or reason}"
        return Problem("not-pushed", message, advise_on_push(site, repository, head, reason))
    write_pending(site.paths, pending, commits=(), reason="", **_follow_head(repository, pending, head))
    return None


def advise_on_push(site: Site, repository: Repository, commit: str, reason: str) -> str:
    """Return what a person can do about a commit that could not be pushed."""
    upstream = repository.upstream(site.settings.site.branch)
    if upstream is None or not _REFUSALS.search(reason):
        return "The next run tries again."
    push = f"git -C {word(site.paths.top)} push {word(upstream.remote)} {commit[:12]}:refs/heads/releaser-{commit[:12]}"
    advice = f"Open a merge request from a branch: `{push}`; the next update after its merge follows it."
    return f"{advice} Or give this host a deploy key that may push, or set `git_push` to `false`."


def explain_waiting(site: Site, repository: Repository, commits: Collection[str]) -> list[Problem]:
    """Return a problem if these commits of releaser, oldest first, wait for a push."""
    if not commits:
        return []
    commit, reason = [*commits][-1], read_pending(site.paths).reason
    advice = advise_on_push(site, repository, commit, reason)
    return [Problem("not-pushed", f"Commit {commit[:12]} is not pushed: {reason}", advice)]


def list_unpushed(site: Site, repository: Repository, commits: Sequence[str]) -> dict[str, str]:
    """Return releaser's commits that the remote has not, oldest first, each with its changes. Raises ToolError."""
    remote = repository.upstream_head(site.settings.site.branch)
    words = ["--no-show-signature", "--max-count=100", "--format=%H %b%x00", "HEAD"]
    words += [f"^{remote}"] if remote else []
    log = repository.read("log", *words) if commits else ""
    entries = [entry.strip().partition(" ") for entry in reversed(log.split("\0"))]
    return {commit: join_few(body.splitlines()) for commit, _, body in entries if commit in commits}


def _prepare_commit(site: Site, repository: Repository, release: Release, entry: Entry, *, mark: str) -> str:
    """Return the message for a release's lock, and make a missing export. Raises PreflightError and ToolError."""
    if not (release.directory / EXPORT).exists():
        make_export(site, site.paths.project, release.directory, mark=mark)
    before = repository.file_at("HEAD", site.paths.lockfile_in_tree)
    changes = compare_locks(parse_lock(before) if before else None, read_lock(release.lock))
    return describe_commit(changes, "Roll back" if entry.is_way_back else "Update")


def _commit_lock(
    site: Site, repository: Repository, state: CheckoutState, pending: Pending, release: Release, message: str
) -> tuple[Pending, str]:
    """Commit uv.lock and the export alone; what a person has staged stays staged. Returns the commit.

    It is pending before it is on the branch, so that no kill makes it a person's. Not by `git commit --only`, which
    does not sync the index that it writes (seen with git 2.39).
    """
    paths = [site.paths.lockfile_in_tree, *_put_export(site, repository, state, release)]
    has_identity = all(repository.config.get(f"user.{key}", ("",))[-1] for key in ("email", "name"))
    variables = {} if has_identity else _IDENTITY | _COMMITTER
    repository.run("update-index", "--add", "--", *paths)
    with tempfile.TemporaryDirectory(prefix=site.paths.temporary_prefix) as place:
        variables = {**variables, "GIT_INDEX_FILE": f"{place}/index"}
        repository.run("read-tree", state.head, variables=variables)
        repository.run("update-index", "--add", "--", *paths, variables=variables)
        tree = repository.read("write-tree", variables=variables)
    commit = repository.read("commit-tree", tree, "-p", state.head, "-m", message, variables=variables)
    pending = write_pending(site.paths, pending, commits=(*pending.commits, commit), reason="no push was tried.")
    log = f"commit: {message.splitlines()[0]}"
    repository.run("update-ref", "-m", log, f"refs/heads/{state.branch}", commit, state.head)
    sync_file_system(site.paths.top)
    return pending, commit


def _put_export(site: Site, repository: Repository, state: CheckoutState, release: Release) -> list[str]:
    """Put the export of a release into the checkout and return its path, never over a person's work."""
    export = release.directory / EXPORT
    if site.export is None or not export.is_file():
        return []
    require(find_export_problems(site, repository, state.changed))
    put_file(site.export, export.read_bytes())
    return [site.committed_paths[1]]


def remember_remote(site: Site, repository: Repository, head: str) -> None:
    """Record the head of the upstream if HEAD has it: a remote that moves back from there is not followed."""
    pending = read_pending(site.paths)
    remote, before = repository.upstream_head(site.settings.site.branch), pending.remote_head
    if remote == before:
        return
    has_moved_back = before and repository.is_ancestor(remote, before) and repository.is_ancestor(before, head)
    if remote and repository.is_ancestor(remote, head) and not has_moved_back:
        write_pending(site.paths, pending, **_follow_head(repository, pending, remote))


def _follow_head(repository: Repository, pending: Pending, head: str) -> dict[str, object]:
    """Return the changes of what is pending for another head of the upstream; the one that it has lost stays known."""
    before, left = pending.remote_head, pending.left_heads
    is_lost = before and not repository.is_ancestor(before, head)
    return {"remote_head": head, "left_heads": (*left, before)[-_LEFT_HEADS:] if is_lost else left}
