"""Looking after the releases: pruning, pinning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import FollowUpError
from releaser.steps.pruning import failures, pruned, removals

if TYPE_CHECKING:
    from releaser.releases.policy import Verdict
    from releaser.report.outcome import RunReport
    from releaser.run import Run


def prune_releases(request: Request) -> tuple[RunReport, tuple[Verdict, ...]]:
    """Delete what the policy no longer keeps; return how every release fared as well."""
    decided: list[Verdict] = []

    def pipeline(run: Run) -> Ending:
        with run.recorder.step("prune") as step:
            try:
                decided.extend(pruned(run))
            except OSError as error:
                message = f"what was deleted could not be recorded: {error}"
                raise FollowUpError(message, advice="Check free space and permissions.") from error
            removed, failed = removals(decided), failures(decided)
            if failed:
                message = f"{_releases(len(failed))} could not be deleted, {len(removed)} removed"
                raise FollowUpError(message, advice="See why; the next run tries again.")
            step.says(f"{len(removed)} removed")
        if not removed:
            return Ending(result="unchanged", headline="there is nothing to prune")
        return Ending(result="activated", headline=f"{_releases(len(removed))} removed")

    return conduct(request, pipeline), tuple(decided)


def _releases(number: int) -> str:
    return "1 release" if number == 1 else f"{number} releases"


def set_pin(request: Request, release: str, *, on: bool) -> RunReport:
    """Keep a release from being pruned, or no longer."""

    def pipeline(run: Run) -> Ending:
        found = run.store.find(release)
        run.about(found, None)
        what = "pinned" if on else "not pinned"
        if found.pinned == on:
            return Ending(result="unchanged", headline=f"{found.id} is {what} already")
        run.store.record(lambda ledger: ledger.pinned(found.id, on=on))
        return Ending(result="activated", headline=f"{found.id} is {what} now")

    return conduct(request, pipeline)
