"""Deletes the releases that the policy lets go."""

from __future__ import annotations

import contextlib

from releaser.bundles.host import prune_files
from releaser.errors import ToolError, explain_error
from releaser.releases.lease import is_used, name_users
from releaser.releases.link import read_link
from releaser.releases.release import Key, Release
from releaser.releases.retention import choose_releases_to_delete
from releaser.releases.store import SiteRun, Store, delete_unused_release
from releaser.report.outcomes import Outcome, make_done, make_unchanged
from releaser.site.site import Site
from releaser.system import process
from releaser.system.files import measure
from releaser.system.run import now
from releaser.system.text import count, format_bytes, join_few, word

_CACHE_MARGIN = 64 << 20  # bytes by which uv's cache may be larger than the live release
_PATIENCE, _CLEANING = "2", 60.0  # seconds for uv's lock, and in all


def choose(site: Site, store: Store, key: Key | None = None, *, used_too: bool = False) -> list[Release]:
    """Return the releases that may be deleted now, oldest first; `used_too` with those that a process still uses."""
    in_use = [release.id for release in store.releases if not used_too and is_used(release.directory)]
    return choose_releases_to_delete(store, site.settings.keep, now(), key, in_use)


def prune_releases(site: Site, run: SiteRun, key: Key | None = None) -> list[str]:
    """Delete old releases; return their ids."""
    deleted = []
    run.store = run.store.linked(read_link(site.paths))  # a person may have changed it
    with run.step("prune") as detail:
        for release in choose(site, run.store, key):
            try:
                if read_link(site.paths).release != release.id and delete_unused_release(release.directory):
                    deleted.append(release.id)
            except OSError as error:
                message = f"Release {release.id} cannot be deleted: {explain_error(error)}"
                run.add_problem("not-deleted", message, f"See `ls -la {word(site.paths.releases)}`.")
        run.store = run.store.without(*deleted)
        run.has_pruned = True
        prune_files(site.paths)
        detail.append(f"deleted {join_few(deleted)}" if deleted else "nothing to delete")
    return deleted


def clean_cache(site: Site, run: SiteRun) -> None:
    """Empty uv's cache if it has outgrown the live release, at the end of a run that pruned; the next one tries again.

    It waits for a lock that uv holds where a person runs it, so nothing may wait for this.
    """
    live = run.store.live
    if live is None or not run.has_pruned or not site.paths.cache.is_dir():
        return
    size = measure(site.paths.cache, own=True)
    if size > _CACHE_MARGIN and size > measure(live.venv) + _CACHE_MARGIN:
        words, env = site.uv_command("cache", "clean", mark=run.id, variables={"UV_LOCK_TIMEOUT": _PATIENCE})
        with contextlib.suppress(ToolError):
            process.run(words, cwd=site.paths.project, env=env, timeout=_CLEANING)


def prune(site: Site, run: SiteRun) -> Outcome:
    """The command: delete old releases."""
    deleted = prune_releases(site, run)
    for release in choose(site, run.store, used_too=True):
        run.note(f"Release {release.id} is kept, since {name_users(release.directory)} uses it.")
    return make_done(f"Deleted {join_few(deleted)}.") if deleted else make_unchanged("Nothing to delete.")


def preview_prune(site: Site) -> Outcome:
    """Say what `prune` would delete."""
    releases = choose(site, Store(site.paths))
    size = format_bytes(sum(measure(release.directory) for release in releases))
    names = join_few([release.id for release in releases], 20)
    if not releases:
        return make_unchanged("Nothing to delete.")
    return make_unchanged(f"Would delete {count(len(releases), 'release')} ({size}): {names}.")
