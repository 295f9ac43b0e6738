"""Which releases stay: decided by the record alone, never by the times of files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from releaser.releases.release import Key, Release


def choose_releases_to_delete(  # noqa: PLR0913 - the whole policy, and it is pure
    releases: Sequence[Release],
    *,
    live: str | None,
    previous: str | None,
    keep: int,
    keep_within: float,
    at: datetime,
    key: Key | None = None,
    in_use: Collection[str] = (),
) -> list[Release]:
    """Return the releases that may go, oldest first.

    Never: the live one, its previous one, pinned, ready and used ones. Good ones stay while they are among the `keep`
    that went live last beside the live one, or were live in the last `keep_within` seconds. Of those that failed a gate
    the newest stays, and the newest with `key`, that of the candidate of this night: it must not be tried again. Rolled
    back ones stay for `keep_within`, and take no place of good ones. Outdated ones go.
    """
    safe = {live, previous, *in_use}
    ordered = sorted(releases, key=lambda release: (release.state.order, release.age_key), reverse=True)
    good = [release for release in ordered if release.state.state == "good" and release.id != live]
    kept = {release.id for release in good[:keep]}
    failed = [release for release in ordered if release.state.state == "failed" and release.manifest.failed_gate]
    failed.sort(key=lambda release: release.age_key)
    kept |= {release.id for release in [release for release in failed if release.manifest.key == key][-1:]}
    kept |= {release.id for release in failed[-1:]}
    recently = at - timedelta(seconds=keep_within)

    def stays(release: Release) -> bool:
        state = release.state
        if release.id in safe or release.id in kept or state.pinned or state.state == "ready":
            return True
        if state.state in ("failed", "outdated"):
            return False
        return max(state.live_at, default=release.manifest.created_at) >= recently

    return sorted((release for release in releases if not stays(release)), key=lambda release: release.age_key)
