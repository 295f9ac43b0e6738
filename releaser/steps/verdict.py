"""What a run decides about a release once it is known how it does: good, or bad and quarantined."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.errors import ToolError
from releaser.locking.diff import LockDiff
from releaser.releases.quarantine import CandidateKey, FailedCandidate, Quarantine, RejectedCommit
from releaser.steps.resolve import lock_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.releases.release import Release
    from releaser.run import Run


def mark_good(run: Run, release: Release) -> None:
    """Record that a release is live and good, which lifts the quarantine and the tests' holds of all in it."""
    run.store.record(lambda ledger: ledger.marked(release.id, "good").activated(release.id))
    quarantine = run.quarantine()
    lifted = quarantine.without(lock_of(release).versions, key_of(release))
    lifted = lifted.without_commits(_overtaken(run, release, lifted))
    if lifted != quarantine:
        run.change_quarantine(lambda _: lifted)
    run.change_holds(lambda holds: holds.without_live(lock_of(release).versions))


def _overtaken(run: Run, release: Release, quarantine: Quarantine) -> frozenset[str]:
    """Return the rejected commits on top of which somebody has built what is live and good now."""
    git, commit = run.site.git, release.manifest.commit
    if commit is None:
        return frozenset()
    try:
        return frozenset(one.commit for one in quarantine.commits if git.is_ancestor(one.commit, commit))
    except ToolError:
        return frozenset()


def mark_bad(
    run: Run,
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
    run.store.record(lambda ledger: ledger.marked(release.id, "bad"))
    if blameless:
        run.change_quarantine(lambda quarantine: quarantine)  # were there none, it would be made from all that is bad
        return
    at = run.now_iso()
    failed = FailedCandidate(key=key_of(release), release=release.id, reason=reason, at=at)

    def rejecting(quarantine: Quarantine) -> Quarantine:
        changed = quarantine.with_versions(versions or {}, release=release.id, reason=reason, at=at)
        changed = changed.with_candidate(failed)
        return changed.with_commit(commit) if commit is not None else changed

    run.change_quarantine(rejecting)


def reject_commit(run: Run, commit: str, code_key: str, reason: str) -> RejectedCommit:
    """Return the entry that keeps a commit from coming in again by itself."""
    with contextlib.suppress(ToolError):
        subject = run.site.git.subject(commit)
        return RejectedCommit(commit=commit, code_key=code_key, subject=subject, reason=reason, at=run.now_iso())
    return RejectedCommit(commit=commit, code_key=code_key, subject="", reason=reason, at=run.now_iso())


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
