"""What a page about a site shows: how it stands, its releases and runs, and what is outdated, held and vulnerable."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.answers import RunBrief
from releaser.errors import ReleaserError
from releaser.locks.versions import uploads_in
from releaser.pipelines.status import DEPLOYING, known_vulnerabilities, read_as, status
from releaser.releases.journal import read_history
from releaser.releases.listing import rows
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.reporting.page import LastRun, Overview

if TYPE_CHECKING:
    from releaser.answers import OutdatedPackage
    from releaser.site.site import Site


def overview(site: Site, *, offline: bool) -> Overview:
    """Look at a site; unless `offline`, also ask the index what is newer. Raises PreflightError."""
    now, store = datetime.now(UTC), store_of(site)
    runs = read_history(site.state_dir)
    deployment = next((run for run in runs if run.get("command") in DEPLOYING), {})
    audit = next((run for run in runs if run.get("audit")), {})
    outdated, reason = (None, "it was not asked") if offline else _ask_for_newer(site)
    return Overview(
        at=now,
        status=status(site),
        releases=tuple(rows(store)),
        runs=tuple(one for run in runs if (one := read_as(RunBrief, run))),
        last=read_as(LastRun, deployment) or LastRun(),
        outdated=outdated,
        outdated_reason=reason,
        vulnerabilities=known_vulnerabilities(runs) or (),
        unanswered=str(audit.get("audit_reason") or "no reason is known") if audit.get("audit") == "unknown" else "",
        uploaded=tuple(sorted(filter(None, uploads_in(lock_of(store.live()), now).times.values()))),
    )


def _ask_for_newer(site: Site) -> tuple[tuple[OutdatedPackage, ...] | None, str]:
    from releaser.candidate.lock_builds import lock_builds
    from releaser.resolution.outdated import find_outdated

    try:
        return find_outdated(site, lock_builds(site)).packages, ""
    except ReleaserError as error:
        return None, error.message
