"""The commit that goes live: the head of the upstream, or HEAD where that cannot be followed, and why."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping

import msgspec

from releaser.checkout.pending import Pending, read_pending
from releaser.checkout.problems import explain_submodules
from releaser.checkout.repository import Repository
from releaser.errors import BuildError, PreflightError, Problem, ToolError, refuse, require
from releaser.packages.changes import find_older
from releaser.packages.lock import Lock, parse_lock
from releaser.releases.release import Release
from releaser.site.site import Site, site_at
from releaser.system.run import Run
from releaser.system.text import count, join_few, word

_ALONE = ("--no-merges", "--full-history")  # each commit is compared with its one parent
_OWN_COMMIT = re.compile(r"\w+ (Update|Roll back) \d+ packages?$", re.MULTILINE)  # as `describe_commit` says


class Target(msgspec.Struct, frozen=True):
    """The commit to go live. `head` is HEAD of the checkout; `code_key` is the hash of the commit's code.

    `moves_code` is True if HEAD has other code: then the checkout moves by a change alone, with restart and health.
    `publishes` is True if a lock may be committed on `commit` and pushed; else `reason` says why not, with `advice`
    unless a person wished that. `is_rewritten` is True for a remote that is not followed until a person asks.
    """

    head: str
    commit: str
    code_key: str
    publishes: bool
    reason: str = ""
    advice: str = ""
    is_rewritten: bool = False
    moves_code: bool = False
    #: True if HEAD has commits of people that are not pushed.
    is_unpushed: bool = False
    #: That the newest commit of the upstream is on hold; empty if it is not.
    held: str = ""

    @property
    def problem(self) -> Problem | None:
        """The problem to report when something goes live without its lock being committed."""
        return Problem("not-published", self.reason, self.advice) if self.advice else None


def choose_target(
    site: Site,
    repository: Repository,
    head: str,
    pending: Pending,
    held_code: frozenset[str] = frozenset(),
    *,
    follow_remote: bool = False,
) -> Target:
    """Return the commit to go live, from HEAD and from what was fetched last.

    `held_code` are the keys of the code of commits on hold; `follow_remote` goes to the upstream's head in any case.
    Raises PreflightError if people's commits would be lost or have diverged from the upstream, or for submodules.
    """
    branch = site.settings.site.branch

    def target(commit: str, reason: str = "", advice: str = "") -> Target:
        key = repository.code_key(commit, *site.committed_paths)
        require(explain_submodules(site, repository.find_submodules(commit), commit))
        if commit == head and key in held_code:
            message = f"HEAD of the checkout, {head[:12]}, is a commit on hold."
            advice = f"Push a correction, or run `releaser unhold {head[:12]}` to try it again."
            raise refuse("held-head", message, advice)
        return Target(head, commit, key, not reason, reason, advice)

    upstream = repository.upstream(branch)
    if repository.follows_bundles(branch):
        return target(head, "The commits of this host come by bundles, and its lock is not committed.")
    if upstream is None or not site.settings.git.git_pull:
        return target(head)
    remote = repository.upstream_head(branch)
    if not remote:
        message = f"The upstream `{upstream.name}` does not exist."
        return target(head, message, f"Run `git push -u {word(upstream.remote)} {word(branch)}`.")
    base = head
    while base in pending.commits and not repository.is_ancestor(base, remote):
        base = repository.resolve(f"{base}^")  # a commit that is not pushed is made again on the remote's head
    if follow_remote and (lost := _find_lost_commits(repository, pending, head, remote, pending.remote_head)):
        message = f"Commits of the checkout that are on no remote would be lost: {join_few(lost)}."
        raise refuse("unpushed-commits", message, "Push them to another branch: `git push REMOTE HEAD:BRANCH`.")
    was_left = any(repository.is_ancestor(base, each) for each in pending.left_heads)  # a rollback has gone back to it
    is_behind = was_left and repository.is_ancestor(pending.remote_head, remote)
    if follow_remote or is_behind or repository.is_ancestor(base, remote):
        commit = head if base == remote else remote
        is_held = bool(held_code) and repository.code_key(commit, *site.committed_paths) in held_code
        if is_held and commit != head:
            held = f"commit {commit[:12]} of `{upstream.name}` is on hold"
            without = target(head, f"C{held[1:]}; packages are updated without it.")
            return msgspec.structs.replace(without, held=held)
        return target(commit)
    if pending.remote_head and (was_left or repository.is_ancestor(base, pending.remote_head)):
        message = f"The remote branch `{upstream.name}` moved back or was rewritten; it is not followed."
        advice = "If that is right, run `releaser update --follow-remote`."
        return msgspec.structs.replace(target(head, message, advice), is_rewritten=True)
    ahead = repository.commits_between(remote, base)
    if repository.is_ancestor(remote, base):
        message = f"The checkout has {count(len(ahead), 'unpushed commit')}; the lock is not committed on top."
        advice = f"Run `git -C {word(site.paths.top)} push`."
        return msgspec.structs.replace(target(head, message, advice), is_unpushed=True)
    message = f"`{branch}` and `{upstream.name}` have diverged: {count(len(ahead), 'commit')} only here."
    raise refuse("diverged", message, f"Run `git -C {word(site.paths.top)} pull --rebase`, then push.")


def choose_bundled(site: Site, repository: Repository, head: str, commit: str, holds: frozenset[str]) -> Target:
    """Return the commit of a bundle, which was fetched, as what goes live; nothing is committed on it.

    `holds` are the keys of the code of commits on hold. Raises PreflightError unless HEAD is among its ancestors.
    """
    if not repository.resolve(commit):
        message = f"The bundle does not bring its commit, {commit[:12]}, nor does the checkout have it."
        raise refuse("no-commit", message, "Install the full bundle.")
    require(explain_submodules(site, repository.find_submodules(commit), commit))
    key, key_of_head = (repository.code_key(name, *site.committed_paths) for name in (commit, head))
    if key in holds:
        advice = f"Make a bundle of a correction, or run `releaser unhold {commit[:12]}` to try it again."
        raise refuse("held-commit", f"The commit of the bundle, {commit[:12]}, is on hold.", advice)
    base, pending = head, read_pending(site.paths)
    while base in pending.commits and not repository.is_ancestor(base, commit):
        base = repository.resolve(f"{base}^")
    if repository.is_ancestor(commit, base) and base != commit:
        ahead = count(len(repository.commits_between(commit, base)), "commit")
        message = f"The checkout is newer than the bundle, by {ahead}."
        raise refuse("older-bundle", message, "To go back, run `releaser rollback`; see `releaser list`.")
    if not repository.is_ancestor(base, commit):
        lost = join_few([name[:12] for name in repository.commits_between(commit, base)])
        message = f"The checkout has commits that the bundle does not have: {lost}."
        raise refuse("diverged", message, "Push them to where the bundle is made, and make another one.")
    return Target(head, commit, key, publishes=False, moves_code=key != key_of_head)


def _find_lost_commits(repository: Repository, pending: Pending, head: str, *heads: str) -> list[str]:
    """Return the commits of people that `head` has, and no remote, none of `heads` and no lost head of the upstream."""
    kept = [f"^{commit}" for commit in (*heads, *pending.left_heads) if commit and repository.resolve(commit)]
    only_here = repository.read("rev-list", head, *kept, "--not", "--remotes").split()
    return [commit[:12] for commit in only_here if commit not in pending.commits]


def fetch_upstream(site: Site, run: Run, repository: Repository, *options: str) -> None:
    """Fetch the upstream. Raises BuildError if the remote does not answer."""
    upstream = repository.upstream(site.settings.site.branch)
    if upstream is None or not site.settings.git.git_pull:
        return
    with run.step("fetch"):
        try:
            repository.fetch(upstream, *options)
        except ToolError as error:
            message = f"The remote `{upstream.remote}` could not be fetched: {error.message}"
            branch = upstream.branch.removeprefix("refs/heads/")
            git = f"git -C {word(site.paths.top)}"
            advice = f"Run `{git} fetch {word(upstream.remote)} {word(branch)}` to see why."
            if "couldn't find remote ref" in error.output:
                message = f"The remote `{upstream.remote}` has no branch `{branch}` any more."
                steps = f"{git} fetch {word(upstream.remote)} && {git} branch -m {word(branch)} NEW"
                advice = (
                    f"If it is called `NEW` now, run `{steps} && {git} branch -u {word(upstream.remote)}/NEW`, and "
                )
                advice += "set `branch` to `NEW`."
            raise BuildError(message, advice, output=error.output) from error


def site_for_commit(site: Site, repository: Repository, target: Target) -> Site:
    """Return the site with the settings of the commit that goes live. Raises PreflightError."""
    require_free_state(site, repository, target.commit)
    if target.commit == target.head:
        return site
    path = site.paths.pyproject.relative_to(site.paths.top).as_posix()
    text = repository.file_at(target.commit, path)
    if text is None:
        message = f"Commit {target.commit[:12]} has no {path}."
        raise refuse("no-pyproject", message, "Revert the commit that deleted it.")
    return site_at(site, text, target.commit)


def require_free_state(site: Site, repository: Repository, commit: str) -> None:
    """Raise PreflightError if a commit has a file at or below the state directory, which git would write into."""
    if site.paths.state.is_relative_to(site.paths.top):
        path = site.paths.state.relative_to(site.paths.top).as_posix()
        if found := repository.read("ls-tree", "-r", "--name-only", commit, "--", f":(literal){path}"):
            message = f"Commit {commit[:12]} has `{found.splitlines()[0]}`, which lies in the state directory."
            raise refuse("state-in-commit", message, "Revert that, or set `state_dir` to another directory.")


class Lowered(msgspec.Struct, frozen=True):
    """The packages of which the lock of one commit has an older version than that of an earlier one.

    `by_people` are those that a commit or a merge of a person has lowered on purpose, with the version there;
    `reverted` those that only a revert of a commit of releaser did. `commit` is the newest of these commits.
    """

    by_people: Mapping[str, str] = {}
    reverted: Mapping[str, str] = {}
    commit: str = ""


def find_lowered(site: Site, repository: Repository, before: str, after: str) -> Lowered:
    """Return what commits of people have lowered in uv.lock between two commits. A rollback elsewhere is none."""
    path = site.paths.lockfile_in_tree
    lock = _read_lock_at(repository, after, path)
    names = _list_lowered(repository, before, after, path) if before != after and lock else {}
    span = f"{before}..{after}"
    log = repository.read("log", *_ALONE, "--format=%H %B%x00", span, "--", path) if names else ""
    by_people, reverted, by_releaser, newest = dict[str, str](), dict[str, str](), dict[str, str](), ""
    for commit in filter(None, map(str.strip, log.split("\0"))):
        sha, is_own = commit.split()[0], bool(_OWN_COMMIT.match(commit))
        if is_own:  # it explains the very versions that it has chosen, upwards or downwards
            by_releaser |= _list_chosen(repository, sha, path, names)
            continue
        found = {name: names[name] for name in _list_lowered(repository, f"{sha}^", sha, path) if name in names}
        chosen = reverted if "\nThis reverts commit " in commit else by_people
        chosen |= found
        newest = newest or (sha[:12] if found else "")
    merged = {name: label for name, label in names.items() if name not in by_people | reverted | by_releaser}
    if merged and repository.is_ancestor(before, after):  # what no commit alone has lowered, a merge has
        merge = repository.read("rev-list", "--merges", "--max-count=1", span)
        by_people |= merged if merge else {}
        newest = newest or merge[:12]
    return Lowered(by_people, {name: label for name, label in reverted.items() if name not in by_people}, newest)


def _list_chosen(repository: Repository, commit: str, path: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return those of the versions that the lock of a commit has, and that of its parent has not."""
    old, new = (_read_lock_at(repository, each, path) for each in (f"{commit}^", commit))
    if old is None or new is None:
        return {}
    chosen = {name: labels - old.versions.get(name, frozenset()) for name, labels in new.versions.items()}
    return {name: label for name, label in names.items() if label in chosen.get(name, ())}


def _list_lowered(repository: Repository, before: str, after: str, path: str) -> dict[str, str]:
    """Return the packages of which the lock of a commit has one version, older than in another one, with that."""
    old, new = (_read_lock_at(repository, commit, path) for commit in (before, after))
    older = {name: [*new.versions[name]] for name in find_older(old, new)} if old and new else {}
    return {name: labels[0] for name, labels in older.items() if len(labels) == 1}


def _read_lock_at(repository: Repository, commit: str, path: str) -> Lock | None:
    """Return the lock of a commit; None if it has none that can be read."""
    with contextlib.suppress(PreflightError):
        text = repository.file_at(commit, path) if repository.resolve(commit) else None
        return parse_lock(text) if text else None
    return None


# Of a rollback


def choose_commit_of(site: Site, repository: Repository, release: Release) -> str:
    """Return the commit of a release: the one with its lock if a remote has it or a push waits, else the tested one.

    Never one with other code, which an earlier version may have noted. Raises PreflightError if the repository does not
    have it any more.
    """
    lived, key = release.state.commit, release.manifest.key.code_key
    is_waiting = lived in read_pending(site.paths).commits
    is_there = lived and repository.resolve(lived) and (is_waiting or repository.is_on_a_remote(lived))
    if is_there and repository.code_key(lived, *site.committed_paths) == key:
        return lived
    if not repository.resolve(release.manifest.commit):
        message = f"Commit {release.manifest.commit[:12]} of release {release.id} is not in the repository any more."
        advice = f"Run `releaser rollback {release.id} --keep-code` to leave the code as it is."
        raise refuse("no-commit", message, advice)
    return release.manifest.commit


def require_kept_commits(site: Site, repository: Repository, head: str, commit: str) -> None:
    """Raise PreflightError if a move from `head` to `commit` would lose commits of people that are on no remote."""
    if lost := _find_lost_commits(repository, read_pending(site.paths), head, commit):
        message = f"The checkout has commits that are on no remote: {join_few(lost)}."
        advice = "Push them, or leave the code as it is: `releaser rollback --keep-code`."
        raise refuse("unpushed-commits", message, advice)


def require_no_submodules(repository: Repository, release: Release, head: str, commit: str) -> None:
    """Raise PreflightError if one of the two commits has submodules: the move of a rollback would tear them apart."""
    for name in (head, commit):
        if names := [f"`{path}`" for path in repository.find_submodules(name)]:
            message = f"Commit {name[:12]} has submodules, which releaser does not move: {join_few(names)}."
            advice = f"Leave the code as it is: `releaser rollback {release.id} --keep-code`."
            raise refuse("submodules", message, advice)


def may_commit_older(site: Site, repository: Repository, head: str, held_code: frozenset[str]) -> bool:
    """Return True if HEAD is the head of the upstream, as last fetched, so that the older lock can be pushed."""
    try:
        target = choose_target(site, repository, head, read_pending(site.paths), held_code)
    except PreflightError:
        return False
    return target.publishes and target.commit == target.head
