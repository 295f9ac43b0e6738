"""What follows a change that is live, and may fail without harm to it: it is reported, and due at the next run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, read_json, write_json
from releaser.errors import FollowUpError, ReleaserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.report.recorder import Step
    from releaser.run import Run

PENDING = "pending.json"
_AGAIN = "releaser tries again at the next run."


def attempt(run: Run, name: str, act: Callable[[Step], None]) -> bool:
    """Do one follow-up; False when it failed, which is reported and makes the exit code 7."""
    with run.recorder.step(name) as step:
        try:
            act(step)
        except (ReleaserError, OSError) as error:
            failure = _follow_up_error(name, error)
            step.status, step.detail = "failed", failure.message
            run.note_problem(failure)
            return False
    return True


def _follow_up_error(name: str, error: ReleaserError | OSError) -> FollowUpError:
    if isinstance(error, ReleaserError):
        return FollowUpError(f"{name} failed: {error.message}", advice=error.advice or _AGAIN, output=error.output)
    return FollowUpError(f"{name} failed: {error}", advice=_AGAIN)


def pending(state_dir: Path) -> dict[str, object]:
    """Return what is due, by name; what cannot be read tells of nothing."""
    with contextlib.suppress(UnreadableStateError):
        return read_json(state_dir / PENDING) or {}
    return {}


def note_due(run: Run, **due: object) -> None:
    """Note what is due; a disk that is full must not keep a good release from being published."""
    state_dir = run.site.project.state_dir
    before = pending(state_dir)
    if any((before.get(name) or False) != (value or False) for name, value in due.items()):
        content = {"commit": False, "push": False, **before, **due}
        with contextlib.suppress(OSError):
            write_json(state_dir / PENDING, content)


def note_unsettled(run: Run, release: Release, names: Iterable[str]) -> None:
    """Note which steps behind the flip to a release have failed, so that the next update does them again."""
    failed = sorted(names)
    note_due(run, unsettled={"release": release.id, "steps": failed} if failed else None)


def unsettled(state_dir: Path, release: Release | None) -> frozenset[str]:
    """Return the steps behind the flip to a release that are still to be done."""
    found = pending(state_dir).get("unsettled")
    if release is None or not isinstance(found, dict) or found.get("release") != release.id:
        return frozenset()
    names = found.get("steps")
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()
