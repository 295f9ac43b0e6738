"""The processes that use a release, such as an earlier one long after a flip."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING

from releaser.errors import Finding
from releaser.releases import leases
from releaser.releases.journal import note, read_notes
from releaser.releases.leases import LeftBehind, ProcessesSection
from releaser.releases.store import store_of
from releaser.site.restart_settings import OutageSection
from releaser.system.frozen import replace
from releaser.system.words import first_few, one_line

if TYPE_CHECKING:
    from releaser.core.gate import Case
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.report import RunReport
    from releaser.site.site import Site


def in_use(release: Release | None) -> bool:
    """True if processes other than releaser itself use a release."""
    if release is None:
        return False
    directory, own = str(release.directory), own_processes()
    found = leases.users(directory)
    return any(process.pid not in own for process in found) or (not found and leases.is_used(directory))


def own_processes() -> set[int]:
    """Return the ids of this process and its ancestors."""
    found, pid = set[int](), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = leases.parent_of(pid)
    return found


_IN_TIME = 3600.0  # seconds after the flip: earlier requests and tasks may still run


def left_behind(store: ReleaseStore) -> tuple[LeftBehind, ...]:
    """Return the visible processes that use another release than the live one, oldest release first.

    Without a live release there are none.
    """
    live = store.live_id()
    if live is None:
        return ()
    locks = functools.cache(leases.read_file_locks)
    return tuple(
        LeftBehind(release=release.id, pid=user.pid, user=user.user, command=user.command, since=user.since)
        for release in reversed(store.all())
        if release.id != live
        for user in leases.users(str(release.directory), locks)
    )


def add_processes(site: Site, report: RunReport) -> RunReport:
    """Add the processes that still use earlier releases to the report.

    If this run restarted the server without waiting for a health check, the server needs a moment: processes on the
    previous release are left to the report of the next run.
    """
    has_waited = any(answer.release == report.release for answer in report.answers)
    waits = report.live_changed and OutageSection.of(report).is_restarted and not has_waited
    with contextlib.suppress(OSError):
        found = (process for process in left_behind(store_of(site)) if not waits or process.release != report.previous)
        shown = tuple(replace(process, command=site.redactor.clean(process.command)) for process in found)
        return report.with_section(ProcessesSection(left_behind=shown))
    return report


def note_stale_processes(case: Case) -> None:
    """Report processes that use old packages long after the flip, each once.

    Runs that change something report them anyway; this is for nights without updates.
    """
    site, log = case.site, case.log
    # Each flip makes a new symlink, so its time is the time of the last flip.
    if store_of(site).live() is None or time.time() - os.lstat(site.project.venv).st_mtime < _IN_TIME:
        return
    found = left_behind(store_of(site))
    known = read_notes(site.state_dir).left_behind
    names = frozenset(
        f"{left_process.pid} {left_process.release}" for left_process in found
    )  # a reused process id counts as reported
    if names - known:
        groups: dict[str, list[str]] = {}
        for process in found:
            groups.setdefault(process.release, []).append(
                f"{process.pid} ({process.user}, {one_line(process.command, limit=80)})"
            )
        message = "; ".join(f"on {release}: {first_few(processes)}" for release, processes in groups.items())
        advice = "Restart these processes: they use old packages. `releaser list` shows the processes of each release."
        log.note(
            Finding(
                "not-restarted",
                message=f"processes that the last update did not restart still run {message}",
                advice=advice,
            )
        )
    note(site.state_dir, left_behind=names)
