"""Every check before a run: one list, so that all problems are named at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from releaser.candidate import tests
from releaser.candidate.namespace import can_mount
from releaser.candidate.shadow import find_original, list_large_entries
from releaser.checkout import repository
from releaser.errors import PreflightError, Problem, require
from releaser.live import health, hooks, restart
from releaser.packages.changes import find_edits
from releaser.packages.lock import read_lock
from releaser.pipelines import adopt
from releaser.releases.link import read_link
from releaser.releases.release import Release
from releaser.releases.store import Store
from releaser.releases.verify import list_stray_files
from releaser.site.site import Site
from releaser.system.text import join_few


def find_problems(site: Site, *, initializing: bool = False) -> list[Problem]:
    """Return every reason why an update of the site would be refused."""
    problems = [
        *site.problems,
        *_find_lock_problems(site),
        *repository.find_problems(site),
        *([] if initializing else _find_link_problems(site)),
        *restart.find_problems(site),
        *health.find_problems(site),
        *hooks.find_problems(site),
        *_find_state_problems(site),
        *_find_shadow_problems(site),
    ]
    link = read_link(site.paths)
    if initializing and not site.problems and link.kind == "foreign" and not link.is_symlink:
        problems += adopt.find_problems(site)
    return problems


def describe_shadow(site: Site) -> str:
    """Say where the tests run, and which files of the site they see read-only or not at all."""
    is_mounted = _can_mount(site)
    large = [str(path) for path in list_large_entries(site)]
    where = "at the site's own paths" if is_mounted else "at a path of their own"
    how = "see read-only" if is_mounted else "do not see"
    return f"{where}; they {how}: {', '.join(large)}." if large else f"{where}."


def _can_mount(site: Site) -> bool:
    with tempfile.TemporaryDirectory(prefix="releaser-") as place:
        return can_mount(site, Path(place), find_original(site))


def _find_shadow_problems(site: Site) -> list[Problem]:
    if site.settings.tests.shadow != "required" or _can_mount(site):
        return []
    message = "The setting `shadow` is `required`, but this kernel does not let this user mount anything."
    return [Problem("no-namespaces", message, "Set `shadow` to `auto`, or allow user namespaces.")]


def require_ready(site: Site, *, force: bool = False) -> None:
    """Raise PreflightError with all problems; `force` replaces a venv that a person has edited."""
    require([problem for problem in find_problems(site) if not (force and problem.code == "edited-venv")])


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
        return find_edited_venv(store.live)
    newest = store.newest_good
    back = f"`releaser rollback {newest.id}` makes the last good release live again" if newest else ""
    if link.kind == "missing" and newest is None:
        return [Problem("no-release", f"`{path}` does not exist.", "Run `releaser init` to build the first release.")]
    if link.kind == "foreign":
        kind = f"a link to `{link.text}`" if link.is_symlink else "a directory"
        message = f"`{path}` is {kind}, which releaser did not make."
        adopt = f"`rm {path}` and `releaser init` build a release" if link.is_symlink else "`releaser init` adopts it"
        advice = f"{back}; {adopt}." if back else f"{adopt}."
        return [Problem("foreign-venv", message, advice)]
    message = f"`{path}` does not lead to a release that exists."
    return [Problem("no-live-release", message, f"{back}." if back else "Run `releaser init`.")]


def find_edited_venv(live: Release) -> list[Problem]:
    """Return a problem that names the packages that a person has put into the live venv."""
    edits = find_edits(live)
    edits += [f"{path} was put there by hand" for path in list_stray_files(live.venv)]
    if not edits:
        return []
    message = f"The live release was edited: {join_few(edits, 3)}."
    advice = "Add what you need to pyproject.toml; `releaser update --force` builds from the lock, without the rest."
    return [Problem("edited-venv", message, advice)]


def _find_state_problems(site: Site) -> list[Problem]:
    if not site.paths.link.parent.is_dir():
        message = f"The setting `venv` is `{site.settings.site.venv}`, but `{site.paths.link.parent}` does not exist."
        return [Problem("wrong-venv", message, f"Run `mkdir -p {site.paths.link.parent}`, or correct `venv`.")]
    state = site.paths.state
    place = next(path for path in (state, *state.parents) if os.path.lexists(path))
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return []
    message = f"The state directory cannot be written: {place}."
    return [Problem("no-state-directory", message, f"Run `sudo chown $(id -un) {place}`, or set `state_dir`.")]
