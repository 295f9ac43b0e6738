"""Recovery: finishes or undoes what an earlier run left, before anything else. Twice changes nothing the second time.

The link decides: while it points to the earlier release, the change is undone; once it points to the new one, it is
finished. A crash in recovery is one more case of the same.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

import msgspec

from releaser.checkout.pending import read_pending
from releaser.checkout.repair import remove_temporaries
from releaser.checkout.repository import Repository, open_repository
from releaser.errors import Problem
from releaser.live.change import ChangeResult, finish_change, go_back, undo_change
from releaser.live.health import is_healthy_now
from releaser.live.outlook import find_repair
from releaser.packages.changes import compare_releases
from releaser.packages.holds import tidy_holds
from releaser.pipelines.conclude import conclude
from releaser.releases.journal import Entry, drop_entry, read_entry, read_journal_time, write_entry
from releaser.releases.lease import make_lease
from releaser.releases.link import flip, read_link
from releaser.releases.reserve import release_reserve
from releaser.releases.store import SiteRun, Store, set_aside_broken_states, sweep_releases
from releaser.report.history import has_told
from releaser.report.outcomes import Outcome, complete, locate, make_failed_rollback, make_rolled_back, make_updated
from releaser.report.tell import Telling, make_telling, save_news
from releaser.site.site import Site, empty_cache
from releaser.site.state import is_own_name
from releaser.system.files import remove_path
from releaser.system.process import end_marked
from releaser.system.run import find_command
from releaser.system.state import set_aside_if_broken
from releaser.system.text import count


class Recovery(msgspec.Struct, frozen=True):
    """The result of recovery: a sentence, empty if nothing was left; `problem` if the earlier release is live again.

    `has_gone_back` is True if it left what an update had begun to take live: a rollback that follows has been done.
    """

    sentence: str = ""
    problem: Problem | None = None
    has_gone_back: bool = False


def recover(site: Site, run: SiteRun) -> Recovery:
    """Bring the site into a state from which a run may start. Raises ReleaserError and OSError."""
    ended = end_marked(f"{site.paths.state}/")
    if ended:
        run.note(f"Ended {count(len(ended), 'process', 'processes')} that an earlier run left behind.")
    began = read_journal_time(site.paths)
    entry = read_entry(site.paths, run)
    repository = open_repository(site, run.id)
    if entry is not None:
        release_reserve(site.paths.reserve)
        # A clock that was set back since tells nothing; no update begins on a lock of somebody else.
        repository.remove_dead_locks(began if began <= time.time() else 0.0)
    recovery = _continue(site, run, repository, entry) if entry is not None else Recovery()
    if recovery.problem is None and recovery.sentence:
        run.note(recovery.sentence)
    _repair_link(site, run, repository)
    set_aside_broken_states(run.store, run)
    sweep(site, run)
    return recovery


def _continue(site: Site, run: SiteRun, repository: Repository, entry: Entry) -> Recovery:
    if entry.phase == "building":
        empty_cache(site)  # a power cut may have left files of uv's without their content
        drop_entry(site.paths)
        return Recovery()
    if entry.phase == "telling":
        return _tell_change(site, run, repository, ChangeResult(entry, entry.reason), "")
    if entry.phase == "publishing":
        return _finish_change(site, run, repository, ChangeResult(entry))
    link = read_link(site.paths)
    if entry.phase == "going-back":
        return _finish_change(site, run, repository, go_back(site, run, repository, entry))
    if entry.has_flipped(link):
        return _finish_change(site, run, repository, finish_change(site, run, repository, entry))
    undo_change(site, run, repository, entry)
    sentence = f"{entry.title} was interrupted before it changed the live release. Its work was undone."
    is_forward = not entry.is_way_back and (entry.release != entry.earlier or entry.commit != entry.head)
    return Recovery(sentence, has_gone_back=is_forward)


def _finish_change(site: Site, run: SiteRun, repository: Repository, result: ChangeResult) -> Recovery:
    published = conclude(site, run, repository, result)
    return _tell_change(site, run, repository, result, published.commit)


def _tell_change(site: Site, run: SiteRun, repository: Repository, result: ChangeResult, commit: str) -> Recovery:
    """Tell of a change that an earlier run has begun, as news of that run; of this one, they are none any more."""
    entry, has_gone_back = result.entry, result.rolled_back and not result.entry.is_way_back
    sentence, problem = f"{entry.title} had made {entry.release} live. What was left to do is done.", None
    if entry.release is None:
        sentence = f"{entry.title} was interrupted before it told of its end."
    if result.rolled_back:
        sentence = f"{entry.title} had made {entry.release} live, which failed."
        sentence += f" {entry.earlier} is live again: {result.reason}"
        problem = Problem("rolled-back", sentence, "Run `releaser list`.")
    earlier = SiteRun(entry.run, find_command(entry.command))
    earlier.store, earlier.problems, earlier.notes, earlier.steps = run.store, run.problems, run.notes, run.steps
    outcome = _make_outcome(run.store, repository, result, commit)
    if entry.telling is not None:
        telling = msgspec.convert(entry.telling, Telling)
    elif outcome is None or (not result.rolled_back and has_told(site.paths, entry.run)):
        drop_entry(site.paths)
        return Recovery(sentence, problem, has_gone_back=has_gone_back)
    else:
        outcome = locate(complete(outcome, earlier), site, run.store, has_flipped=True)
        telling = make_telling(site, earlier, outcome)
    save_news(site, earlier, telling)
    run.told += [sentence, *run.notes, *(each.message for each in run.problems)]
    return Recovery(sentence, problem, has_gone_back=has_gone_back)


def _make_outcome(store: Store, repository: Repository, result: ChangeResult, commit: str) -> Outcome | None:
    """Return the outcome of a change as its own run would have; None if only the lock was published."""
    entry, release, left = result.entry, store.get(result.entry.release), store.get(result.entry.earlier)
    is_change = result.rolled_back or entry.has_flipped(store.link)
    if release is None or (release is left and not is_change):
        return None
    if entry.is_way_back and result.rolled_back:
        return make_failed_rollback(release, result)
    if entry.is_way_back:
        changes = compare_releases(left, release) if left is not None else ()
        removed = repository.describe_commits(entry.commit, entry.head)
        return make_updated(release, result, commit, changes, removed)
    commits = repository.describe_commits(entry.head, entry.commit)
    if result.rolled_back:
        return make_rolled_back(release, result, commits)
    return make_updated(release, result, commit, new_commits=commits, before=left)


def _repair_link(site: Site, run: SiteRun, repository: Repository) -> None:
    """Point a link that leads to no release, or is missing, to the newest good one, with restart and health check."""
    run.store = run.store.linked(read_link(site.paths))
    link = run.store.link
    if (good := find_repair(site, run.store)) is None:
        return
    head = repository.head()
    entry = Entry(
        phase="changing",
        command=run.command.name,
        run=run.id,
        release=good.id,
        link=link.text,
        head=head,
        commit=head,
        was_healthy=is_healthy_now(site),
    )
    write_entry(site.paths, entry)
    flip(site.paths, good.id, before=link.text)
    run.add_problem(
        "link-repaired",
        f"`{site.paths.link}` led nowhere. The last good release, {good.id}, was made live again.",
        "Run `releaser status`.",
    )
    conclude(site, run, repository, finish_change(site, run, repository, entry))
    drop_entry(site.paths)


def sweep(site: Site, run: SiteRun) -> None:
    """Delete what no run uses: shadows, unsealed and half-deleted releases, temporary files. Raises OSError."""
    for path in site.paths.state.iterdir():
        remove_path(path) if is_own_name(path.name) else None
    for path in Path(tempfile.gettempdir()).glob(f"{site.paths.temporary_prefix}*"):
        if path.lstat().st_uid == os.geteuid():  # nobody else's, by whatever name
            remove_path(path)
    remove_temporaries(site)
    run.store = sweep_releases(run.store, run)
    for release in run.store.releases:
        with contextlib.suppress(OSError):  # a colleague's, or no room
            make_lease(release.directory)
    read_pending(site.paths, run)
    tidy_holds(site.paths, run)
    set_aside_if_broken(site.paths.news, run, "what was mailed last is not known any more")
    set_aside_if_broken(site.paths.decision, run, "the next update decides again")
    set_aside_if_broken(site.paths.history, run, "earlier runs are only in the logs", is_log=True)
