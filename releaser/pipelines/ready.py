"""A ready release: an update or a rebuild takes it up, or lets it wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.checkout.staging import prepare_tree
from releaser.core.follow_up import attempt
from releaser.core.run import Run, Workspace, close_journal
from releaser.errors import Finding
from releaser.pipelines.session import PipelineResult
from releaser.releases.blocks import change_blocks
from releaser.releases.store import store_of
from releaser.resolution.resolve import candidate_key
from releaser.site.django_settings import MigrationFacts, MigrationsSection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.core.gate import Wait
    from releaser.core.target import RebuildReason
    from releaser.locks.lock import LockFile
    from releaser.releases.release import Release
    from releaser.report import RunLog
    from releaser.site.site import Site, SiteFacts

    Configuration = Mapping[str, bytes | None] | None


def find_ready(site: Site, facts: SiteFacts, lock: LockFile, configuration: Configuration) -> Release | None:
    """Return the ready release with this lock and configuration, and with the code of the site; None without one."""
    key = candidate_key(site, facts, lock)
    return store_of(site).snapshot().find_ready(key, lock.data, configuration)


def find_requested(site: Site, facts: SiteFacts, lock: LockFile, configuration: Configuration) -> Release | None:
    """Return the ready release if it goes live only on the request of a person; None otherwise."""
    ready = find_ready(site, facts, lock, configuration)
    return ready if ready is not None and ready.lifecycle is not None and ready.lifecycle.request else None


def take_ready(work: Workspace, ready: Release) -> Release:
    """Return a ready release, for a run that makes it live."""
    prepare_tree(work.site, work.log)  # for the static files, which may be among its output
    work.log.add(MigrationsSection(migrations=MigrationFacts.of(ready.manifest).migrations))
    return ready


def keep_ready(run: Run, release: Release, wait: Wait, rebuild: RebuildReason | None = None) -> PipelineResult:
    """Keep a ready release that may go live later: a run with the same lock and code makes it live.

    `rebuild` says why the live release has to be rebuilt. Raises the error of the wait, once.
    """
    from releaser.releases.retention import prune_step

    change_blocks(
        run.site.state_dir, lambda blocks: blocks.without(lambda block: block.key == release.key)
    )  # it passed
    is_news = run.store.record_waiting(release, wait.reason, keeps=wait.keeps, until=wait.until, request=wait.request)
    event = f"had made {release.id} ready, which waits: {wait.reason}"
    close_journal(run.site, run.log, event if wait.error is not None and is_news else "")
    headline = f"{release.id} is ready and waits: {wait.reason}"
    run.log.learn(waits=headline, blocked=headline if wait.error is not None else "")
    report_unusable_live(run.log, rebuild, wait.reason, waits=True)
    attempt(run.log, "prune", lambda step: prune_step(run.site, run.log, step))  # the one that waited before
    if wait.error is not None and is_news:
        raise wait.error
    run.log.set_releases(run.store.live(), None)
    return PipelineResult(result="no-changes", headline=headline)


def report_unusable_live(log: RunLog, rebuild: RebuildReason | None, reason: str, *, waits: bool = False) -> None:
    """Report that nothing can run on the live release if its replacement has failed or `waits`."""
    if rebuild is None or not rebuild.is_down:
        return
    message = f"nothing can run on the live release {rebuild.release.id}: {rebuild.reason}"
    fate = "waits" if waits else "has failed"
    advice = f"Its replacement {fate} ({reason}). Fix that, or run `releaser rebuild`."
    log.note(Finding("live-cannot-run", message, advice))
