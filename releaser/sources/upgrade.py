"""The newest permitted packages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.audit import audit_live
from releaser.candidate.audit_settings import AuditSettings
from releaser.core.source import Source
from releaser.resolution.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.core.run import Workspace
    from releaser.core.source import FailedVersions, Resolution, ResolveAgain, Wanted


class Upgrade(Source):
    """Resolves the newest versions within the rules. If the tests fail, releaser finds and skips the culprits."""

    #: True if all packages stay, except for fixes and their requirements.
    only_fixes = False

    def resolve(self, wanted: Wanted) -> Resolution:
        """Resolve."""
        return self._resolve(wanted, "in" if wanted.force else "rest")

    def search(self, wanted: Wanted) -> ResolveAgain:
        """Return what resolves without the versions that failed."""
        return partial(self._resolve, wanted)

    def find_fixes(self, work: Workspace) -> Mapping[str, str]:
        """Return the versions that fix known vulnerabilities, which `min_age` does not delay."""
        found = audit_live(work) if AuditSettings.of(work.site).security_fixes == "early" else None
        return found.fixes() if found else {}

    def _resolve(self, wanted: Wanted, failed: FailedVersions) -> Resolution:
        work = wanted.work

        def fixes() -> dict[str, str]:
            found = self.find_fixes(work)
            return {name: fix for name, fix in found.items() if name in (work.only or found)}

        return resolve(work, force=wanted.force, fixes=fixes, failed=failed, only_fixes=self.only_fixes)
