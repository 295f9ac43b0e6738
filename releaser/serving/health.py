"""Checks that the site runs on the new release: its answers to the health check, and the releases of its processes."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError
from releaser.releases import leases
from releaser.releases.journal import note, read_notes
from releaser.releases.leases import LeftBehind, ProcessesSection
from releaser.releases.store import store_of
from releaser.site.restart_settings import OutageSection
from releaser.system.frozen import Frozen, replace
from releaser.system.words import first_few, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.core.gate import Case
    from releaser.releases.leases import Process
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.report import RunReport
    from releaser.serving.health_settings import HealthSettings
    from releaser.site.site import Site


def ask_until_well(ask: Callable[[], str], settings: HealthSettings, check: RestartCheck, *, watches: bool) -> str:
    """Run the health check until the new release passes; if no process shows which release answers, repeat it.

    For `health_seconds` every answer must then be good. In a rollback, a bad answer may still come from the withdrawn
    release: then the time starts again, as long as there are tries.
    """
    from releaser.tools.web import until_good

    patience = settings.patience()
    if watches:
        answer = until_good(ask, patience, has_taken_over=lambda: check.look().has_taken_over)
        if answer.taken_over and check.sees_all and check.look().proves_it:
            return answer.answer
    else:
        answer = until_good(ask, patience)
    for left in range(patience.tries if check.goes_back else 1, 0, -1):
        try:
            return f"{answer.answer}{settings.stay_good(ask)}"
        except ToolError:
            if left == 1:
                raise
            until_good(ask, patience)
    return answer.answer


_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; the kernel gives the start of a process no more precisely


class Seen(Frozen):
    """The processes that use the new release or the earlier one.

    `begun` are on the new release and began after the flip, `left` are on the earlier one. `hidden` and `hidden_left`
    say that other processes use the release but cannot be seen from here, as in another container.
    """

    begun: tuple[Process, ...]
    left: tuple[Process, ...]
    hidden: bool
    hidden_left: bool

    @property
    def has_left(self) -> bool:
        """True if the earlier release is in use."""
        return bool(self.left) or self.hidden_left

    @property
    def has_taken_over(self) -> bool:
        """True if the new release is in use, and the earlier one is not."""
        return bool(self.begun or self.hidden) and not self.has_left

    @property
    def proves_it(self) -> bool:
        """True if the new release is sure to answer: a process has begun on it, and none is left on the earlier one."""
        return bool(self.begun) and not self.has_left

    @property
    def summary(self) -> str:
        """A sentence about the processes on the new release."""
        if not self.begun:
            found = "processes that releaser cannot see use" if self.hidden else "releaser sees no process on"
            return f"{found} the release"
        count = len(self.begun)
        return f"{count} {'process has' if count == 1 else 'processes have'} started on the release"


class RestartCheck(Frozen):
    """A flip from `origin` (None without a live release) to `target`; the system had then run for `flipped_at` seconds.

    `was_used` says that processes of `origin` were seen at the flip. If not, processes of the site may never be seen:
    it does not run, or started before its release had the start-up module. `goes_back` marks a rollback from a release
    that failed. `users` returns the processes that use the release in a directory, `is_used` whether any process does.
    """

    target: Release
    origin: Release | None
    flipped_at: float
    was_used: bool
    goes_back: bool = False
    users: Callable[[str], list[Process]] = leases.users
    is_used: Callable[[str], bool] = leases.is_used

    @property
    def can_be_seen(self) -> bool:
        """True if processes on the new release are expected, and can be counted."""
        return self.was_used and self.shows_processes

    @property
    def sees_all(self) -> bool:
        """True if no process can use the earlier release unseen; before its adoption, one could."""
        return self.can_be_seen and self.origin is not None and self.origin.manifest.origin != "adopted"

    @property
    def shows_processes(self) -> bool:
        """True if processes that start on the new release can be counted."""
        from releaser.releases import startup

        return startup.is_in(self.target.venv)

    def look(self) -> Seen:
        """Look at the processes at this moment; releaser itself does not count, even if it runs from a release."""
        own = _this_and_its_ancestors()
        users = self.users(str(self.target.directory))
        earlier = self.users(str(self.origin.directory)) if self.origin is not None else []
        return Seen(
            begun=tuple(user for user in users if user.pid not in own and user.began + _TICK > self.flipped_at),
            left=tuple(process for process in earlier if process.pid not in own),
            hidden=not users and self.is_used(str(self.target.directory)),
            hidden_left=self.origin is not None and not earlier and self.is_used(str(self.origin.directory)),
        )

    def problem(self, seen: Seen) -> Finding | None:
        """Say what the restart failed to do; None if all processes run on the new release."""
        if seen.has_taken_over:
            return None
        if seen.has_left:
            earlier = self.origin.id if self.origin is not None else ""
            left = f": {first_few(map(str, seen.left))}" if seen.left else ""
            count = f"{len(seen.left)} {'process still runs' if len(seen.left) == 1 else 'processes still run'}"
            processes = count if seen.left else "processes that releaser cannot see still run"
            return Finding(
                "processes-left",
                message=f"{processes} on release {earlier}, which was live before{left}",
                advice="Restart these processes: they use the old packages until they end. Then correct "
                "`restart`, so that it restarts them.",
            )
        return Finding(
            "restart-ineffective",
            message=f"no process has started on release {self.target.id}, so the restart seems to have failed",
            advice="Check that the site's server starts from `.venv`, and that `restart` restarts it.",
        )


def in_use(release: Release | None) -> bool:
    """True if processes other than releaser itself use a release."""
    if release is None:
        return False
    directory, own = str(release.directory), _this_and_its_ancestors()
    found = leases.users(directory)
    return any(process.pid not in own for process in found) or (not found and leases.is_used(directory))


def _this_and_its_ancestors() -> set[int]:
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
