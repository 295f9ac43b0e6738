"""Mending what others have damaged: state files that cannot be read, releases that are gone, a symlink led astray.

What a run of releaser leaves when it is cut off is a matter of recovery. No run leaves this, so it is always said.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, put_aside, read_json, write_json
from releaser.releases import flip, leases
from releaser.releases.holds import HOLDS, read_holds
from releaser.releases.ledger import EMPTY_LEDGER, LEDGER, read_ledger, write_ledger
from releaser.releases.quarantine import QUARANTINE, FailedCandidate, Quarantine, read_quarantine, write_quarantine
from releaser.releases.soundness import damage
from releaser.releases.store import remove_tree
from releaser.report.history import HISTORY
from releaser.report.outcome import Problem
from releaser.steps.activate import LOCK_BEFORE, place_lock
from releaser.steps.adopt import take_in
from releaser.steps.diagnosis import LAST_MAIL, astray, lost, lost_python, named, unfit_for_live
from releaser.steps.follow_ups import PENDING, note_due
from releaser.steps.litter import LITTER
from releaser.steps.verdict import brought_by, key_of, mark_good

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.run import Run


_KEPT_OUT = ("bad", "failed")


def mend_records(run: Run) -> None:
    """Replace state files that cannot be read by what the releases and the other files tell. Raises OSError."""
    state_dir, store = run.site.project.state_dir, run.store
    try:
        lost = read_ledger(state_dir) == EMPTY_LEDGER and bool(store.all())
    except UnreadableStateError as error:
        _put_aside(run, error)
        lost = True
    if lost:
        ledger = store.ledger()
        write_ledger(state_dir, ledger)
        _say(run, f"{LEDGER} was lost; it is made anew from the releases", "Pin again what was pinned.")
    for name in (PENDING, LITTER, LAST_MAIL):
        try:
            read_json(state_dir / name)
        except UnreadableStateError as error:
            _put_aside(run, error)
            if name == PENDING:  # whether a push was due cannot be told, and one too many does nothing
                write_json(state_dir / PENDING, {"commit": False, "push": True})
    try:
        read_quarantine(state_dir)
    except UnreadableStateError as error:
        _put_aside(run, error)
        mend_quarantine(run)
    try:
        read_holds(state_dir)
    except UnreadableStateError as error:
        _put_aside(run, error)
        _say(run, f"{HOLDS} was lost: nothing is held back any more", "Hold again what is to be held: `releaser hold`.")
    for name in (HISTORY, LOCK_BEFORE):
        if (state_dir / name).is_dir():
            _put_aside(run, UnreadableStateError(state_dir / name, "a directory"))


def mend_quarantine(run: Run) -> None:
    """Make a quarantine that is gone anew from the releases that were backed out, or that failed. Raises OSError.

    A run that is cut off between such a release and its quarantine leaves a journal; that is not for here.
    """
    state_dir, store = run.site.project.state_dir, run.store
    if (state_dir / QUARANTINE).exists():
        return
    ledger = store.ledger()
    found = [one for one in store.all() if one.manifest.origin == "built" and ledger.marks.get(one.id) in _KEPT_OUT]
    quarantine = Quarantine()
    for release in reversed(found):
        reason, at = "as the records tell", run.now_iso()
        bad = ledger.marks[release.id] == "bad"
        if bad:
            quarantine = quarantine.with_versions(brought_by(release), release=release.id, reason=reason, at=at)
        failed = FailedCandidate(key=key_of(release), release=release.id, reason=reason, at=at, sick=not bad)
        quarantine = quarantine.with_candidate(failed)
    if found:
        write_quarantine(state_dir, quarantine)
        _say(run, f"{QUARANTINE} was lost; it is made anew from the releases", "See `releaser status`.")


def _put_aside(run: Run, error: UnreadableStateError) -> None:
    aside = put_aside(error.path)
    _say(run, f"{error.path} could not be read ({error.reason}); it is kept as {aside.name}", "Delete that copy.")


def _say(run: Run, message: str, advice: str) -> None:
    run.draft.recovered.append(f"{message}.")
    run.draft.untold.append(f"{message}.")
    run.draft.problems.append(Problem(message=message, advice=advice))


def mend_link(run: Run) -> None:
    """Lead a symlink that somebody has moved or removed to the newest good release again, and say so.

    One that leads to a good release is believed, whoever moved it. Without a good release everything stays as it is.
    A rollback leaves a release on which nothing can run by itself, and would go back by one too many from here.
    """
    store, link = run.store, run.site.project.venv
    ledger, live = store.ledger(), store.live()
    if not ledger.activations:
        return  # not adopted yet
    found = None
    if live is None:
        wrong = astray(store)
    elif unwanted := unfit_for_live(store, live):
        wrong = f"led to {live.id}, which {unwanted}"
    else:
        found = damage(live)
        dead = found is not None and found.fatal and run.command != "rollback"
        wrong = f"led nowhere: {found}" if dead else ""
        if not wrong and live.id != ledger.activations[-1]:
            _follow(run, live, ledger.activations[-1])
    release = store.newest_good() if wrong else None
    if release is None or release.id == store.live_id():
        return
    if live is not None and lost_python(live, found):
        note_due(run, deserted=live.id)
    _take_away(run, link)
    store.record(lambda ledger: ledger.activated(release.id))  # first: else the next run would take it for moved
    flip.flip(link, release.venv, staging=run.site.project.state_dir)
    place_lock(run, release)
    run.draft.live_changed = True
    message = f"{link} {wrong}; it leads to {release.id} again, the newest good release"
    _say(run, message, "Find out who did that; restart the site.")


def _follow(run: Run, live: Release, before: str) -> None:
    """Take note of a link that was moved by hand; the lock follows it, unless somebody has changed that too."""
    earlier = run.store.get(before)
    lock = run.site.project.lock
    if earlier is not None and lock.exists() and lock.read_bytes() == earlier.lock.read_bytes():
        place_lock(run, live)
    mark_good(run, live)
    note_due(run, deserted=None)
    message = f"{run.site.project.venv} was moved by hand from {before} to {live.id}"
    _say(run, message, "Use `releaser rollback`, which restarts the site and keeps the reason.")


def _take_away(run: Run, link: Path) -> None:
    """Make room for the symlink: a venv becomes a release that no rollback goes to, anything else is kept aside."""
    if link.is_symlink() or not os.path.lexists(link):
        return
    if (link / "pyvenv.cfg").is_file():
        take_in(run)
        return
    number = 1
    while os.path.lexists(kept := run.site.project.state_dir / f"{link.name}.aside-{number}"):
        number += 1
    link.rename(kept)


def mend_store(run: Run) -> None:
    """Forget the releases that are gone. Raises OSError."""
    gone = lost(run.store)
    run.store.forget(gone)
    if gone:
        _say(run, f"{named(gone)} gone from {run.store.directory}", "Find out who deleted that; the site goes on.")


def remove_unsealed(run: Run, place: Path) -> None:
    """Delete what is no whole release; one that was a release once is forgotten, which is said. Raises OSError.

    In use, such a release stays until it is not.
    """
    known = place.name in run.store.ledger().named
    claimed = leases.claim(str(place)) if known else None
    if known and claimed is None:
        return
    try:
        run.store.forget([place.name])
        remove_tree(place)
    finally:
        if claimed is not None:
            leases.release(claimed)
    if known:
        message = f"release {place.name} had lost its manifest, so nothing vouches for it any more; it is removed"
        _say(run, message, "Find out who deleted that; the site goes on as it is.")
