"""What a later run has to do: commit, push, and the actions that failed after a flip that was not taken back."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from releaser.errors import FollowUpError, ReleaserError, reason_of
from releaser.site.restart_settings import RestartSettings
from releaser.system.files import load_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report import RunLog, Step
    from releaser.site.site import Site


_AGAIN = "releaser tries again at the next run."
BY_HAND = "Start it by hand, or run `releaser update`."  # a service that is stopped


class FailedSteps(Frozen):
    """The steps after the flip to a release that failed."""

    release: str
    steps: tuple[str, ...]
    #: Since when, as ISO 8601, the service is stopped, as `start` has failed; empty if it is not.
    stopped: str = ""


class Pending(Frozen):
    """What is still due."""

    #: Whether the lock of the live release is to be committed.
    commit: bool = False
    #: Whether a commit is to be pushed.
    push: bool = False
    #: What to do again after a flip that was not taken back.
    pending_steps: FailedSteps | None = None
    #: The commits that releaser made and that are not known to be pushed.
    commits: tuple[str, ...] = ()
    #: The release that a person left by a rollback, until the commit of the rollback is pushed.
    left: str = ""


#: A push too many does no harm, and nothing else tells that one is due.
PENDING = StateFile(name="pending.json", type=Pending, substitute=Pending(push=True))


def attempt(log: RunLog, name: str, act: Callable[[Step], None]) -> bool:
    """Do one follow-up; False when it failed, which is reported and makes the exit code 7."""
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
    """Return what is due; what cannot be read tells of nothing."""
    return load_state(state_dir / PENDING, Pending())


def note_due(site: Site, **due: Any) -> None:
    """Note what is due; a disk that is full must not keep a good release from being published."""
    before = read_pending(site.state_dir)
    after = replace(before, **due)
    if after != before:
        with contextlib.suppress(OSError):
            write_state(site.state_dir / PENDING, after)


def note_failed_actions(site: Site, release: Release, names: Iterable[str]) -> None:
    """Note which actions after the flip to a release have failed; none clears the note."""
    failed, known = tuple(sorted(names)), read_pending(site.state_dir).pending_steps
    since = (known.stopped if known else "") or timestamp()
    stopped = since if RestartSettings.of(site).start and "restart" in failed else ""
    due = FailedSteps(release=release.id, steps=failed, stopped=stopped) if failed else None
    note_due(site, pending_steps=due)


def failed_actions(state_dir: Path, release: Release | None) -> frozenset[str]:
    """Return the actions after the flip to a release that are still to be done."""
    found = read_pending(state_dir).pending_steps
    return frozenset(found.steps if found and release and found.release == release.id else ())
