"""Reports the known vulnerabilities of the live and the new release. This gate refuses nothing."""

from __future__ import annotations

from releaser.candidate.audit import audit_live, find_fixes
from releaser.core.gate import Case, Found, Gate, Verdict
from releaser.system.frozen import replace


class LiveAudit(Gate):
    """Asks about the live release before anything is built, so that an update which fails reports that, too."""

    stage = "resolved"

    def judge(self, case: Case) -> Verdict:
        """Ask."""
        if case.asks_others:
            audit_live(case.work)
        return None


class CandidateAudit(Gate):
    """Finds out which vulnerabilities the changes fix; the manifest gets that."""

    stage = "tested"

    def judge(self, case: Case) -> Verdict:
        """Ask, and compare."""
        if not case.asks_others:
            return None
        return Found(facts={"changes": find_fixes(case.work, case.lock, case.changes, audit_live(case.work))})


class KnownFixes(Gate):
    """Asks for the vulnerabilities that a ready release fixes: new ones may be known since its build."""

    def judge(self, case: Case) -> Verdict:
        """Compare with the known vulnerabilities of the live release."""
        audit = audit_live(case.work) if case.asks_others else None
        if audit is None:
            return None
        known = audit.fixed_in(case.changes)
        changes = tuple(replace(change, fixes=change.fixes or known.get(change.name, ())) for change in case.changes)
        return Found(facts={"changes": changes})
