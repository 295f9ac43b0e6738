"""The newest permitted packages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from releaser.candidate.audit import audit_live
from releaser.candidate.audit_settings import AuditSettings
from releaser.core.source import Source
from releaser.resolution.resolve import resolve

if TYPE_CHECKING:
    from releaser.core.source import FailedVersions, Resolution, ResolveAgain, Wanted


class Upgrade(Source):
    """Resolves the newest versions within the rules. If the tests fail, releaser finds and skips the culprits."""

    def resolve(self, wanted: Wanted) -> Resolution:
        """Resolve."""
        return _resolve(wanted, "in" if wanted.force else "rest")

    def search(self, wanted: Wanted) -> ResolveAgain:
        """Return what resolves without the versions that failed."""
        return partial(_resolve, wanted)


def _resolve(wanted: Wanted, failed: FailedVersions) -> Resolution:
    return resolve(wanted.work, force=wanted.force, fixes=partial(_fixes, wanted), failed=failed)


def _fixes(wanted: Wanted) -> dict[str, str]:
    """Return the versions that fix known vulnerabilities, which `min_age` does not delay."""
    work = wanted.work
    found = audit_live(work) if AuditSettings.of(work.site).security_fixes == "early" else None
    fixes = found.fixes() if found else {}
    return {name: fix for name, fix in fixes.items() if name in (work.only or fixes)}
