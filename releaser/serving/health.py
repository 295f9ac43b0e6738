"""Whether the site runs on the release that went live: what it answers, and which processes use which release."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError
from releaser.releases import leases, startup
from releaser.releases.journal import note, read_notes
from releaser.releases.store import store_of
from releaser.report import LeftBehind
from releaser.system.frozen import Frozen
from releaser.system.words import first_few, one_line
from releaser.tools.web import until_good

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.releases.leases import Process
    from releaser.releases.release import Release
    from releaser.releases.store import ReleaseStore
    from releaser.report import RunLog, RunReport
    from releaser.serving.health_settings import HealthSettings
    from releaser.site.site import Site


def ask_until_well(ask: Callable[[], str], settings: HealthSettings, check: RestartCheck, *, watches: bool) -> str:
    """Ask until the new release answers well; where nobody can tell who answers, for `health_seconds`.

    Every answer must be good in that time. But when it goes back, one that is not may still come from the release that
    is left: then it starts again, as long as there are tries.
    """
    patience = settings.patience()
    if watches:
        said = until_good(ask, patience, has_taken_over=lambda: check.look().has_taken_over)
        if said.taken_over and check.sees_all and check.look().proves_it:
            return said.answer
    else:
        said = until_good(ask, patience)
    for left in range(patience.tries if check.goes_back else 1, 0, -1):
        try:
            return f"{said.answer}{settings.stay_good(ask)}"
        except ToolError:
            if left == 1:
                raise
            until_good(ask, patience)
    return said.answer


_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; the kernel tells the start of a process no better


class Seen(Frozen):
    """The processes that use the new release or the earlier one.

    `begun` are on the new one and began after the flip, `left` are on the earlier one. `hidden` and `hidden_left` say
    that others cannot be seen from here, as in another container.
    """

    begun: tuple[Process, ...]
    left: tuple[Process, ...]
    hidden: bool
    hidden_left: bool

    @property
    def has_left(self) -> bool:
        """Whether the earlier release is in use."""
        return bool(self.left) or self.hidden_left

    @property
    def has_taken_over(self) -> bool:
        """Whether the new release is in use, and the earlier one is not."""
        return bool(self.begun or self.hidden) and not self.has_left

    @property
    def proves_it(self) -> bool:
        """Whether it is known that the new release answers: a process has begun on it, and none is left before."""
        return bool(self.begun) and not self.has_left

    @property
    def summary(self) -> str:
        """What to report about those on the new release."""
        if not self.begun:
            found = "processes that cannot be seen from here use" if self.hidden else "no process was seen that uses"
            return f"{found} the release"
        count = len(self.begun)
        return f"{count} {'process has' if count == 1 else 'processes have'} begun since the flip"


class RestartCheck(Frozen):
    """A flip from `origin` (None: nothing was live) to `target`, made when the system had run for `flipped_at` seconds.

    `was_used` says that processes of `origin` were seen then: else those of the site may never be, as it does not run,
    or started before its release had the start-up module. One that `goes_back` takes back a release that did not work
    out. `users` returns the processes that use the release in a directory, `is_used` whether any does at all.
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
        """Whether processes on the new release are to be expected, and counted."""
        return self.was_used and self.shows_processes

    @property
    def sees_all(self) -> bool:
        """Whether no process can be on the earlier release unseen, as may be one from before its adoption."""
        return self.can_be_seen and self.origin is not None and self.origin.manifest.origin != "adopted"

    @property
    def shows_processes(self) -> bool:
        """Whether processes that are started on the new release can be counted."""
        return startup.is_in(self.target.venv)

    def look(self) -> Seen:
        """Look at the processes as they are at this moment; releaser itself does not count, wherever it runs from."""
        ours = _this_and_its_ancestors()
        users = self.users(str(self.target.directory))
        earlier = self.users(str(self.origin.directory)) if self.origin is not None else []
        return Seen(
            begun=tuple(one for one in users if one.pid not in ours and one.began + _TICK > self.flipped_at),
            left=tuple(one for one in earlier if one.pid not in ours),
            hidden=not users and self.is_used(str(self.target.directory)),
            hidden_left=self.origin is not None and not earlier and self.is_used(str(self.origin.directory)),
        )

    def problem(self, seen: Seen) -> Finding | None:
        """Say what the restart has not done; None if all is as it should be."""
        if seen.has_taken_over:
            return None
        if seen.has_left:
            earlier = self.origin.id if self.origin is not None else ""
            left = f": {first_few(map(str, seen.left))}" if seen.left else ""
            count = f"{len(seen.left)} {'process still runs' if len(seen.left) == 1 else 'processes still run'}"
            who = count if seen.left else "processes that cannot be seen from here still run"
            return Finding(
                "processes-left",
                message=f"{who} on release {earlier}, which was live before{left}",
                advice="They use its packages until they end. Restart them, and make `restart` do so from now on.",
            )
        return Finding(
            "restart-ineffective",
            message=f"no new process uses release {self.target.id}; the restart seems to have failed",
            advice="Check that the site's server runs from `.venv`, and that `restart` restarts it.",
        )


def in_use(release: Release | None) -> bool:
    """Whether others than releaser itself use a release."""
    if release is None:
        return False
    directory, ours = str(release.directory), _this_and_its_ancestors()
    found = leases.users(directory)
    return any(one.pid not in ours for one in found) or (not found and leases.is_used(directory))


def _this_and_its_ancestors() -> set[int]:
    """Return the ids of this process and of those that it was started by."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            break
        pid = int(fields[1])  # the parent (proc_pid_stat(5))
    return found


_IN_TIME = 3600.0  # seconds after the flip: requests and tasks that have begun before may still go on


def left_behind(store: ReleaseStore) -> tuple[LeftBehind, ...]:
    """Return the processes that use another release than the live one, of those that can be seen; oldest release first.

    There are none while nothing is live.
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
    """Add the processes that no run has got to restart.

    If the server was told to restart, and no health check has waited for it, it needs a moment for that: the next run
    tells which stay on the release before.
    """
    steps = {one.step: one.status for one in report.steps}
    has_waited = steps.get("health check", "skipped") != "skipped"
    waits = report.live_changed and steps.get("restart") == "ok" and not has_waited
    with contextlib.suppress(OSError):
        found = (one for one in left_behind(store_of(site)) if not waits or one.release != report.previous)
        shown = tuple(replace(one, command=site.redactor.clean(one.command)) for one in found)
        return replace(report, left_behind=shown)
    return report


def note_stale_processes(site: Site, log: RunLog) -> None:
    """Report processes that go on with old packages long after the flip, each once.

    A run that changes something tells of them anyway; this is for the nights in which nothing is newer.
    """
    # Each flip makes a new symlink.
    if store_of(site).live() is None or time.time() - os.lstat(site.project.venv).st_mtime < _IN_TIME:
        return
    found = left_behind(store_of(site))
    told = read_notes(site.state_dir).left_behind
    names = frozenset(f"{one.pid} {one.release}" for one in found)  # a number given again by then counts as told
    if names - told:
        groups: dict[str, list[str]] = {}
        for one in found:
            groups.setdefault(one.release, []).append(f"{one.pid} ({one.user}, {one_line(one.command, limit=80)})")
        message = "; ".join(f"on {release}: {first_few(processes)}" for release, processes in groups.items())
        advice = "Restart them: they use old packages. `releaser list` shows who uses which release."
        log.note(Finding("not-restarted", message=f"not restarted since the last flip: {message}", advice=advice))
    note(site.state_dir, left_behind=names)
