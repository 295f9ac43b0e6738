"""New code that needs a newer package than its pyproject.toml says: finding that out, and telling which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import BuildError, ResolutionError
from releaser.locking.diff import LockDiff
from releaser.report.outcome import Problem
from releaser.steps.gate import first_failure
from releaser.steps.mend import remove_unsealed
from releaser.steps.particulars import with_particulars
from releaser.steps.resolve import candidate_key, lock_of
from releaser.steps.suspects import suspects
from releaser.steps.unbuildable import built

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.project.preflight import Fitness
    from releaser.run import Run
    from releaser.steps.build import Candidate
    from releaser.steps.hunt import Hunt
    from releaser.steps.lower import Resolver

_MOST = 5  # packages in one sentence


def try_everything(run: Run, fitness: Fitness, hunt: Hunt, again: Resolver) -> Candidate | None:
    """Try the upgrade as a whole, with what the tests held so far; None if that is nothing else, or fails, too.

    New code may be made for just those versions.
    """
    full = hunt.full.resolution.lock
    try:
        resolution = again("in", None)
        news = [one.name for one in LockDiff.between(full, resolution.lock) if one.new]
        if not news or not hunt.budget.allows():
            return None
        hunt.budget.spend()
        candidate = built(run, fitness, resolution, candidate_key(run, fitness, resolution.lock))
        failed = first_failure(run, fitness, candidate)
    except (ResolutionError, BuildError):
        return None
    if failed is not None:
        remove_unsealed(run, candidate.directory)
        return None
    candidate = with_particulars(run, candidate)
    named = suspects(hunt.failure.output, candidate.venv, news)
    tell_needed(run, hunt, candidate, named or news)
    return candidate


def tell_needed(run: Run, hunt: Hunt, candidate: Candidate, names: Sequence[str]) -> None:
    """Say which requirement is missing: the tests fail with what was live of `names`, and pass with the candidate."""
    before, after = lock_of(run.store.live()).versions, candidate.resolution.lock.versions
    found = [name for name in names if name in after and before.get(name) != after[name]]
    if not found:
        return
    one_of = "" if len(found) == 1 else "one of "
    shown = [f"{name} {after[name]} ({before.get(name, 'none')} was live)" for name in found[:_MOST]]
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    message = f"{hunt.news} need {one_of}{', '.join(shown)}{more}, which pyproject.toml does not ask for"
    asked = f"`{found[0]}>={after[found[0]]}`" if len(found) == 1 else "the one that is needed"
    advice = f"The tests fail without it: {hunt.failure.fault}. Ask for {asked} in pyproject.toml."
    run.draft.problems.append(Problem(message=message, advice=advice))
