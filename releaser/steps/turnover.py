"""Whether a restart has had its effect: which processes a flip has brought, and which it has left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.releases import leases, processes, startup
from releaser.report.outcome import Problem

if TYPE_CHECKING:
    from releaser.releases.processes import Process
    from releaser.releases.release import Release

_MOST_NAMED = 5
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds; the kernel tells the start of a process no better


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The processes that there are of two releases.

    `begun` are on the new one and began after the flip, `left` are on the earlier one. `hidden` and `hidden_left` say
    that there are some that cannot be seen from here, in another container for instance.
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
    def is_settled(self) -> bool:
        """Whether the new release is in use, and the earlier one is not."""
        return bool(self.begun or self.hidden) and not self.has_left

    @property
    def proves_it(self) -> bool:
        """Whether it is known that the new release answers: a process has begun on it, and none is left before."""
        return bool(self.begun) and not self.has_left

    @property
    def summary(self) -> str:
        """What there is to say of those on the new release."""
        if not self.begun:
            found = "processes that cannot be seen from here use" if self.hidden else "no process was seen that uses"
            return f"{found} the release"
        count = len(self.begun)
        return f"{count} {'process has' if count == 1 else 'processes have'} begun since the flip"


@dataclass(frozen=True, kw_only=True)
class Turnover:
    """A flip from `origin` (None: nothing was live) to `target`, made when the system had run for `flipped_at` seconds.

    `was_used` says that processes of `origin` were seen then: else those of the site may never be, as it does not run,
    or started before its release had the start-up module. One that `goes_back` takes back a release that did not work
    out. `users` tells which processes use the release in a directory, `is_used` whether any does at all.
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

    def doubt(self, seen: Seen) -> Problem | None:
        """Say what the restart has not done; None if all is as it should be."""
        if seen.is_settled:
            return None
        if seen.has_left:
            earlier = self.origin.id if self.origin is not None else ""
            return Problem(
                message=f"{_left(seen)} on release {earlier}, which was live before{_named(seen.left)}",
                advice="They go on with its packages until they end. Restart them, and let `restart` do so in future.",
            )
        return Problem(
            message=(
                f"no process that began after the flip uses release {self.target.id}: the restart seems to have had no"
                " effect"
            ),
            advice="See that the server of the site runs from `.venv`, and that `restart` is what restarts it.",
        )


def in_use(release: Release | None) -> bool:
    """Whether others than releaser itself use a release."""
    if release is None:
        return False
    directory, ours = str(release.directory), _this_and_its_ancestors()
    found = leases.users(directory)
    return any(one.pid not in ours for one in found) or (not found and leases.is_used(directory))


def _left(seen: Seen) -> str:
    if not seen.left:
        return "processes that cannot be seen from here still run"
    return f"{len(seen.left)} {'process still runs' if len(seen.left) == 1 else 'processes still run'}"


def _named(found: tuple[Process, ...]) -> str:
    if not found:
        return ""
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ": " + ", ".join(map(str, found[:_MOST_NAMED])) + more


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


def moment(flipped_at: float | None, boot: str) -> float:
    """Return when a flip was, in seconds since the system started; one before that is further back than all else."""
    return flipped_at if flipped_at is not None and boot == processes.boot_id() else 0.0
