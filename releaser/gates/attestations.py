"""Before their code runs, packages must come from the same publishers as before, as far as that is attested."""

from __future__ import annotations

from releaser.candidate.attested import verify_attestations
from releaser.core.gate import Case, Found, Gate, Verdict


class Attestations(Gate):
    """Refuses a lock whose packages are not attested as they should be; the manifest gets the publishers."""

    stage = "locked"

    def judge(self, case: Case) -> Verdict:
        """Ask the indexes about the packages that change."""
        return Found(facts={"publishers": verify_attestations(case.work, case.lock)})
