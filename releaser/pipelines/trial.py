"""Trying packages that are not released yet: a candidate with them is built and tested, and never goes live."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.candidate.build import build, seal
from releaser.candidate.space import check_space
from releaser.candidate.testing import run_tests
from releaser.checkout.pull import as_checked_out
from releaser.checkout.staging import staging_tree
from releaser.errors import BuildError, Finding, PreflightError
from releaser.locks.lock import InvalidLockError, LockFile
from releaser.locks.overrides import check_locked, parse_overrides
from releaser.pipelines.preflight import preflight
from releaser.pipelines.recovery import undo_on_failure
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.link import refuse_moved
from releaser.releases.metadata import versions_in
from releaser.resolution.resolve import candidate_key, resolve_with
from releaser.run import close_journal
from releaser.site.site import find_site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.candidate.build import Candidate
    from releaser.locks.overrides import Override
    from releaser.releases.release import Release
    from releaser.report import RunReport
    from releaser.run import Run


COMMAND = "update --override"


def override(request: Request, overrides: Sequence[Override]) -> RunReport:
    """Build and test a candidate with packages from elsewhere; live, lock and all records stay as they are."""
    return run_session(request, lambda run: _override(run, overrides))


def _override(run: Run, overrides: Sequence[Override]) -> PipelineResult:
    refuse_moved(run.store)
    facts = preflight(run.site, run.log, ask_django=False)
    live = required(run.store.live())
    with undo_on_failure(run.site, run.log), staging_tree(run.site, run.log, as_checked_out(facts).commit) as staged:
        resolution = resolve_with(staged, run.log, facts, live, overrides)
        check_space(staged, facts, resolution, live)
        run.log.learn(changes=resolution.diff.changes)
        key = candidate_key(staged, facts, resolution.lock)
        candidate = build(staged, run.log, facts, resolution, key, overrides=tuple(map(str, overrides)))
        refuse_untested(candidate, overrides)
        run.log.learn(release=candidate.id, previous=live.id)
        run_tests(staged, run.log, facts, candidate, before=facts)
        release = seal(staged, run.log, candidate, tests="passed")
    close_journal(run.site, run.log)
    wanted = ", ".join(release.manifest.overrides)
    return PipelineResult(
        result="unchanged", headline=f"{wanted} passed, and is not live: the candidate is {release.venv}"
    )


def read_overrides(path: Path, environ: Mapping[str, str], values: Sequence[str]) -> tuple[Override, ...]:
    """Read what `--override` asks for; relative paths start at the current directory. Raises UsageError."""
    overrides = parse_overrides(values, Path.cwd())
    with contextlib.suppress(PreflightError, OSError, InvalidLockError):  # which the run reports, along with all else
        lock = LockFile.read(find_site(path, environ).project.lock)
        check_locked(overrides, lock)
    return overrides


def required(live: Release | None) -> Release:
    """Return the live release; PreflightError without one, as a first release must not be one for a trial."""
    if live is None:
        finding = Finding(
            "no release is live with which another package could be tried", advice="Run `releaser init` first."
        )
        raise PreflightError(finding)
    return live


def refuse_untested(candidate: Candidate, overrides: Sequence[Override]) -> None:
    """See that the packages are in the venv: this platform or group may not need them. Raises BuildError."""
    names = versions_in(candidate.venv)
    missing = [one.name for one in overrides if one.name not in names]
    if missing:
        group = f" for the group {candidate.key.group}" if candidate.key.group else ""
        message = f"{', '.join(missing)} is in uv.lock, but not installed{group} here, so nothing would be tested"
        raise BuildError(message, advice="Override a package that this site uses.")
