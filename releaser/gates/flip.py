"""Everything that the flip needs must exist before the flip."""

from __future__ import annotations

from releaser.core.change import find_problems
from releaser.core.gate import Case, Gate, Refusal, Verdict
from releaser.errors import PreflightError


class FlipChecks(Gate):
    """Refuses if an action after the flip would fail."""

    def judge(self, case: Case) -> Verdict:
        """Ask the actions."""
        problems = find_problems(case.site, case.built)
        return Refusal(error=PreflightError(*problems)) if problems else None
