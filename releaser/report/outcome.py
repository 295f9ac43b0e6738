"""The outcome of a run, as every command that changes a site prints and records it."""

from __future__ import annotations

from typing import Literal

import msgspec

from releaser.errors import Problem
from releaser.packages.holds import Hold
from releaser.releases.release import Change
from releaser.system.run import Step

Result = Literal["no-changes", "updated", "updated-not-restarted", "ready", "refused", "failed", "rolled-back"]


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended. `headline` is for people; `is_quiet` says that cron need not hear of it."""

    result: Result
    exit_code: int
    headline: str
    release: str | None = None
    previous: str | None = None
    changes: tuple[Change, ...] = ()
    on_hold: tuple[Hold, ...] = ()
    commits: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    #: The gate that a candidate failed, and its release.
    failed_gate: str = ""
    failed_release: str = ""
    #: The commits of people that went live, or that the candidate had, as `hash subject`.
    new_commits: tuple[str, ...] = ()
    #: The end of what the program that failed has printed.
    output: str = ""
    is_quiet: bool = False
    #: True if the candidate itself failed its tests, so that another one that fails is news.
    is_to_blame: bool = False
    #: True if the run did nothing, since updates are paused: earlier trouble stays what it was.
    is_paused: bool = False

    @property
    def has_flipped(self) -> bool:
        """True if the run made a release live, whatever came of it."""
        return any(step.step == "flip" and step.status == "done" for step in self.steps)


def name_result(exit_code: int) -> Result:
    """Return the result that goes with the exit code of an error."""
    if exit_code in (4, 5):
        return "failed"
    return "rolled-back" if exit_code == 6 else "refused"
