"""Damage by others: `status` and `check` report it, and the next run repairs it if no person can have meant it.

Recovery handles runs that were cut off. No run leaves such damage, so it is always reported.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from releaser.candidate.results import list_introduced_by, mark_good
from releaser.capabilities import state_file, state_names
from releaser.core.change import all_steps, do_actions, down_since
from releaser.core.follow_up import BY_HAND, failed_actions, read_pending
from releaser.errors import Finding
from releaser.releases.blocks import BLOCKS, EARLIER, Blocks, block_candidate, change_blocks, read_blocks
from releaser.releases.integrity import advise, explain_need_to_rebuild, find_live_damage, find_rollback_damage
from releaser.releases.journal import (
    JOURNAL,
    Journal,
    journal_of,
    make_entry,
)
from releaser.releases.release import (
    DOOMED,
    EMPTY_LEDGER,
    LEDGER,
    MANIFEST,
    Release,
    find_moved_link,
    flip,
    is_missing_or_dangling,
    manifest_type,
)
from releaser.releases.store import ReleaseStore, store_of
from releaser.site import run_lock
from releaser.system.files import UnreadableStateError, load_state, put_aside, read_state, write_state
from releaser.system.frozen import replace
from releaser.system.state_files import StateFile
from releaser.system.uptime import uptime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.report import RunLog
    from releaser.site.site import Site


PAUSE = 1.0  # seconds between two looks at a link: a person may be replacing it just now
_REPAIRS = "The next `releaser update` repairs it."
_REBUILDS = "The next `releaser update` rebuilds it."


def diagnose(store: ReleaseStore) -> Iterator[Finding]:
    """Yield a finding for everything that has changed since releaser left it."""
    yield from filter(None, [find_moved_link(store)])
    if store.live_by_record() and is_missing_or_dangling(store.link):
        yield Finding("link-lost", message=f"{store.link} is {_describe_lost(store.link)}", advice=_REPAIRS)
    yield from _find_stopped(store)
    yield from _find_live_damage(store)
    if lost := _list_lost(store):
        yield Finding("releases-gone", message=_describe_gone(lost, store.directory), advice=_REPAIRS)
    yield from _find_odd_entries(store)
    for release in store.snapshot().rollback_order():
        if (found := find_rollback_damage(release)) is None:
            break
        message = f"release {release.id} is damaged: {found}"
        yield Finding("release-damaged", message=message, advice=advise(release, found) or "Rollbacks skip it.")
    yield from _find_unreadable(store)


def repair(site: Site, log: RunLog) -> None:
    """Repair a lost symlink, and forget releases that are gone. Raises OSError.

    `replace_unreadable` repairs state files. An update replaces other damage, or a person has to decide.
    """
    store = store_of(site)
    _restore_link(site, log, store)
    if (lost := _list_lost(store)) and find_moved_link(store) is None:  # otherwise a person decides which one is live
        store.forget(lost)
        log.note_repair(_describe_gone(lost, store.directory), "The site keeps running. Check who deleted it.")


# The symlink


def _describe_lost(link: Path) -> str:
    return f"dangling ({os.readlink(link)})" if link.is_symlink() else "missing"


def _restore_link(site: Site, log: RunLog, store: ReleaseStore) -> None:
    """Point a missing or dangling symlink to the newest good release again, and run all actions for it.

    Without a good release everything stays as it is.
    """
    link = site.project.venv
    release = _release_for_lost_link(store)
    if release is None:
        return
    time.sleep(PAUSE)
    seen_again = _release_for_lost_link(store)
    if seen_again is None or seen_again.id != release.id:
        return
    from releaser.checkout.move import place_lock_unless_edited

    wrong, before = _describe_lost(link), store.live_by_record()
    journal_of(site).write(make_entry(log, "repairing", release=release.id))
    store.record_live(release)  # first: otherwise the link would seem to be moved by hand
    flip(link, release.venv, staging=site.state_dir)
    place_lock_unless_edited(site, release, before=before)
    log.learn(live_changed=True)
    message = f"{link} was {wrong}; it now leads to {release.id}, the newest good release"
    log.note_repair(message, "Check who changed it.")
    do_actions(site, log, release, all_steps())


def _release_for_lost_link(store: ReleaseStore) -> Release | None:
    return store.snapshot().newest_good() if is_missing_or_dangling(store.link) and store.live_by_record() else None


def accept_link(site: Site) -> Release | None:
    """Record the release that the symlink points to as live, and return it; None if it is recorded or may not be.

    Its uv.lock is placed as well. Raises OSError.
    """
    store = store_of(site)
    live, before = store.live(), store.live_by_record()
    if live is None or live.id == before or live.manifest.never_live:
        return None
    from releaser.checkout.move import place_lock_unless_edited

    place_lock_unless_edited(site, live, before=before)
    mark_good(site, live)
    return live


# Releases


def _find_live_damage(store: ReleaseStore) -> Iterator[Finding]:
    if store.live_by_record() is None or find_moved_link(store) or is_missing_or_dangling(store.link):
        return
    live = store.live()
    if live is None:
        message = f"the manifest of the live release {store.live_id()} is gone, or cannot be read"
        yield Finding("manifest-unreadable", message=message, advice=_REBUILDS)
        return
    due = read_pending(store.state_dir).pending_steps
    if (failed := failed_actions(store.state_dir, live)) and due is not None and due.stopped:
        yield Finding(
            "service-stopped",
            message=f"the service is stopped since {due.stopped}, because its start failed",
            advice=BY_HAND,
        )
    elif failed:
        message = (
            f"after {live.id} went live, these steps failed, and no earlier release existed to roll back to:"
            f" {', '.join(sorted(failed))}"
        )
        yield Finding("steps-failed", message=message, advice="The next `releaser update` tries again.")
    damage = find_live_damage(live)
    if reason := explain_need_to_rebuild(live, damage):
        advice = f"{_advise_rebuild(store, live)} {advise(live, damage)}".strip()
        yield Finding("release-damaged", message=f"the live release {live.id} is damaged: {reason}", advice=advice)


def _advise_rebuild(store: ReleaseStore, live: Release) -> str:
    """Say what rebuilds a damaged live release: no update, if the same has failed before, perhaps on another Python."""
    for failed in read_blocks(store.state_dir).candidates:
        if failed.key is not None and replace(failed.key, python=live.key.python) == live.key:
            return f"No update rebuilds it, as {failed.name} is the same, and failed before: run `releaser rebuild`."
    return _REBUILDS


def _find_stopped(store: ReleaseStore) -> Iterator[Finding]:
    """Yield a finding if a run was cut off while the service was stopped."""
    with contextlib.suppress(UnreadableStateError, OSError):
        entry = Journal(state_dir=store.state_dir).read()
        since = down_since(entry) if entry is not None else None
        if since is not None and run_lock.find_running(store.state_dir) is None:
            at = datetime.now(UTC) - timedelta(seconds=uptime() - since)
            when = f"since {at.isoformat(timespec='seconds')}" if since else "since the system was restarted"
            yield Finding(
                "service-stopped",
                message=f"the service is stopped {when}, because a run was interrupted",
                advice=BY_HAND,
            )


def _list_lost(store: ReleaseStore) -> list[str]:
    """Return the releases that are in the ledger, but no longer on the disk."""
    existing = set(os.listdir(store.directory)) if store.directory.is_dir() else set()
    return sorted(name for name in store.ledger().named if name not in existing and DOOMED + name not in existing)


def _describe_gone(names: list[str], directory: Path) -> str:
    subject = f"release {names[0]} is" if len(names) == 1 else f"releases {', '.join(names)} are"
    return f"{subject} gone from {directory}"


def _find_odd_entries(store: ReleaseStore) -> Iterator[Finding]:
    """Yield half-deleted releases, entries that are not releases, and unreadable manifests."""
    for name in store.half_removed() if run_lock.find_running(store.state_dir) is None else ():
        advice = "The next run tries again. To see the reason, run `releaser prune`."
        yield Finding("release-partly-deleted", message=f"release {name} is only partly deleted", advice=advice)
    for name in store.foreign():
        message = f"{store.directory / name} was not made by releaser; releaser leaves it there"
        yield Finding(
            "release-foreign", message=message, advice="Move it elsewhere: that directory is for releases only."
        )
    for name in sorted(store.ledger().named - set(_list_lost(store)) - {store.live_id() or ""}):
        with contextlib.suppress(UnreadableStateError, OSError):
            if read_state(store.path(name) / MANIFEST, manifest_type()) is not None:
                continue
        yield Finding(
            "manifest-unreadable", message=f"the manifest of release {name} is gone, or cannot be read", advice=_REPAIRS
        )


# State files


def _list_read(state_dir: Path) -> list[StateFile]:
    existing = (name for name in state_names() if os.path.lexists(state_dir / name))
    return [file for file in map(state_file, existing) if file.type is not None]


def _find_error(file: StateFile, state_dir: Path) -> UnreadableStateError | None:
    try:
        file.read(state_dir / file, file.type)
    except UnreadableStateError as error:
        return error
    return None


def _find_unreadable(store: ReleaseStore) -> Iterator[Finding]:
    for file in _list_read(store.state_dir):
        with contextlib.suppress(OSError):  # this user may not read the file; a run reports that
            if error := _find_error(file, store.state_dir):
                yield Finding(
                    "state-unreadable", message=f"{error.path} cannot be read: {error.reason}", advice=_REPAIRS
                )
    for error in store.find_unreadable_records():
        yield Finding("state-unreadable", message=f"{error.path} cannot be read: {error.reason}", advice=_REPAIRS)


def replace_unreadable(site: Site, log: RunLog) -> None:
    """Put unreadable state files aside, and rebuild them from the releases and the other files.

    Recovery handles the journal. Raises OSError.
    """
    state_dir, store = site.state_dir, store_of(site)
    lost: list[StateFile] = []
    for file in _list_read(state_dir):
        if file is not JOURNAL and (error := _find_error(file, state_dir)):
            aside = put_aside(error.path, instead=file.substitute)
            message = f"{error.path} could not be read ({error.reason}); it is now {aside.name}"
            log.note_repair(message, "Delete that file when you no longer need it.")
            lost.append(file)
    for name, wrong in store.restore_records():
        why = f" ({wrong.path.name} could not be read: {wrong.reason}; a copy is kept)" if wrong is not None else ""
        message = (
            f"`state.json` of release {name} was lost{why}; the release is now {store.find(name).state}, and pinned"
        )
        log.note_repair(message, f"To permit its deletion, run `releaser unpin {name}`.")
    if load_state(state_dir / LEDGER, EMPTY_LEDGER) == EMPTY_LEDGER and (LEDGER in lost or store.all()):
        write_state(state_dir / LEDGER, store.ledger())
        log.note_repair(f"{LEDGER} was lost; it was rebuilt from the releases", "See `releaser list`.")
    if any(file.name in (BLOCKS.name, *EARLIER) for file in lost):
        restore_blocks(site, log)
    for file in lost:
        if file.loss:
            log.note_repair(f"{file.name} was lost: {file.loss}", file.advice)


def restore_blocks(site: Site, log: RunLog) -> None:
    """Rebuild a lost file of blocks from the releases that were rolled back or failed. Raises OSError.

    Keeps the blocks in files of an earlier version. A run that is cut off between such a release and its block leaves a
    journal, which `recovery` handles.
    """
    state_dir, store = site.state_dir, store_of(site)
    earlier, *_ = EARLIER  # the file of an earlier version that had these blocks
    if any((state_dir / name).exists() for name in (BLOCKS, earlier)):
        return
    seen = store.snapshot()
    stages = {name: one.stage for name, one in seen.lifecycles.items()}
    found = [
        known_release
        for known_release in seen.releases
        if known_release.manifest.origin == "built" and stages[known_release.id] in ("withdrawn", "failed")
    ]
    blocks = Blocks()
    for release in reversed(found):
        bad, introduced = stages[release.id] == "withdrawn", list_introduced_by(release)
        failed = block_candidate(release.key, release.id, "by the records of its release", sick=not bad)
        if bad:
            blocks = blocks.with_versions(introduced, release=release.id, reason=failed.reason, since=failed.since)
        blocks = blocks.with_new(failed)
    if found:
        change_blocks(state_dir, blocks.with_all)
        message = "the record of failed and rolled back releases was lost; it was rebuilt from the releases"
        log.note_repair(message, "See `releaser status`.")
