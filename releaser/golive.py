"""From a sealed release to a site that runs on it: what update, rollback and init have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import BuildError, PreflightError
from releaser.recovery import changes_since, conclude, taken_back_on_failure, undo_unfinished
from releaser.releases.whereabouts import moved_by_hand
from releaser.run import problem_of
from releaser.steps.activate import activate
from releaser.steps.guard import refuse_changes
from releaser.steps.litter import note_litter
from releaser.steps.migrations import tell_migrations
from releaser.steps.pruning import prune_after
from releaser.steps.publish import publish_lock

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.run import Run
    from releaser.steps.guard import Basis
    from releaser.steps.pull import Target


def go_live(
    run: Run,
    release: Release,
    target: Target,
    basis: Basis | None,
    *,
    founds: bool = False,
    stays: bool = False,
    collected: bool = False,
    link: str | None = None,
) -> None:
    """Move the checkout to `target`, flip, settle, record, publish, prune; all of it only if `basis` is still so.

    A rollback has none: it builds on nothing but the `link`, the text of the symlink as it was at the start. With
    `stays`, a step after the flip that fails is reported, and the release stays live. With `founds`, pyproject.toml
    comes with the first lock. With `collected`, the static files are in place already. Raises BuildError or
    PreflightError when live is untouched, and ActivationError when the release was live and has been taken back.
    """
    run.about(release, run.store.live())
    try:
        if basis is not None:
            refuse_changes(run, basis)
            link = basis.link
        with taken_back_on_failure(run):
            entry = activate(run, release, target, link, founds=founds, stays=stays, collected=collected)
    except (BuildError, PreflightError) as error:
        undo_unfinished(run, error)
        raise
    note_litter(run)
    tell_migrations(run)
    conclude(run, entry)
    if moved := moved_by_hand(run.store):
        run.draft.problems.append(problem_of(moved))
        run.draft.follow_up_failed = True
    publish_lock(run, release, command=run.command)
    prune_after(run)
    run.close(f"had made release {release.id} live{changes_since(run, entry)}")
