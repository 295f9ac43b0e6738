"""What a run decides about a release once it is known how it does: good, or bad and quarantined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.releases.quarantine import CandidateKey, FailedCandidate

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.run import Run


def mark_good(run: Run, release: Release) -> None:
    """Record that a release is live and good; whoever chose a backed-out one lifts its quarantine by that."""
    was_bad = run.store.ledger().marks.get(release.id) == "bad"
    run.store.record(lambda ledger: ledger.marked(release.id, "good").activated(release.id))
    if was_bad:
        run.change_quarantine(lambda quarantine: quarantine.without_release(release.id))


def mark_bad(run: Run, release: Release, reason: str) -> None:
    """Record that a release was backed out, and keep out what it brought: these versions, and the very candidate."""
    run.store.record(lambda ledger: ledger.marked(release.id, "bad"))
    manifest = release.manifest
    key = CandidateKey(
        lock_sha256=manifest.lock_sha256,
        code_key=manifest.code_key,
        python=manifest.python,
        group=manifest.group,
    )
    at = run.now_iso()
    run.change_quarantine(
        lambda quarantine: quarantine.with_versions(
            manifest.brought, release=release.id, reason=reason, at=at
        ).with_candidate(FailedCandidate(key=key, release=release.id, reason=reason, at=at))
    )
