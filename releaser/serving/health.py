"""Checks that the site runs on the new release: its answers to the health check, and the releases of its processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.errors import Finding, ToolError
from releaser.releases import leases, startup
from releaser.serving.processes import own_processes
from releaser.system.frozen import Frozen
from releaser.system.words import first_few
from releaser.tools.web import ask_until_good

if TYPE_CHECKING:
    from collections.abc import Callable

    from releaser.releases.leases import Process
    from releaser.releases.release import Release
    from releaser.serving.health_settings import HealthSettings


def ask_until_well(ask: Callable[[], str], settings: HealthSettings, check: RestartCheck, *, watches: bool) -> str:
    """Run the health check until the new release passes; if no process shows which release answers, repeat it.

    For `health_seconds` every answer must then be good. In a rollback, a bad answer may still come from the withdrawn
    release: then the time starts again, as long as there are tries.
    """
    patience = settings.patience()
    if watches:
        answer = ask_until_good(ask, patience, has_taken_over=lambda: check.look().has_taken_over)
        if answer.taken_over and check.sees_all and check.look().proves_it:
            return answer.answer
    else:
        answer = ask_until_good(ask, patience)
    for left in range(patience.tries if check.goes_back else 1, 0, -1):
        try:
            return f"{answer.answer}{settings.check_stays_good(ask)}"
        except ToolError:
            if left == 1:
                raise
            ask_until_good(ask, patience)
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
        return startup.is_in(self.target.venv)

    def look(self) -> Seen:
        """Look at the processes at this moment; releaser itself does not count, even if it runs from a release."""
        own = own_processes()
        users = self.users(str(self.target.directory))
        earlier = self.users(str(self.origin.directory)) if self.origin is not None else []
        return Seen(
            begun=tuple(user for user in users if user.pid not in own and user.began + _TICK > self.flipped_at),
            left=tuple(process for process in earlier if process.pid not in own),
            hidden=not users and self.is_used(str(self.target.directory)),
            hidden_left=self.origin is not None and not earlier and self.is_used(str(self.origin.directory)),
        )

    def problem(self, seen: Seen) -> Finding | None:
        """Describe what the restart failed to do; None if all processes run on the new release."""
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
