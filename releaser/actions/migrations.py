"""Migrations that are left once a release is live: not applied yet, or applied and not in the release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.candidate.migrations import (
    find_still_unapplied,
    migrations_of_live,
    report_applied_migrations,
    report_migrations,
    report_migrations_of,
)
from releaser.core.action import Action

if TYPE_CHECKING:
    from releaser.core.change import Change, Deployment
    from releaser.releases.journal import Record
    from releaser.report import Step


class Migrations(Action):
    """Reports them; after `after_live`, which may apply some."""

    name = "migrations"
    is_step = False  # it is one only if Django is asked
    causes_rollback = False

    def record(self, change: Change, deployment: Deployment) -> Record:
        """Return the migrations of the release and the code that a rollback leaves, if known."""
        left = migrations_of_live(change.site) if deployment.goes_back else None
        return {} if left is None else {"left": sorted(left)}

    def do(self, change: Change, step: Step) -> None:
        """Ask Django, if necessary."""
        site, log, release = change.site, change.log, change.release
        if change.flip.goes_back:
            left = change.record(self.name).get("left")
            report_applied_migrations(site, log, release, None if left is None else frozenset(left))
        elif change.entry.run_id != log.run_id:  # the report of that run is lost
            report_migrations_of(site, log, release)
        else:
            report_migrations(site, log, find_still_unapplied(site, log, release))
