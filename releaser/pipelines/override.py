"""`update --override`: builds and tests packages that are not released yet, and never makes them live."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.build import seal
from releaser.candidate.testing import build, run_tests
from releaser.checkout.checks import take_snapshot
from releaser.checkout.pull import as_checked_out
from releaser.core.gate import Case
from releaser.core.run import close_journal
from releaser.errors import BuildError, PreflightError, refuse
from releaser.gates import examine
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.overrides import check_locked, parse_overrides
from releaser.pipelines.decide import decide
from releaser.pipelines.preflight import Scope, check_unmoved, preflight
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.pipelines.workspaces import open_workspace
from releaser.releases.release import ADOPT, refuse_moved
from releaser.releases.store import store_of
from releaser.releases.venv import versions_in
from releaser.report import Plan
from releaser.site.site import find_site
from releaser.site.supply import SupplyFacts
from releaser.sources.override import Overridden
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.candidate.build import Candidate
    from releaser.core.run import Run
    from releaser.locks.overrides import Override
    from releaser.releases.release import Release
    from releaser.report import RunReport
    from releaser.site.site import Site

COMMAND = "update --override"


def override(request: Request, overrides: Sequence[Override]) -> RunReport:
    """Build and test a candidate with packages from elsewhere; live release, lock and records stay as they are."""
    return run_session(request, lambda run: _override(run, overrides), check=_check_adopted)


def _override(run: Run, overrides: Sequence[Override]) -> PipelineResult:
    refuse_moved(run.store)
    source = Overridden(overrides)
    run.site = replace(run.site, given=source.supply())
    facts = preflight(run.site, run.log, Scope(asks=()))
    _require_live(run.store.live())
    with open_workspace(run.site, run.log, facts, as_checked_out(take_snapshot(run.site))) as work:
        resolution = decide(work, None, force=True, source=source).resolution
        run.log.learn(changes=resolution.diff)
        examine("resolved", Case.of(work, resolution))
        candidate = build(work, resolution)
        _refuse_untested(candidate, overrides)
        run_tests(work, candidate)
        release = seal(work, candidate, tests="passed")
    close_journal(run.site, run.log)
    wanted = ", ".join(SupplyFacts.of(release.manifest).overrides)
    headline = f"the tests pass with {wanted}. Nothing went live; the candidate is {release.venv}"
    return PipelineResult(result="no-changes", headline=headline)


def plan_override(site: Site, overrides: Sequence[Override]) -> Plan:
    """Describe what would be tried, without uv, which would have to write. Raises PreflightError."""
    facts = check_unmoved(site, Scope())
    live, locked = _require_live(store_of(site).live()), facts.lock.versions
    lines = [
        f"a candidate would be built and tested with {requested} instead of {requested.name} {locked[requested.name]}"
        for requested in overrides
    ]
    return Plan(would=(*lines, f"{site.project.venv.name} would still lead to {live.id}"))


def read_overrides(path: Path, environ: Mapping[str, str], values: Sequence[str]) -> tuple[Override, ...]:
    """Read the values of `--override`; relative paths start at the current directory. Raises UsageError."""
    overrides = parse_overrides(values, Path.cwd())
    with contextlib.suppress(PreflightError, OSError, InvalidLockError):  # the run reports these
        lock = LockFile.read(find_site(path, environ).project.lock)
        check_locked(overrides, lock)
    return overrides


def _check_adopted(site: Site) -> None:
    _require_live(store_of(site).live())


def _require_live(live: Release | None) -> Release:
    """Return the live release. Raises PreflightError without one: a trial must not be the first release."""
    if live is None:
        refuse("nothing-live", "no release is live, so there is none to try a package with", ADOPT)
    return live


def _refuse_untested(candidate: Candidate, overrides: Sequence[Override]) -> None:
    """Refuse if the venv lacks the packages, as this platform or group may not need them. Raises BuildError."""
    names = versions_in(candidate.venv)
    if missing := [requested.name for requested in overrides if requested.name not in names]:
        group = f" for the group {candidate.key.group}" if candidate.key.group else ""
        message = (
            f"{', '.join(missing)} is in uv.lock, but this site does not install it{group}, so no test would use it"
        )
        raise BuildError(message, "Name a package that this site installs: see `releaser packages`.")
