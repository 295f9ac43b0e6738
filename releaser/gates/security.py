"""A run for security fixes alone: without a fix, the checkout stays where it is, too."""

from __future__ import annotations

from releaser.core.due import OnlyFixes
from releaser.core.gate import Case, Gate, Stage, Verdict, Wait


class SecurityKeepsCheckout(Gate):
    """Keeps commits that change neither code nor packages for the next update of all packages."""

    stage: Stage = "unbuilt"

    def judge(self, case: Case) -> Verdict:
        """Wait if the run takes security fixes alone."""
        return Wait(reason="only security fixes go live", always=True) if OnlyFixes.of(case.log).only_security else None
