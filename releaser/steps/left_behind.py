"""Processes that a restart has not reached: they still run on a release that is not live any more."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, read_json, write_json
from releaser.releases import leases
from releaser.report.outcome import LeftBehind, Problem
from releaser.report.text import processes_by_release

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.store import ReleaseStore
    from releaser.run import Run

log = logging.getLogger(__name__)

TOLD = "left-behind.json"
_IN_TIME = 3600.0  # seconds after the flip: requests and tasks that have begun before may still go on


def left_behind(store: ReleaseStore) -> tuple[LeftBehind, ...]:
    """Return the processes that use another release than the live one, of those that can be seen; oldest release first.

    None while nothing is live.
    """
    live = store.live_id()
    if live is None:
        return ()
    locks = leases.once()
    return tuple(
        LeftBehind(release=release.id, pid=user.pid, user=user.user, command=user.command, since=user.since)
        for release in reversed(store.all())
        if release.id != live
        for user in leases.users(str(release.directory), locks)
    )


def note_left_behind(run: Run) -> None:
    """Report processes that go on with old packages long after the flip, each once.

    A run that changes something tells of them anyway; this is for the nights in which nothing is newer.
    """
    if run.store.live() is None or time.time() - _flipped_at(run.store.link) < _IN_TIME:
        return
    found = left_behind(run.store)
    path = run.site.project.state_dir / TOLD
    told, names = _told(path), sorted(_name(one) for one in found)
    if set(names) - told:
        message = "; ".join(processes_by_release(found))
        advice = "Restart them: they use old packages. `releaser list` shows who uses which release."
        run.draft.problems.append(Problem(message=f"not restarted since the last flip: {message}", advice=advice))
    if told != set(names):
        try:
            write_json(path, {"told": names})
        except OSError as error:  # a full disk: they are told of once more
            log.warning("who has been told of cannot be noted: %s", error)


def _flipped_at(link: Path) -> float:
    """Return when the symlink was made, in seconds since 1970: each flip makes a new one."""
    return os.lstat(link).st_mtime


def _name(process: LeftBehind) -> str:
    return f"{process.pid} {process.release}"  # a number that is given again by the next run counts as told


def _told(path: Path) -> set[str]:
    try:
        content = read_json(path)
    except (UnreadableStateError, OSError):
        return set()
    names = content.get("told") if content else None
    return {str(name) for name in names} if isinstance(names, list) else set()
