"""Rebuilding what was built before: the same lock in a fresh venv, with the tests; live, or an earlier release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.conduct import Ending, Request, conduct
from releaser.errors import NoSuchReleaseError, PreflightError, Unfit
from releaser.golive import go_live
from releaser.recovery import undone_on_failure
from releaser.releases.soundness import damage, live_damage
from releaser.releases.whereabouts import refuse_moved
from releaser.steps.guard import read_basis
from releaser.steps.live_health import check_live_site
from releaser.steps.pruning import prune_after
from releaser.steps.pull import as_checked_out
from releaser.steps.renewal import reason_to_renew, renewed, tell_moved
from releaser.steps.resolve import lock_of
from releaser.steps.settle import look_before
from releaser.steps.staging import staging_tree
from releaser.update import ask_django, preflight

if TYPE_CHECKING:
    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.report.outcome import RunReport
    from releaser.run import Run

_ASKED_FOR = "somebody asked for it"


def rebuild(
    request: Request, *, release: str | None = None, python: str | None = None, force: bool = False
) -> RunReport:
    """Rebuild what is live and flip to it, or rebuild an earlier release for a rollback to go to.

    `python` is the interpreter to build with, as uv's `--python` takes it; with `force`, the site need not be well.
    """
    return conduct(request, lambda run: _rebuild(run, release=release, python=python, force=force))


def _rebuild(run: Run, *, release: str | None, python: str | None, force: bool) -> Ending:
    refuse_moved(run.store)
    earlier = to_revive(run.store, release)
    refuse_unadopted(run.store)
    fitness = preflight(run, ask_django=False, python=python)
    ask_django(run)
    live = run.store.live()
    if earlier is not None:
        return _revive(run, fitness, earlier)
    check_live_site(run, force=force or is_repair(live))
    basis, target = read_basis(run.site), as_checked_out(fitness)
    with undone_on_failure(run), staging_tree(run, target.commit) as staged:
        made = renewed(staged, fitness, live)
        look_before(staged, made.venv)
    run.draft.rebuilt = _why(run, made, live)
    tell_moved(run, fitness, made.manifest.python)
    go_live(run, made, target, basis)
    return Ending(
        result="activated", headline=f"rebuilt as {made.id}, with Python {made.manifest.python}: {_why_of(run)}"
    )


def is_repair(live: Release | None) -> bool:
    """Whether a rebuild may be what cures the site: what is live is damaged."""
    return live is None or live_damage(live) is not None


def _revive(run: Run, fitness: Fitness, earlier: Release) -> Ending:
    """Let a new release stand where an earlier one stood; what is live stays live."""
    found = damage(earlier)
    with undone_on_failure(run), staging_tree(run, as_checked_out(fitness).commit) as staged:
        made = renewed(staged, fitness, run.store.live(), lock=lock_of(earlier), instead_of=earlier)
        run.store.record(lambda ledger: ledger.replaced(earlier.id, made.id))
    run.draft.rebuilt = str(found) if found else _ASKED_FOR
    prune_after(run)
    run.close(f"had rebuilt {earlier.id} as {made.id}")
    headline = f"{earlier.id} is rebuilt as {made.id}, which a rollback goes to in its place: {_why_of(run)}"
    return Ending(result="activated", headline=headline)


def _why_of(run: Run) -> str:
    return run.draft.rebuilt or _ASKED_FOR


def _why(run: Run, made: Release, live: Release | None) -> str:
    """Say why what was live is rebuilt."""
    if live is None:
        return "no release was live"
    if reason := reason_to_renew(run.site.settings, run.store, live):
        return reason
    if live.manifest.python != made.manifest.python:
        return f"from Python {live.manifest.python} to {made.manifest.python}, as somebody asked for"
    return _ASKED_FOR


def to_revive(store: ReleaseStore, name: str | None) -> Release | None:
    """Return the earlier release that is meant; None for the live one. NoSuchReleaseError if it is of no use."""
    if name is None:
        return None
    found = store.find(name)
    if found.live:
        return None
    successor = store.census().replaced.get(found.id)
    if successor is not None:
        message = f"{found.id} is rebuilt already, as {successor}"
        raise NoSuchReleaseError(message, advice=f"`releaser rollback {successor}` goes to it.")
    if found.state != "good" or found.manifest.never_live:
        message = f"{found.id} is not one that a rollback would go to ({found.state})"
        raise NoSuchReleaseError(message, advice="Choose one that was live and good: `releaser list`.")
    if lock_of(found).sha256 != found.manifest.lock_sha256:
        message = f"the uv.lock of {found.id} cannot be read, or has been changed, so nobody knows what it was"
        raise NoSuchReleaseError(message, advice="Choose another one: `releaser list`.")
    return found


def refuse_unadopted(store: ReleaseStore) -> None:
    """Check that there is a live release to rebuild. Raises PreflightError."""
    if not store.ledger().activations:
        finding = Unfit("no release has been live yet, so there is none to rebuild", advice="`releaser init` first.")
        raise PreflightError((finding,))
