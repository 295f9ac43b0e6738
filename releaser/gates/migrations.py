"""With `migrations = "refuse"`, the migrations of a release must be applied before it goes live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.candidate.migrations import find_missing, how_to_apply
from releaser.errors import MigrationsError
from releaser.gates.base import Case, Gate, Wait
from releaser.releases.store import store_of
from releaser.site.django_settings import MigrationSettings
from releaser.system.words import first_few

if TYPE_CHECKING:
    from releaser.gates.base import Verdict


class AppliedMigrations(Gate):
    """Waits until somebody has applied them."""

    def judge(self, case: Case) -> Verdict:
        """Ask Django."""
        if MigrationSettings.of(case.site).migrations != "refuse":
            return None
        release = store_of(case.site).get(case.built.parent.name)
        names = find_missing(case.site, case.log, release) if release is not None else ()
        if release is None or not names:
            return None
        reason = f"migrations are not applied: {first_few(names)}"
        message = f"{reason}; `migrations` is refuse, so {release.id} does not go live"
        return Wait(reason=reason, error=MigrationsError(message, advice=how_to_apply(case.site, case.built, names)))
