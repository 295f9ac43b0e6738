"""Trying packages that are not released yet: a candidate with them is built and tested, and never goes live."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import PreflightError, Unfit
from releaser.locking.lockfile import InvalidLockError, LockFile
from releaser.locking.overrides import check_locked, parse_overrides
from releaser.project.site import find_site
from releaser.recovery import undone_on_failure
from releaser.releases.whereabouts import refuse_moved
from releaser.steps.build import build, seal
from releaser.steps.capacity import look_for_room
from releaser.steps.gate import gate
from releaser.steps.overriding import refuse_untested, resolved_with
from releaser.steps.pull import as_checked_out
from releaser.steps.resolve import candidate_key
from releaser.steps.staging import staging_tree
from releaser.update import preflight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from releaser.locking.overrides import Override
    from releaser.releases.release import Release
    from releaser.report.outcome import RunReport
    from releaser.run import Run

COMMAND = "update --override"


def override(request: Request, overrides: Sequence[Override]) -> RunReport:
    """Build and test a candidate with packages from elsewhere; live, lock and all records stay as they are."""
    return conduct(request, lambda run: _override(run, overrides))


def _override(run: Run, overrides: Sequence[Override]) -> Ending:
    refuse_moved(run.store)
    fitness = preflight(run, ask_django=False)
    live = required(run.store.live())
    with undone_on_failure(run), staging_tree(run, as_checked_out(fitness).commit) as staged:
        resolution = resolved_with(staged, fitness, live, overrides)
        look_for_room(staged, fitness, resolution, live)
        run.draft.changes = resolution.diff.changes
        key = candidate_key(staged, fitness, resolution.lock)
        candidate = build(staged, fitness, resolution, key, overrides=tuple(map(str, overrides)))
        refuse_untested(candidate, overrides)
        run.draft.release, run.draft.previous = candidate.id, live.id
        gate(staged, fitness, candidate, before=fitness)
        release = seal(staged, candidate, tests="passed")
    run.close()
    wanted = ", ".join(release.manifest.overrides)
    return Ending(result="unchanged", headline=f"{wanted} passed, and is not live: the candidate is {release.venv}")


def read_overrides(path: Path, environ: Mapping[str, str], values: Sequence[str]) -> tuple[Override, ...]:
    """Read what `--override` asks for; relative paths start at the current directory. Raises UsageError."""
    overrides = parse_overrides(values, Path.cwd())
    with contextlib.suppress(PreflightError, OSError, InvalidLockError):  # which the run reports, along with all else
        lock = LockFile.read(find_site(path, environ).project.lock)
        check_locked(overrides, lock.data)
    return overrides


def required(live: Release | None) -> Release:
    """Return the live release; PreflightError without one, as a first release must not be one for a trial."""
    if live is None:
        finding = Unfit("no release is live with which another package could be tried", advice="`releaser init` first.")
        raise PreflightError((finding,))
    return live
