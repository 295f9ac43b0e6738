"""Work for a later run: commits, pushes, and actions that failed after a flip without an automatic rollback."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from releaser.errors import FollowUpError, ReleaserError, reason_of
from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen, replace
from releaser.system.state_files import StateFile
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


_AGAIN = "releaser tries again at the next run."
BY_HAND = "Start it yourself, or run `releaser update`."  # a service that is stopped


class FailedSteps(Frozen):
    """The actions that failed after the flip to a release."""

    release: str
    steps: tuple[str, ...]
    #: The time, as ISO 8601, since which the service is stopped because `start` failed; empty if it runs.
    stopped: str = ""


class Pending(Frozen):
    """The work that is still due."""

    #: True if the lock of the live release has to be committed.
    commit: bool = False
    #: True if a commit has to be pushed.
    push: bool = False
    #: The actions to repeat; None without any.
    pending_steps: FailedSteps | None = None
    #: The commits of releaser that may not be pushed yet.
    commits: tuple[str, ...] = ()
    #: The release that a rollback by hand left, until the commit of the rollback is pushed.
    left: str = ""


#: An unneeded push does no harm, and no other file shows that one is due.
PENDING = StateFile(name="pending.json", type=Pending, substitute=Pending(push=True))


def attempt(log: RunLog, name: str, act: Callable[[Step], None]) -> bool:
    """Do one follow-up. A failure returns False, is reported, and makes the run exit 7.

    Nothing is rolled back. The next run repeats the follow-ups in `Pending`.
    """
    with log.step(name) as step:
        try:
            act(step)
        except (ReleaserError, OSError) as error:
            advice, output = (error.advice, error.output) if isinstance(error, ReleaserError) else ("", "")
            failure = FollowUpError(f"{name} failed: {reason_of(error)}", advice or _AGAIN, output=output)
            step.status, step.detail = "failed", failure.message
            log.note_failure(failure)
            return False
    return True


def read_pending(state_dir: Path) -> Pending:
    """Return the work that is due; none if the file cannot be read."""
    return load_state(state_dir / PENDING, Pending())


def note_due(site: Site, **due: Any) -> None:
    """Record work that is due. A full disk is ignored: it must not stop the run."""
    before = read_pending(site.state_dir)
    after = replace(before, **due)
    if after != before:
        with contextlib.suppress(OSError):
            write_state(site.state_dir / PENDING, after)


def note_failed_actions(site: Site, release: Release, names: Iterable[str], *, is_down: bool) -> None:
    """Record the actions that failed after the flip to a release; no names clear the record.

    `is_down`: whether the site is down until they are done.
    """
    failed, known = tuple(sorted(names)), read_pending(site.state_dir).pending_steps
    stopped = ((known.stopped if known else "") or timestamp()) if is_down else ""
    due = FailedSteps(release=release.id, steps=failed, stopped=stopped) if failed else None
    note_due(site, pending_steps=due)


def failed_actions(state_dir: Path, release: Release | None) -> frozenset[str]:
    """Return the actions after the flip to a release that have to be repeated."""
    found = read_pending(state_dir).pending_steps
    return frozenset(found.steps if found and release and found.release == release.id else ())
