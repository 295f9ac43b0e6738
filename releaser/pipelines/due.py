"""When the next update may begin: how often, in which window, and how long after that has opened."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from releaser.errors import ExitCode
from releaser.releases.journal import read_history
from releaser.site.settings import this_host
from releaser.site.windows import open_since, opening

if TYPE_CHECKING:
    from collections.abc import Mapping

    from releaser.site.site import Site

_EVERY = 86400.0  # seconds
_SOON = timedelta(hours=1)  # after which an update that did not get as far as the tests is tried again
_SLACK = timedelta(minutes=2)  # as cron is not that exact
_COUNTED = (ExitCode.OK, ExitCode.TESTS, ExitCode.ROLLED_BACK, ExitCode.FOLLOW_UP)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What the command line says of when an update may begin."""

    #: Whether one that is not due is left out.
    if_due: bool = False
    #: Whether it begins whatever is due, and whatever the window is.
    now: bool = False


@dataclass(frozen=True, kw_only=True)
class Due:
    """From when on an update may begin, and why not before that; the reason is empty if nothing keeps it."""

    at: datetime
    reason: str = ""


def find_due(site: Site, *, if_due: bool) -> Due:
    """Return from when on an update may begin: `if_due`, one that is due, else any one."""
    settings, now = site.settings, datetime.now(UTC)
    from_then_on = _due_by_interval(site, now) if if_due else None
    earliest = max(from_then_on or now, now)
    begins = opening(settings.window, _local(earliest)).astimezone(UTC) if settings.window else earliest
    if begins <= now:
        opened = open_since(settings.window, _local(now))
        known = [one for one in (from_then_on, opened and opened.astimezone(UTC)) if one]
        return Due(at=max(known, default=now))
    if earliest <= now:
        return Due(at=begins, reason=f"an update waits for the window, which opens {_shown(begins)}")
    return Due(at=begins, reason=f"the next update is due {_shown(begins)}")


def _due_by_interval(site: Site, now: datetime) -> datetime | None:
    """Return when an update is due after the last ones; None before the first.

    One that did not get as far as the tests, as the network was down, say, does not count: it is tried again soon, and
    then less and less often.
    """
    updates = (run for run in read_history(site.state_dir) if run.get("command") == "update" and not run.get("only"))
    runs = [run for run in updates if not run.get("due_at")]
    begun = [(at, run.get("exit_code") in _COUNTED) for run in runs if (at := _begun(run)) and at <= now]
    failed = list(itertools.takewhile(lambda one: not one[1], begun))
    every = timedelta(seconds=site.settings.every or _EVERY)
    due = [at - jitter_of(site) + every for at, _ in begun[len(failed) :][:1]]
    due += [at + min(every, _SOON * 2 ** min(len(failed) - 1, 16)) for at, _ in failed[:1]]
    return max(due) - _SLACK if due else None


def _begun(run: Mapping[str, Any]) -> datetime | None:
    """Return when a run of the history began; None if that cannot be read. A clock may have been set back since."""
    try:
        return datetime.fromisoformat(str(run.get("started_at"))).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def jitter_of(site: Site) -> timedelta:
    """Return how long after others this site begins: always the same, by its host and path, and within each window."""
    longest = min([site.settings.jitter, *(one.lasts.total_seconds() for one in site.settings.window)])
    digest = hashlib.sha256(f"{this_host()}\0{site.project.root}".encode(errors="surrogateescape")).digest()
    return timedelta(seconds=longest * int.from_bytes(digest[:4]) / 2**32)


def _local(at: datetime) -> datetime:
    return at.astimezone().replace(tzinfo=None)


def _shown(at: datetime) -> str:
    return f"{_local(at):%a %Y-%m-%d %H:%M}"
