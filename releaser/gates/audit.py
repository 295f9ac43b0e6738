"""The known vulnerabilities of the live release, and of the one that is made: they are reported, and refuse nothing."""

from __future__ import annotations

from releaser.candidate.audit import find_fixes
from releaser.core.gate import Case, Found, Gate, Verdict


class LiveAudit(Gate):
    """Asks about the live release before anything is built, so that an update which fails reports that, too."""

    stage = "resolved"

    def judge(self, case: Case) -> Verdict:
        """Ask."""
        if case.audit is not None:
            case.audit()
        return None


class CandidateAudit(Gate):
    """Finds out which vulnerabilities the changes fix; the manifest gets that."""

    stage = "tested"

    def judge(self, case: Case) -> Verdict:
        """Ask, and compare."""
        if case.audit is None:
            return None
        return Found(facts={"changes": find_fixes(case.work, case.lock, case.changes, case.audit())})
