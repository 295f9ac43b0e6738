"""Deletes the releases that the policy lets go."""

from __future__ import annotations

from releaser.errors import explain_os_error
from releaser.releases.lease import claim, is_used
from releaser.releases.release import Key, Release
from releaser.releases.retention import choose_releases_to_delete
from releaser.releases.store import Store, delete_release
from releaser.report.outcome import Outcome
from releaser.site.site import Site
from releaser.system.files import measure
from releaser.system.run import Run, now
from releaser.system.text import count, format_bytes, join_few

_CACHE_MARGIN = 64 << 20  # bytes by which uv's cache may be larger than the live release


def choose(site: Site, key: Key | None = None) -> list[Release]:
    """Return the releases that may be deleted now, oldest first."""
    store = Store(site.paths)
    return choose_releases_to_delete(
        store.releases,
        live=store.link.release,
        previous=store.previous.id if store.previous else None,
        keep=site.settings.keep.keep,
        keep_within=site.settings.keep.keep_within,
        at=now(),
        key=key,
        in_use=[release.id for release in store.releases if is_used(release.directory)],
    )


def prune_releases(site: Site, run: Run, key: Key | None = None) -> str:
    """Delete old releases, and a cache of uv that has outgrown the live release; return what, in words."""
    deleted = []
    for release in choose(site, key):
        try:
            with claim(release.directory) as is_free:
                if is_free:
                    delete_release(release.directory)
                    deleted.append(release.id)
        except OSError as error:
            message = f"Release {release.id} cannot be deleted: {explain_os_error(error)}."
            run.report("not-deleted", message, f"See `ls -la {site.paths.releases}`.")
    _clean_cache(site, run)
    return f"deleted {join_few(deleted)}" if deleted else "nothing to delete"


def _clean_cache(site: Site, run: Run) -> None:
    live = Store(site.paths).live
    if live is None or not site.paths.cache.is_dir():
        return
    if measure(site.paths.cache, own=True) > measure(live.venv) + _CACHE_MARGIN:
        site.run_uv("cache", "clean", cwd=site.paths.project, mark=run.id, check=False)


def prune(site: Site, run: Run) -> Outcome:
    """The command: delete old releases."""
    with run.step("prune") as detail:
        words = prune_releases(site, run)
        detail.append(words)
    code = 7 if run.problems else 0
    return Outcome("no-changes" if words.startswith("nothing") else "updated", code, f"{words[0].upper()}{words[1:]}.")


def preview_prune(site: Site) -> Outcome:
    """Say what `prune` would delete."""
    releases = choose(site)
    size = format_bytes(sum(measure(release.directory) for release in releases))
    names = join_few([release.id for release in releases], 20)
    if not releases:
        return Outcome("no-changes", 0, "Nothing to delete.")
    return Outcome("no-changes", 0, f"Would delete {count(len(releases), 'release')} ({size}): {names}.")
