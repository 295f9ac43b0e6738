"""New migrations of a release: with `migrations = "refuse"`, they must be applied before it goes live."""

from __future__ import annotations

from releaser.candidate.migrations import describe_migrate_commands, find_missing, find_new
from releaser.core.gate import Case, Found, Gate, Verdict, Wait
from releaser.errors import MigrationsError
from releaser.releases.store import store_of
from releaser.site.django_settings import MigrationSettings
from releaser.system.words import first_few


class BroughtMigrations(Gate):
    """Finds the new migrations of a candidate that are not applied; the manifest gets them."""

    stage = "tested"

    def judge(self, case: Case) -> Verdict:
        """Ask Django."""
        return Found(facts={"migrations": find_new(case.work, case.built)})


class AppliedMigrations(Gate):
    """Waits until they are applied."""

    def judge(self, case: Case) -> Verdict:
        """Ask Django."""
        if MigrationSettings.of(case.site).migrations != "refuse":
            return None
        release = store_of(case.site).get(case.built.parent.name)
        names = find_missing(case.site, case.log, release) if release is not None else ()
        if release is None or not names:
            return None
        reason = f"migrations are not applied: {first_few(names)}"
        message = f"{reason}; {release.id} does not go live, because `migrations` is `refuse`"
        return Wait(
            reason=reason, error=MigrationsError(message, describe_migrate_commands(case.site, case.built, names))
        )
