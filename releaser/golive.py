"""From a sealed release to a site that runs on it: what update, rollback and init have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import BuildError
from releaser.recovery import conclude, taken_back_on_failure, undo_unfinished
from releaser.steps.activate import activate
from releaser.steps.pruning import prune_after
from releaser.steps.publish import publish_lock

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.run import Run


def go_live(run: Run, release: Release) -> None:
    """Flip, settle, record, publish, prune.

    Raises BuildError when live is untouched, and ActivationError when the release was live and has been taken back.
    """
    run.about(release, run.store.live())
    try:
        with taken_back_on_failure(run):
            entry = activate(run, release)
    except BuildError:
        undo_unfinished(run)
        raise
    conclude(run, entry)
    publish_lock(run, release, command=run.command)
    prune_after(run)
    run.journal.drop()
