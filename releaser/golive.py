"""From a sealed release to a site that runs on it: what update, rollback and init have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.errors import BuildError
from releaser.recovery import conclude, taken_back_on_failure, undo_unfinished
from releaser.steps.activate import activate
from releaser.steps.followups import follow_up

if TYPE_CHECKING:
    from releaser.releases.release import Release
    from releaser.run import Run


def go_live(run: Run, release: Release, remote: str | None) -> None:
    """Flip, settle, record, follow up. `remote` is None when nothing is pushed.

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
    follow_up(run, release, remote)
    run.journal.drop()
