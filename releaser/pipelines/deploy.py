"""Makes a sealed release live, and does all steps that follow."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from releaser.checkout.checks import CheckoutSnapshot, refuse_changes
from releaser.checkout.publish import publish_lock
from releaser.checkout.pull import note_untracked_files
from releaser.core.change import Deployment, make_live
from releaser.core.follow_up import attempt
from releaser.core.run import close_journal
from releaser.errors import BuildError, PreflightError, ToolError
from releaser.pipelines.recovery import conclude, published_by, record_rollback_on_failure, undo_unfinished
from releaser.releases.release import find_moved_link
from releaser.releases.retention import prune_step
from releaser.releases.store import store_of
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from releaser.report import RunLog
    from releaser.site.site import Site


def deploy(site: Site, log: RunLog, deployment: Deployment, snapshot: CheckoutSnapshot | None = None) -> None:
    """Move the checkout, flip, run the actions, record, publish and prune, if the site is as in `snapshot`.

    A rollback has no snapshot: it depends only on the symlink. Raises BuildError or PreflightError before the flip, and
    ActivationError after an automatic rollback.
    """
    release = deployment.release
    log.set_releases(release, store_of(site).live())
    try:
        if snapshot is not None:
            refuse_changes(site, snapshot)
            deployment = replace(deployment, link=snapshot.link, look_again=partial(refuse_changes, site, snapshot))
        with record_rollback_on_failure(site, log):
            change = make_live(site, log, deployment)
    except (BuildError, PreflightError) as error:
        undo_unfinished(site, log, error)
        raise
    site = change.site
    if snapshot is not None and snapshot.state is not None:
        with contextlib.suppress(ToolError):  # no finding, if git does not work
            note_untracked_files(site, log, site.git.state(), before=snapshot.state.untracked)
    introduced = conclude(change)
    if moved := find_moved_link(store_of(site)):
        log.note(moved)
        log.follow_up_failed = True
    publish_lock(site, log, release, command=published_by(change))
    attempt(log, "prune", lambda step: prune_step(site, log, step))
    close_journal(site, log, f"had made release {release.id} live{introduced}")
