"""Looking after the releases: pruning, pinning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import BuildError
from releaser.steps.pruning import keep_policy, prune, verdicts

if TYPE_CHECKING:
    from releaser.releases.policy import Verdict
    from releaser.report.outcome import RunReport
    from releaser.run import Run


def prune_releases(request: Request) -> tuple[RunReport, tuple[Verdict, ...]]:
    """Delete what the policy no longer keeps; return every verdict as well."""
    decided: list[Verdict] = []

    def pipeline(run: Run) -> Ending:
        decided.extend(verdicts(keep_policy(run.site.settings), run.store))
        with run.recorder.step("prune") as step:
            try:
                removed = prune(run.store, tuple(decided))
            except OSError as error:
                message = f"a release could not be deleted: {error}"
                raise BuildError(message, advice="Check its permissions, or delete it by hand.") from error
            step.says(f"{len(removed)} removed")
        if not removed:
            return Ending(result="unchanged", headline="there is nothing to prune")
        what = "1 release" if len(removed) == 1 else f"{len(removed)} releases"
        return Ending(result="activated", headline=f"{what} removed")

    return conduct(request, pipeline), tuple(decided)


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
