"""Why a checkout is not fit for an update: its git, branch, upstream or changed files."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence

from releaser.checkout.own_files import find_dirty_files, find_export_problems, find_tracked_venv
from releaser.checkout.repository import CheckoutState, Repository
from releaser.errors import Problem, ToolError
from releaser.releases.release import Release
from releaser.site.project import get_table, read_pyproject, read_text
from releaser.site.site import Site
from releaser.system.text import join_few, redact, word

LOWEST_GIT = "2.31"
#: Files in the directory of git while a command waits for a person.
_UNDER_WAY = {
    "MERGE_HEAD": "merge",
    "rebase-merge": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}


def read_checkout(site: Site, repository: Repository) -> tuple[CheckoutState | None, list[Problem]]:
    """Return where the checkout is; None, with a problem, if git does not say it."""
    try:
        if repository.is_too_old():
            version = repository.read("version").partition("git version ")[2]
            return None, [Problem("old-git", f"git is {version}.", f"Install git {LOWEST_GIT} or newer.")]
        repository.directories  # noqa: B018 - asked here, where a broken repository is a problem and no error
        return repository.state(), []
    except ToolError as error:
        return None, [explain_git_error(site, error)]


def explain_git_error(site: Site, error: ToolError) -> Problem:
    """Return the problem of a git that does not answer."""
    return Problem("git", error.message, error.advice or f"Run `git -C {word(site.paths.top)} status` to see why.")


def find_problems(site: Site, repository: Repository, state: CheckoutState, live: Release | None) -> list[Problem]:
    """Return why the checkout is not fit for an update. Raises ToolError."""
    branch = site.settings.site.branch
    if not state.head:
        return [Problem("no-commit", "The checkout has no commit.", "Commit the project with its uv.lock.")]
    for name, command in _UNDER_WAY.items():
        if os.path.lexists(repository.directories[0] / name):
            message = f"A `git {command}` is under way in the checkout."
            advice = f"Finish it, or run `git -C {word(repository.top)} {command} --abort`."
            return [Problem("under-way", message, advice)]
    if state.branch != branch:
        return [_explain_other_branch(repository, branch, state.branch)]
    upstream = repository.upstream(branch)
    return [
        *repository.find_lock("HEAD", f"refs/heads/{branch}", *([f"refs/remotes/{upstream.name}"] if upstream else [])),
        *repository.find_unwritable(),
        *_find_upstream_problems(site, repository),
        *(find_tracked_venv(site, repository.list_files(state.head)) or find_dirty_files(site, state, live)),
        *find_export_problems(site, repository, state.changed),
    ]


def explain_submodules(site: Site, paths: Sequence[str], commit: str = "") -> list[Problem]:
    """Return a problem if HEAD, or a commit that is not here yet, has submodules, registered or not, at these paths."""
    if not paths:
        return []
    name, place = (f"Commit {commit[:12]}", "") if commit else ("HEAD of the checkout", " in a clone")
    message = f"{name} has submodules, which releaser does not move: {join_few([f'`{path}`' for path in paths])}."
    pull = "" if commit else f"; then run `git -C {word(site.paths.top)} pull`"
    advice = f"Run `git rm --cached {shlex.join(paths)}`{place}, commit and push{pull}."
    return [Problem("submodules", message, f"{advice} Or turn them into path or git dependencies.")]


def find_other_sites(
    site: Site, repository: Repository, head: str, moved: Collection[str] | None = None
) -> list[Problem]:
    """Return a problem for each other project of the checkout that has a venv here: its code would move untested.

    A project has a uv.lock in the commit `head`; members of a workspace have none. With `moved`, the paths that a
    rollback changes, a project counts if one of them is in it.
    """
    upstream, problems = repository.upstream(site.settings.site.branch), list[Problem]()
    for lock in sorted(path for path in repository.list_files(head) if f"/{path}".endswith("/uv.lock")):
        project = (site.paths.top / lock).parent
        table = get_table(read_pyproject(read_text(project / "pyproject.toml")[0], "")[0], "tool", "releaser")
        names = {".venv", site.settings.site.venv, table.get("venv") if isinstance(table, dict) else None}
        venvs = [project / name for name in sorted(map(str, filter(None, names)))]
        venv = next((each for each in venvs if each.is_symlink() or (each / "pyvenv.cfg").is_file()), None)
        is_moved = moved is None or any((site.paths.top / path).is_relative_to(project) for path in moved)
        if project == site.paths.project or not is_moved or venv is None:
            continue
        message = f"The checkout has another site, with `{venv}`: its code would move without its tests."
        remote = word(upstream.remote if upstream else "origin")
        url = f'"$(git -C {word(site.paths.top)} remote get-url {remote})"'
        clone = f"`git clone {url} {word(f'{site.paths.top}-{project.name}')}`"
        advice = f"Give one of the two a checkout of its own: {clone}; then remove the venv here: `rm -r {word(venv)}`."
        advice += "" if moved is None else " Or leave the code as it is: `releaser rollback --keep-code`."
        problems.append(Problem("two-sites", message, advice))
    return problems


def _explain_other_branch(repository: Repository, branch: str, current: str) -> Problem:
    switch = f"Run `git switch {word(branch)}`, then run releaser again."
    if not repository.resolve(f"refs/heads/{branch}"):
        switch = f"No branch `{branch}` exists: run `releaser setup --set branch={word(current or 'NAME')}`."
    if not current:
        return Problem("detached-head", f"HEAD is detached, not on the branch `{branch}`.", switch)
    return Problem("other-branch", f"The checkout is on `{current}`, not on `{branch}`.", switch)


def _find_upstream_problems(site: Site, repository: Repository) -> list[Problem]:
    branch, upstream = site.settings.site.branch, repository.upstream(site.settings.site.branch)
    if upstream is None:
        if not (site.settings.git.git_pull or site.settings.git.git_push) or repository.follows_bundles(branch):
            return []
        message = f"The branch `{branch}` has no upstream."
        advice = f"Run `git branch -u REMOTE/{word(branch)}`, or set `git_pull` and `git_push` to `false`."
        return [Problem("no-upstream", message, advice)]
    if upstream.remote not in repository.remotes():
        message = f"The branch `{branch}` follows `{redact(upstream.remote)}`, which is no remote with a name."
        return [
            Problem(
                "other-upstream", message, f"Run `git remote add NAME URL` and `git branch -u NAME/{word(branch)}`."
            )
        ]
    if schemes := repository.exposed_schemes(upstream.remote):
        message = f"The URL of `{upstream.remote}` has a password, which `{schemes[0]}` shows to all users here."
        command = f"git -C {word(site.paths.top)} remote set-url {word(upstream.remote)} URL"
        advice = f"Use `https` or a key for `ssh`: `{command}`."
        return [Problem("exposed-password", message, advice)]
    if upstream.branch != f"refs/heads/{branch}":
        message = f"The branch `{branch}` follows `{upstream.name}`, which has another name."
        advice = (
            f"Run `git branch -u {word(upstream.remote)}/{word(branch)}`, or rename the local branch and set `branch`."
        )
        return [Problem("other-upstream", message, advice)]
    return []
