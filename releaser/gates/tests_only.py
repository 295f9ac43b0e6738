"""`--tests-only`: a release that passed its tests stays ready, and the site stays as it is."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from releaser.core.gate import Case, Gate, Stage, Verdict, Wait, find_opening
from releaser.releases.tests_only import TestsOnlySection
from releaser.site.pythons import minor
from releaser.system.words import show_time

if TYPE_CHECKING:
    from releaser.site.pythons import Choice


class TestsOnly(Gate):
    """Waits in such a run, even if the release is a repair: a person asked for nothing else."""

    __test__: ClassVar[bool] = False  # pytest would collect it
    is_foreseeable = True

    def judge(self, case: Case) -> Verdict:
        """Report when the release may go live: in the next maintenance window, or with the next update.

        The release of a rebuild goes live only on request: no update moves a site to another Python.
        """
        if not TestsOnlySection.of(case.work.log).tests_only:
            return None
        if not case.may_wait:
            return _wait_for_person(case.work.facts.choice)
        now = datetime.now(UTC)
        opening = find_opening(case.work.site.outside, now)
        until = opening if opening > now else None
        when = f"on {show_time(until)}" if until else "with the next update"
        return Wait(reason=f"its tests passed; it goes live {when}", until=until, keeps=True, always=True)


def _wait_for_person(choice: Choice) -> Wait:
    wanted = f" --python {shlex.quote(choice.wanted)}" if choice.wanted else ""
    reason = f"Python {choice.version}: tests passed, not live"
    if choice.goes_back:
        asked = f"{choice.goes_back.source} to {minor(choice.version)!r}"
        reason += f"; before it can go live, set {asked} and commit the change; the tests then run again"
    return Wait(reason=reason, keeps=True, always=True, request=f"releaser rebuild{wanted}")


class TestsOnlyKeepsCheckout(TestsOnly):
    """Keeps the checkout where it is, although no release is built."""

    stage: Stage = "unbuilt"
    is_foreseeable = False
