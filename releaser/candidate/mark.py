"""What a run decides about a release once it is known how it does: good, or bad and quarantined."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.locks.changes import LockDiff
from releaser.releases.quarantine import (
    CandidateKey,
    FailedCandidate,
    Quarantine,
    RejectedCommit,
    change_holds,
    change_quarantine,
    read_quarantine,
)
from releaser.releases.store import store_of
from releaser.resolution.resolve import lock_of
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.releases.release import Release
    from releaser.site.site import Site


def mark_good(site: Site, release: Release) -> None:
    """Record that a release is live and good, which lifts the quarantine and the tests' holds of all in it."""
    store_of(site).record(lambda ledger: ledger.marked(release.id, "good").activated(release.id))
    quarantine = read_quarantine(site.state_dir)
    lifted = quarantine.without(lock_of(release).versions, key_of(release))
    lifted = lifted.without_commits(_overtaken(site, release, lifted))
    if lifted != quarantine:
        change_quarantine(site.state_dir, lambda _: lifted)
    change_holds(site.state_dir, lambda holds: holds.without_live(lock_of(release).versions))


def _overtaken(site: Site, release: Release, quarantine: Quarantine) -> frozenset[str]:
    """Return the rejected commits on top of which somebody has built what is live and good now."""
    git, commit = site.git, release.manifest.commit
    if commit is None:
        return frozenset()
    try:
        return frozenset(one.commit for one in quarantine.commits if git.is_ancestor(one.commit, commit))
    except ToolError:
        return frozenset()


def mark_bad(
    site: Site,
    release: Release,
    reason: str,
    *,
    versions: Mapping[str, str] | None = None,
    commit: RejectedCommit | None = None,
    blameless: bool = False,
) -> None:
    """Record that a release was backed out, and keep out what is to blame: the very candidate, versions, a commit.

    What is `blameless` is kept out of nothing. The version of a local package is a matter of the code, so that it may
    come again with other code.
    """
    store_of(site).record(lambda ledger: ledger.marked(release.id, "bad"))
    if blameless:
        change_quarantine(
            site.state_dir, lambda quarantine: quarantine
        )  # were there none, it would be made from all that is bad
        return
    at = timestamp()
    failed = FailedCandidate(key=key_of(release), release=release.id, reason=reason, at=at)

    def rejecting(quarantine: Quarantine) -> Quarantine:
        changed = quarantine.with_versions(versions or {}, release=release.id, reason=reason, at=at)
        changed = changed.with_candidate(failed)
        return changed.with_commit(commit) if commit is not None else changed

    change_quarantine(site.state_dir, rejecting)


def reject_commit(site: Site, commit: str, code_key: str, reason: str) -> RejectedCommit:
    """Return the entry that keeps a commit from coming in again by itself."""
    with contextlib.suppress(ToolError):
        subject = site.git.subject(commit)
        return RejectedCommit(commit=commit, code_key=code_key, subject=subject, reason=reason, at=timestamp())
    return RejectedCommit(commit=commit, code_key=code_key, subject="", reason=reason, at=timestamp())


def brought_by(release: Release, since: Release | None = None) -> dict[str, str]:
    """Return the versions that came in with a release, or after the release `since`; local packages do not count."""
    lock = lock_of(release)
    found = release.manifest.brought if since is None else LockDiff.between(lock_of(since), lock).brought
    return {name: versions for name, versions in found.items() if name not in lock.local}


def key_of(release: Release) -> CandidateKey:
    """Return what made this release's candidate differ from others."""
    manifest = release.manifest
    return CandidateKey(
        lock_sha256=lock_of(release).key, code_key=manifest.code_key, python=manifest.python, group=manifest.group
    )
