"""Which releases stay: decided by the record alone, never by the times of files."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from releaser.releases.release import Key, Release
from releaser.releases.store import Store
from releaser.site.settings import KeepSettings


def choose_releases_to_delete(
    store: Store, settings: KeepSettings, at: datetime, key: Key | None = None, in_use: Collection[str] = ()
) -> list[Release]:
    """Return the releases that may go, oldest first.

    Never: the live one, its previous one, pinned, ready and used ones. Good ones stay while they are among the `keep`
    that went live last beside the live one, or were live in the last `keep_within` seconds. Of those that failed a gate
    the newest stays, and the newest with `key`, that of the candidate of this night: it must not be tried again. Rolled
    back ones stay for `keep_within`, and take no place of good ones. Outdated ones go.
    """
    failed = [each for each in store.releases if each.state.state == "failed" and each.manifest.failed_gate]
    alike = [each for each in failed if each.manifest.key == key]
    kept = {each.id for each in (*store.earlier[: max(1, settings.keep)], *failed[:1], *alike[:1])}
    safe, recently = {store.link.release, *kept, *in_use}, at - timedelta(seconds=settings.keep_within)

    def stays(release: Release) -> bool:
        state = release.state
        if release.id in safe or state.pinned or state.state == "ready":
            return True
        if state.state in ("failed", "outdated"):
            return False
        return max(state.live_at, default=release.manifest.created_at) >= recently

    return [release for release in reversed(store.releases) if not stays(release)]
