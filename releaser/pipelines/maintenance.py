"""Looking after the releases: pruning, pinning; and holding packages back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.answers import Plan
from releaser.errors import Finding, FollowUpError, PreflightError, UsageError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.versions import normalize_name
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.link import refuse_moved
from releaser.releases.quarantine import (
    Constraints,
    Hold,
    Holds,
    change_holds,
    change_quarantine,
)
from releaser.releases.retention import failures, prune_by_settings, removals, verdicts
from releaser.releases.store import store_of
from releaser.resolution.resolve import lock_of
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from releaser.releases.quarantine import Quarantine
    from releaser.releases.retention import Verdict
    from releaser.report import RunReport
    from releaser.run import Run
    from releaser.site.site import Site


def prune_releases(request: Request) -> tuple[RunReport, tuple[Verdict, ...]]:
    """Delete what the policy no longer keeps; return how every release fared as well."""
    decided: list[Verdict] = []

    def pipeline(run: Run) -> PipelineResult:
        refuse_moved(run.store)
        with run.log.step("prune") as step:
            try:
                decided.extend(prune_by_settings(run.site, run.log))
            except OSError as error:
                message = f"the deletion could not be recorded: {error}"
                raise FollowUpError(message, advice="Check free space and permissions.") from error
            removed, failed = removals(decided), failures(decided)
            if failed:
                message = f"{_releases(len(failed))} could not be deleted, {len(removed)} removed"
                raise FollowUpError(message, advice="See why; the next run tries again.")
            step.says(f"{len(removed)} removed")
        if not removed:
            return PipelineResult(result="unchanged", headline="there is nothing to prune")
        return PipelineResult(result="activated", headline=f"{_releases(len(removed))} removed")

    return run_session(request, pipeline), tuple(decided)


def _releases(number: int) -> str:
    return "1 release" if number == 1 else f"{number} releases"


def set_pin(request: Request, release: str, *, on: bool) -> RunReport:
    """Keep a release from being pruned, or no longer."""

    def pipeline(run: Run) -> PipelineResult:
        found = run.store.find(release)
        run.log.about(found, None)
        what = "pinned" if on else "not pinned"
        if found.pinned == on:
            return PipelineResult(result="unchanged", headline=f"{found.id} is {what} already")
        run.store.record(lambda ledger: ledger.pinned(found.id, on=on))
        return PipelineResult(result="activated", headline=f"{found.id} is {what} now")

    return run_session(request, pipeline)


_SHORTEST_HASH = 7  # characters of a commit that tell which one is meant


@dataclass(frozen=True, kw_only=True)
class HoldChange:
    """What holding or letting go of a package comes to: the holds after it, and what to say of it (`is held`, say)."""

    holds: Holds
    name: str
    state: str
    news: bool
    #: What is quarantined after it; None if that does not change.
    quarantine: Quarantine | None = None


def hold(request: Request, name: str, reason: str) -> RunReport:
    """Keep a package at the version that it has, until somebody lifts that."""

    def pipeline(run: Run) -> PipelineResult:
        return _changed(run.site, decide_hold(run.site, name, reason))

    return run_session(request, pipeline)


def unhold(request: Request, name: str) -> RunReport:
    """Let in again what is held back: a package, a commit or a candidate, by the name that `status` shows."""

    def pipeline(run: Run) -> PipelineResult:
        return _changed(run.site, decide_unhold(run.site, name))

    return run_session(request, pipeline)


def _changed(site: Site, change: HoldChange) -> PipelineResult:
    if not change.news:
        return PipelineResult(result="unchanged", headline=f"{change.name} {change.state} already")
    if change.quarantine is not None:
        quarantine = change.quarantine
        change_quarantine(site.state_dir, lambda _: quarantine)
    change_holds(site.state_dir, lambda _: change.holds)
    return PipelineResult(result="activated", headline=f"{change.name} {change.state} now")


def decide_hold(site: Site, name: str, reason: str) -> HoldChange:
    """Say what holding a package comes to. Raises UsageError when it is not there, or part of the checkout.

    It is held since the first time; another reason takes the place of the one before.
    """
    lock, name, holds = _lock_of_checkout(site), normalize_name(name), Constraints.read(site.state_dir).holds
    live = lock_of(store_of(site).live())
    if name not in lock.names:
        message = f"{name or 'a package without a name'} is not in {site.project.lock.name}"
        raise UsageError(message, advice=_did_you_mean(name, lock.names - lock.local))
    if name in lock.local:
        message = f"{name} is part of the checkout; the code decides its version"
        raise UsageError(message, advice="Hold packages that come from elsewhere.")
    state = f"is held at {live.versions.get(name, lock.versions[name])}"
    before = next((one for one in holds.entries if (one.name, one.by) == (name, "person")), None)
    if before is not None and reason in ("", before.reason):
        return HoldChange(holds=holds, name=name, state=state, news=False)
    new = Hold(name=name, by="person", reason=reason, at=before.at if before else timestamp())
    return HoldChange(holds=holds.adding([new]), name=name, state=state, news=True)


def decide_unhold(site: Site, name: str) -> HoldChange:
    """Say what letting something in again comes to. Raises UsageError when nothing of that name is held back."""
    constraints = Constraints.read(site.state_dir)
    holds, quarantine = constraints.holds, constraints.quarantine
    package = normalize_name(name)
    names = {package} | {
        one.name for one in holds.entries if package in {normalize_name(x.partition(" ")[0]) for x in one.together}
    }
    by_tests = {one.release for one in holds.entries if one.name in names and one.by == "tests"}
    commits = [one for one in quarantine.commits if len(name) >= _SHORTEST_HASH and one.commit.startswith(name)]
    without = replace(
        quarantine,
        versions=tuple(one for one in quarantine.versions if one.name != package),
        commits=tuple(one for one in quarantine.commits if one not in commits),
    )
    releases = by_tests | {one.release for one in quarantine.versions if one.name == package}
    codes = {one.code_key for one in commits}
    # Else the very candidate that failed would not be tried again, and nobody be told.
    releases |= {one.release for one in quarantine.candidates if one.release == name or one.key.code_key in codes}
    without = without.without_releases(releases)
    held = any(one.name in names for one in holds.entries)
    if not held and without == quarantine:
        known = _names_held_back(holds, quarantine)
        advice = f"Held back: {', '.join(known)}." if known else "Nothing is held back."
        message = f"{name.strip() or 'a package without a name'} is not held back"
        raise UsageError(message, advice=advice)
    shown = commits[0].commit[:12] if commits else name if name in releases else package
    return HoldChange(
        holds=holds.without(names) if held else holds,
        quarantine=without,
        name=shown if shown else name,
        state="is not held back",
        news=True,
    )


def _names_held_back(holds: Holds, quarantine: Quarantine) -> list[str]:
    packages = {one.name for one in holds.entries} | {one.name for one in quarantine.versions}
    commits = [one.commit[:12] for one in quarantine.commits]
    return [*sorted(packages), *commits, *(one.release for one in quarantine.candidates)]


def _lock_of_checkout(site: Site) -> LockFile:
    try:
        return LockFile.read(site.project.lock)
    except (OSError, InvalidLockError) as error:
        message = f"{site.project.lock} cannot be read: {error}"
        raise PreflightError(Finding(message, advice="Make it with `uv lock`, and commit it.")) from error


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, sorted(names), n=3)
    return f"Did you mean {' or '.join(close)}?" if close else "`uv tree` lists the packages of the project."


# Dry runs


def plan_prune(site: Site) -> tuple[Verdict, ...]:
    """Return the verdict on every release. Raises PreflightError."""
    refuse_moved(store_of(site))
    return verdicts(site.settings, store_of(site), now=datetime.now(UTC))


def plan_pin(site: Site, release: str, *, on: bool) -> Plan:
    """Say what a pin would change. Raises NoSuchReleaseError."""
    found = store_of(site).find(release)
    what = "pinned" if on else "not pinned"
    return Plan(would=(f"{found.id} is {what} already" if found.pinned == on else f"{found.id} would be {what}",))


def plan_hold(site: Site, name: str, reason: str) -> Plan:
    """Say what holding a package would change. Raises UsageError and PreflightError."""
    return _plan_of(decide_hold(site, name, reason))


def plan_unhold(site: Site, name: str) -> Plan:
    """Say what letting go of a package would change. Raises UsageError."""
    return _plan_of(decide_unhold(site, name))


def _plan_of(change: HoldChange) -> Plan:
    state = change.state if not change.news else change.state.replace("is ", "would be ", 1)
    if state.startswith("would be not"):
        state = "would not be held"
    return Plan(would=(f"{change.name} {state}{'' if change.news else ' already'}",))
