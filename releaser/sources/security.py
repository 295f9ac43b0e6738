"""The fixes of known vulnerabilities of the live release, with their requirements, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.candidate.audit import audit_live, is_asked
from releaser.core.due import OnlyFixes
from releaser.errors import AuditError, Finding, refuse_any
from releaser.locks.vulnerabilities import AuditsSoFar
from releaser.resolution.rules import only_fixes
from releaser.sources.upgrade import Upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from releaser.core.run import Workspace
    from releaser.core.source import Resolution, Wanted
    from releaser.site.site import Site


def security_findings(site: Site) -> Iterator[Finding]:
    """Yield the problems of a site whose setting asks for fixes alone."""
    yield from find_unfit(site) if only_fixes(site) else ()


def find_unfit(site: Site) -> Iterator[Finding]:
    """Yield why a site cannot choose security fixes."""
    if not site.supply.upgrades:
        message = f"this site takes {site.supply.takes}, and chooses no security fixes"
        advice = "Update the host that upgrades packages, or lock the fix on your own machine."
        yield Finding("security-not-chosen", message, advice)
    elif not is_asked(site):
        message = "security fixes cannot be chosen, because `vulnerability_service` is `none`"
        advice = "Remove that setting; `releaser config vulnerability_service` names its file."
        yield Finding("security-without-service", message, advice)


class SecurityFixes(Upgrade):
    """Takes the lowest versions that fix known vulnerabilities. All other packages stay, unless a fix needs them."""

    only_fixes = True

    def applies(self, work: Workspace, *, rebuilds: bool) -> bool:
        """True if the run or the settings ask for fixes alone."""
        return _is_wanted(work) or only_fixes(work.site)

    def find_fixes(self, work: Workspace) -> Mapping[str, str]:
        """Return the fixes, whatever `security_fixes` says; none if their number is unknown."""
        found = audit_live(work)
        return found.fixes() if found is not None else {}

    def reason_to_stay(self, wanted: Wanted, resolution: Resolution, *, is_new: bool) -> str:
        """Return why nothing is built: no fix, if only fixes may go live.

        Raises AuditError without an answer, and PreflightError if this site cannot choose fixes.
        """
        refuse_any(*find_unfit(wanted.work.site))
        found = AuditsSoFar.of(wanted.work.log).before
        fixes = found is not None and found.fixed_in(resolution.diff)
        if is_new and (fixes or not _is_wanted(wanted.work)):
            return ""
        if found is not None and not found.known:
            from releaser.tools.certificates import certificate_advice

            message = f"no fixes could be looked up, because the query for known vulnerabilities failed: {found.reason}"
            advice = "Check the network and `vulnerability_service`. The next update asks again."
            raise AuditError(message, certificate_advice(found.reason) or advice)
        if found is not None and found.vulnerabilities:
            return "no permitted version fixes a known vulnerability of the live release"
        return "the live release has no known vulnerability"


def _is_wanted(work: Workspace) -> bool:
    return OnlyFixes.of(work.log).only_security
