"""The files of the checkout that releaser itself writes: uv.lock of the live release, and the export of a lock."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from releaser.checkout.repository import CheckoutState, Repository, open_repository
from releaser.errors import Problem, require
from releaser.packages.resolve import group_arguments
from releaser.releases.release import EXPORT, Release
from releaser.site.site import Site
from releaser.system.files import lies_behind_link, read_regular_file, replace_file
from releaser.system.text import join_few, word


def find_dirty_files(site: Site, state: CheckoutState, live: Release | None) -> list[Problem]:
    """Return a problem that names the changed tracked files, but for what releaser has written."""
    export, lock = site.committed_paths[-1], site.paths.lockfile_in_tree
    own = {export} if export in state.changed and has_own_export(site) else set()
    own |= {lock} if lock in state.changed and has_lock_of(site, live) else set()
    if tracked := find_tracked_venv(site, state.changed):
        return tracked
    dirty = [f"`{path}`" for path in state.changed if path not in own]
    message = f"Tracked files of the checkout are changed: {join_few(dirty)}."
    advice = f"Commit or stash them: `git -C {word(site.paths.top)} status`."
    return [Problem("changed-files", message, advice)] if dirty else []


def find_tracked_venv(site: Site, paths: Collection[str]) -> list[Problem]:
    """Return a problem if the venv, or a file in it, is one of these paths of git: a link takes its place."""
    venv = os.path.relpath(site.paths.link, site.paths.top)
    command = f"git -C {word(site.paths.top)} rm -r --quiet --cached {word(venv)}"
    advice = f"Run `{command}`, write `/{venv}` into .gitignore, commit and push. Other clones lose theirs by a pull."
    is_tracked = any(f"{path}/".startswith(f"{venv}/") for path in paths)
    return [Problem("tracked-venv", f"git has `{venv}`, which a link replaces.", advice)] if is_tracked else []


def find_hidden_changes(site: Site, paths: Sequence[str]) -> list[Problem]:
    """Return a problem that names the changed files which git was told to skip: a release is tested without them.

    uv.lock and the export are named as such: git would commit none of what an update writes there.
    """
    names, own = join_few([f"`{path}`" for path in paths]), {*site.committed_paths}.issuperset(paths)
    message = f"Tracked files of the checkout are changed, and git was told not to show it: {names}."
    message = f"git was told to skip {names}, so updates could not commit what they write there." if own else message
    git = f"git -C {word(site.paths.top)} update-index"
    shown = " && ".join(f"{git} --no-{flag} {shlex.join(paths)}" for flag in ("skip-worktree", "assume-unchanged"))
    move = "" if own else "Move what this host needs into files that git ignores, such as `.env`; then run "
    return [Problem("changed-files", message, f"{move or 'Run '}`{shown}`.")] if paths else []


def has_lock_of(site: Site, release: Release | None) -> bool:
    """Return True if uv.lock in the checkout is the lock of a release."""
    try:
        return release is not None and read_regular_file(site.paths.lockfile) == release.lock.read_bytes()
    except OSError:
        return False


def has_own_export(site: Site) -> bool:
    """Return True if the export in the checkout is that of a release: only releaser has written it."""
    try:
        content = read_regular_file(site.export) if site.export else None
        return content in [path.read_bytes() for path in site.paths.releases.glob(f"*/{EXPORT}")]
    except OSError:
        return False


def make_export(site: Site, tree: Path, release: Path, *, mark: str) -> None:
    """Put the export of a tree's lock into a release, if the site wants one. Raises PreflightError and ToolError."""
    require(find_wrong_export(site, tree))
    if site.export is not None:
        words = ["export", "--quiet", "--frozen", "--format", "requirements.txt", *group_arguments(site)]
        text = site.run_uv(*words, cwd=tree, mark=mark).stdout.replace("uv --color never ", "uv ", 1)
        replace_file(release / EXPORT, text.encode(errors="surrogateescape"))


def find_wrong_export(site: Site, project: Path) -> list[Problem]:
    """Return why the export cannot be written in `project`, the site's or that of a shadow."""
    name = site.settings.git.requirements_export
    path = project / name
    if not name or not (site.export is None or path.is_symlink() or lies_behind_link(project, name) or path.is_dir()):
        return []
    message = f"The setting `requirements_export` is `{name}`, but must be a .txt file in the project, and no link."
    is_here = project == site.paths.project  # a shadow is gone when a person reads this
    advice = f"Name another file, or look at `ls -ld {word(path)}`." if is_here else "Name another file, and commit."
    return [Problem("wrong-export", message, advice)]


def find_export_problems(site: Site, repository: Repository, changed: Collection[str]) -> list[Problem]:
    """Return why the export cannot be written in the checkout; `changed` are its changed tracked files."""
    problems = find_wrong_export(site, site.paths.project)
    if problems or site.export is None or not site.export.exists() or has_own_export(site):
        return problems
    own = site.committed_paths[1]
    if own not in changed and repository.is_tracked(str(site.export)):
        return []
    name = site.settings.git.requirements_export
    message = f"The setting `requirements_export` is `{name}`, but the file that exists is not committed."
    advice = f"Move it away, or commit it: `git -C {word(site.paths.top)} add {word(own)}`."
    return [Problem("wrong-export", message, advice)]


def find_stale_export(site: Site) -> str:
    """Return a hint about a tracked requirements.txt that uv has generated, and that no run updates; else empty."""
    path = site.paths.project / EXPORT
    if site.export is not None or not path.is_file() or b"autogenerated by uv" not in path.read_bytes()[:200]:
        return ""
    if not open_repository(site).is_tracked(str(path)):
        return ""
    setting = f'`requirements_export = "{EXPORT}"` in `[tool.releaser]`'
    return f"{EXPORT} was generated by uv, and updates do not change it. To export it with each commit, set {setting}."
