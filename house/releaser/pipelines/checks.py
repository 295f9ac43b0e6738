"""Every check before a run: one list, so that all problems are named at once."""

from __future__ import annotations

import os
from pathlib import Path

from releaser.candidate import tests
from releaser.checkout import repository
from releaser.errors import PreflightError, Problem, require
from releaser.live import health, restart
from releaser.packages.lock import read_lock
from releaser.releases.link import read_link
from releaser.releases.store import Store
from releaser.site.site import Site


def find_problems(site: Site, *, initializing: bool = False) -> list[Problem]:
    """Return every reason why an update of the site would be refused."""
    return [
        *site.problems,
        *_find_lock_problems(site),
        *repository.find_problems(site),
        *([] if initializing else _find_link_problems(site)),
        *restart.find_problems(site),
        *health.find_problems(site),
        *_find_state_problems(site),
    ]


def require_ready(site: Site) -> None:
    """Raise PreflightError with all problems."""
    require(find_problems(site))


def _find_lock_problems(site: Site) -> list[Problem]:
    try:
        lock = read_lock(site.paths.lockfile)
    except PreflightError as error:
        return list(error.problems)
    problems = tests.find_problems(site, lock)
    if not repository.open_repository(site).is_tracked(str(site.paths.lockfile)):
        problems.append(Problem("untracked-lock", "uv.lock is not in git.", "Run `git add uv.lock`, and commit it."))
    return problems


def _find_link_problems(site: Site) -> list[Problem]:
    link, store = read_link(site.paths), Store(site.paths)
    path = site.paths.link
    if link.kind == "release" and store.live is not None:
        return []
    newest = store.newest_good
    back = f"`releaser rollback {newest.id}` makes the last good release live again" if newest else ""
    if link.kind == "missing" and newest is None:
        return [Problem("no-release", f"`{path}` does not exist.", "Run `releaser init` to build the first release.")]
    if link.kind == "foreign":
        kind = f"a link to `{link.text}`" if link.is_symlink else "a directory"
        message = f"`{path}` is {kind}, which releaser did not make."
        advice = f"{back}; `releaser init` adopts what is there." if back else "Run `releaser init` to adopt it."
        return [Problem("foreign-venv", message, advice)]
    message = f"`{path}` does not lead to a release that exists."
    return [Problem("no-live-release", message, f"{back}." if back else "Run `releaser init`.")]


def _find_state_problems(site: Site) -> list[Problem]:
    state = site.paths.state
    for directory in (state, *state.parents):
        if directory.is_dir():
            return [] if os.access(directory, os.W_OK | os.X_OK) else [_report_unwritable(directory)]
        if directory.exists() or directory.is_symlink():
            return [Problem("no-state-directory", f"`{directory}` is no directory.", "Move it away.")]
    return []


def _report_unwritable(directory: Path) -> Problem:
    message = f"The state directory cannot be written: {directory}."
    return Problem("no-state-directory", message, f"Run `sudo chown $(id -un) {directory}`, or set `state_dir`.")
