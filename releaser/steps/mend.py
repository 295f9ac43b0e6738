"""Repairing what others have damaged: state files that cannot be read, releases that are gone, a dangling symlink.

What a run of releaser leaves when it is cut off is a matter of recovery. No run leaves this, so it is always said.
"""

from __future__ import annotations

import contextlib
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, put_aside, read_json, write_json
from releaser.errors import PreflightError, ToolError, Unfit, os_reason
from releaser.releases import flip, leases, processes
from releaser.releases.holds import HOLDS, read_holds
from releaser.releases.ledger import EMPTY_LEDGER, LEDGER, read_ledger, write_ledger
from releaser.releases.quarantine import QUARANTINE, FailedCandidate, Quarantine, read_quarantine, write_quarantine
from releaser.releases.store import remove_tree
from releaser.releases.whereabouts import is_missing_or_dangling, moved_by_hand
from releaser.report.history import HISTORY
from releaser.report.outcome import Problem
from releaser.steps.activate import link_text, place_lock
from releaser.steps.adopt import adopt
from releaser.steps.diagnosis import LAST_MAIL, lost, missing_or_dangling, named
from releaser.steps.follow_ups import PENDING, attempt
from releaser.steps.litter import LITTER
from releaser.steps.move import LOCK_BEFORE
from releaser.steps.settle import STEPS
from releaser.steps.turnover import Turnover, in_use
from releaser.steps.verdict import brought_by, key_of, mark_good

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.project.preflight import Fitness
    from releaser.releases.release import Release
    from releaser.run import Run


PAUSE = 1.0  # seconds between two looks at a link: somebody may be replacing it just now
IN_USE = "a process is using it"
_NEVER = {"override": "was built for a trial", "built": "failed its tests", "adopted": "failed its tests"}
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
        _say(run, f"{LEDGER} was lost; it is made again from the releases", "Pin again what was pinned.")
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
    """Make a quarantine that is gone, again, from the releases that were backed out, or that failed. Raises OSError.

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
        _say(run, f"{QUARANTINE} was lost; it is made again from the releases", "See `releaser status`.")


def _put_aside(run: Run, error: UnreadableStateError) -> None:
    aside = put_aside(error.path)
    _say(run, f"{error.path} could not be read ({error.reason}); it is kept as {aside.name}", "Delete that copy.")


def _say(run: Run, message: str, advice: str) -> None:
    run.draft.noted.append(f"{message}.")
    run.draft.untold.append(f"{message}.")
    run.draft.problems.append(Problem(message=message, advice=advice))


def mend_link(run: Run) -> None:
    """Point a missing or dangling symlink to the newest good release again, and let the site run on that.

    Whatever it leads to that is there stays: see `whereabouts`. Without a good release everything stays as it is.
    """
    store, link = run.store, run.site.project.venv
    release = _good_release_for_link(run)
    if release is None:
        return
    time.sleep(PAUSE)
    seen_again = _good_release_for_link(run)
    if seen_again is None or seen_again.id != release.id:
        return
    wrong = f"was {missing_or_dangling(link)}"
    run.journal.write(run.entry("mending", target=release.id, origin_link=link_text(link)))
    before = store.live_by_record()
    store.record(lambda ledger: ledger.activated(release.id))  # first: else the link would seem to be moved by hand
    flip.flip(link, release.venv, staging=run.site.project.state_dir)
    _follow_with_lock(run, before, release)
    run.draft.live_changed = True
    message = f"{link} {wrong}; it leads to {release.id} again, the newest good release"
    _say(run, message, "Find out who did that.")
    settle_on(run, release)


def _good_release_for_link(run: Run) -> Release | None:
    """Return the release that a missing or dangling link should lead to; None where it is neither, or none was live."""
    store = run.store
    return store.newest_good() if store.live_by_record() and is_missing_or_dangling(store.link) else None


def settle_on(run: Run, release: Release) -> None:
    """Do what follows a flip to a release, from which there is no way back. What fails is reported."""
    turnover = Turnover(target=release, origin=None, flipped_at=processes.now(), was_used=in_use(release))
    for name, act in STEPS.items():
        attempt(run, name, partial(act, run, turnover))


def _follow_with_lock(run: Run, before: str | None, release: Release) -> None:
    """Let uv.lock of the checkout follow from the release `before`, unless somebody has changed it. Raises OSError."""
    earlier, lock = run.store.get(before), run.site.project.lock
    known = [earlier.lock.read_bytes()] if earlier is not None and earlier.lock.is_file() else []
    with contextlib.suppress(ToolError):
        committed = run.site.git.content("HEAD", os.path.relpath(lock, run.site.git.layout.top))
        known.append((committed or "").encode())
    if not lock.exists() or lock.read_bytes() in known:
        place_lock(run, release)


def accept_link(run: Run) -> Release | None:
    """Take the release that the link leads to for the live one, if it may be, and return it; None if it is that.

    uv.lock follows. Raises OSError.
    """
    store = run.store
    live, before = store.live(), store.live_by_record()
    if live is None or live.id == before or live.manifest.never_live:
        return None
    _follow_with_lock(run, before, live)
    mark_good(run, live)
    return live


def adopt_moved(run: Run, fitness: Fitness) -> Release:
    """Make what somebody has let the symlink lead to the live release, as somebody asks for that; nothing is moved.

    A release stays what it is; another venv becomes one. Raises PreflightError or BuildError.
    """
    link, store = run.site.project.venv, run.store
    ours = Path(os.path.realpath(link)).parent
    if store.live_id() is None and store.get(ours.name) is not None and ours == store.directory.resolve() / ours.name:
        flip.flip(link, store.path(ours.name) / "venv", staging=run.site.project.state_dir)  # the same, as we write it
    live = store.live()
    if live is not None and live.manifest.never_live:
        message = f"{link} leads to {live.id}, which {_NEVER[live.manifest.origin]}, so it cannot stay there"
        raise PreflightError((Unfit(message, advice=f"Go back: `releaser rollback {store.live_by_record()}`."),))
    if live is None:
        live = adopt(run, fitness)
        if live is None:
            raise PreflightError((moved_by_hand(store) or Unfit(f"{link} leads to no venv"),))
        mark_good(run, live)
    accept_link(run)
    return live


def mend_store(run: Run) -> None:
    """Forget the releases that are gone, unless somebody has to decide first which one is live. Raises OSError."""
    gone = lost(run.store) if moved_by_hand(run.store) is None else []
    run.store.forget(gone)
    if gone:
        _say(run, f"{named(gone)} gone from {run.store.directory}", "Find out who deleted that; the site goes on.")


def remove_unless_used(run: Run, name: str) -> None:
    """Delete a release; in use, it stays until it is not. Raises OSError when the ledger cannot be written."""
    with _unused(run, run.store.path(name)) as unused:
        for undeleted, error in run.store.remove(name).items() if unused else ():
            run.note_undeleted(undeleted, os_reason(error))


def remove_unsealed(run: Run, place: Path) -> None:
    """Delete what is no whole release; one that was a release once is forgotten, which is said. Raises OSError.

    In use, it stays until it is not.
    """
    with _unused(run, place) as unused:
        if not unused:
            return
        known = run.store.forget([place.name])
        remove_tree(place)
    if known:
        message = f"release {place.name} had lost its manifest, so nothing vouches for it any more; it is removed"
        _say(run, message, "Find out who deleted that; the site goes on as it is.")


@contextlib.contextmanager
def _unused(run: Run, place: Path) -> Iterator[bool]:
    """Keep others from beginning to use a release, and tell whether nobody does; noted is what stays for that.

    On a full disk, one that has no lease file yet gets none, and can be deleted all the same.
    """
    claimed = leases.claim(str(place))
    try:
        unused = claimed is not None or not leases.is_used(str(place))
        if not unused:
            run.note_undeleted(place.name, IN_USE)
        yield unused
    finally:
        if claimed is not None:
            leases.release(claimed)
