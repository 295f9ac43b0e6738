"""`prune` and `pin`; and how a command changes a record."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.errors import FollowUpError, refuse_any
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.contents import measure
from releaser.releases.release import refuse_moved, refuse_without_live
from releaser.releases.retention import decide_retention, failures, prune_by_settings, removals
from releaser.releases.retention_settings import RetentionSettings
from releaser.releases.store import store_of
from releaser.report import Plan
from releaser.system.frozen import Frozen
from releaser.system.reserve import make_room
from releaser.system.words import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from releaser.core.run import Run
    from releaser.releases.release import Release
    from releaser.releases.retention import RetentionDecision
    from releaser.report import RunReport
    from releaser.site.site import Site


def prune_releases(request: Request) -> tuple[RunReport, tuple[RetentionDecision, ...]]:
    """Delete the releases that the retention settings do not keep; return the report and all decisions."""
    decided: list[RetentionDecision] = []

    def pipeline(run: Run) -> PipelineResult:
        _refuse_unclear(run.site)
        is_full = make_room(run.site.state_dir)
        with run.log.step("prune") as step:
            try:
                decided.extend(prune_by_settings(run.site, run.log, is_full=is_full))
            except OSError as error:
                message = f"the deletion of releases could not be recorded: {error}"
                raise FollowUpError(message, "Check free space and permissions.") from error
            removed, failed = removals(decided), failures(decided)
            if failed:
                message = f"{plural(len(failed), 'release')} could not be deleted, {len(removed)} removed"
                raise FollowUpError(message, "The reasons are above. The next run tries again.")
            step.says(f"{len(removed)} removed")
        if not removed:
            return PipelineResult(result="no-changes", headline="no release is due for deletion")
        return PipelineResult(result="updated", headline=f"{plural(len(removed), 'release')} removed")

    return run_session(request, pipeline, check=lambda site: refuse_without_live(store_of(site))), tuple(decided)


def freed_by(site: Site, decisions: Iterable[RetentionDecision]) -> int:
    """Return how many bytes the deletion of these releases frees, from a look at all their files."""
    return measure(*(store_of(site).path(one.id) for one in decisions if not one.kept)).own_bytes


def plan_prune(site: Site) -> tuple[RetentionDecision, ...]:
    """Return the decision about every release. Raises PreflightError."""
    _refuse_unclear(site)
    return decide_retention(RetentionSettings.of(site), store_of(site), now=datetime.now(UTC))


def _refuse_unclear(site: Site) -> None:
    """Refuse wrong settings, whose defaults might delete too much, and a moved symlink. Raises PreflightError."""
    refuse_any(*site.findings)
    refuse_moved(store_of(site))


# Changes of the records


class Change(Frozen):
    """A change of the records by a command, and its description."""

    #: The name of the object, and its state after the change, such as `is on hold at 1.0`.
    name: str
    state: str
    #: Records the change; None if the record is so already.
    apply: Callable[[], None] | None
    #: The release that changes; None without one.
    release: Release | None = None


def make_change(request: Request, decide: Callable[..., Change], *words: str) -> RunReport:
    """Make the change that `decide` returns for the site and the words of the command line."""

    def pipeline(run: Run) -> PipelineResult:
        change = decide(run.site, *words)
        if change.release is not None:
            run.log.set_releases(change.release, None)
        if change.apply is None:
            return PipelineResult(result="no-changes", headline=f"{change.name} {change.state} already")
        change.apply()
        return PipelineResult(result="updated", headline=f"{change.name} {change.state} now")

    return run_session(request, pipeline, check=lambda site: decide(site, *words))


def plan_change(site: Site, decide: Callable[..., Change], *words: str) -> Plan:
    """Describe what `make_change` would do."""
    change = decide(site, *words)
    if change.apply is None:
        return Plan(would=(f"{change.name} {change.state} already",))
    would = re.sub(r"^is (not )?", lambda found: f"would {found[1] or ''}be ", change.state)
    return Plan(would=(f"{change.name} {would}",))


def decide_pin(site: Site, release: str, *, on: bool) -> Change:
    """Pin or unpin a release. Raises NoSuchReleaseError."""
    store = store_of(site)
    found = store.find(release)

    def apply() -> None:
        store.pin(found, on=on)

    state = "is pinned" if on else "is not pinned"
    return Change(name=found.id, state=state, apply=None if found.pinned == on else apply, release=found)
