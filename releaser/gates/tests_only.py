"""`--tests-only`: a release that passed its tests stays ready, and the site stays as it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from releaser.core.gate import Case, Gate, Stage, Verdict, Wait, find_opening
from releaser.releases.tests_only import TestsOnlySection
from releaser.system.words import show_time


class TestsOnly(Gate):
    """Waits in such a run, even if the release is a repair: a person asked for nothing else."""

    __test__: ClassVar[bool] = False  # pytest would collect it
    is_foreseeable = True

    def judge(self, case: Case) -> Verdict:
        """Say when the release may go live: in the next maintenance window, or with the next update."""
        if not TestsOnlySection.of(case.work.log).tests_only:
            return None
        now = datetime.now(UTC)
        opening = find_opening(case.work.site.outside, now)
        until = opening if opening > now else None
        when = f"on {show_time(until)}" if until else "with the next update"
        return Wait(reason=f"its tests passed, and it goes live {when}", until=until, keeps=True, always=True)


class StayingCheckout(TestsOnly):
    """Keeps the checkout where it is, although no release is built."""

    stage: Stage = "unbuilt"
    is_foreseeable = False
