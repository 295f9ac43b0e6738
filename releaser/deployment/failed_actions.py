"""The actions that failed after a flip that was not taken back: the next update does them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.checkout.publish import FailedSteps, note_due, read_pending
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.site.site import Site

BY_HAND = "Start it by hand, or run `releaser update`."  # a service that is stopped


def note_failed_actions(site: Site, release: Release, names: Iterable[str]) -> None:
    """Note which actions after the flip to a release have failed; none clears the note."""
    failed, known = tuple(sorted(names)), read_pending(site.state_dir).pending_steps
    since = (known.stopped if known else "") or timestamp()
    stopped = since if site.settings.start and "restart" in failed else ""
    due = FailedSteps(release=release.id, steps=failed, stopped=stopped) if failed else None
    note_due(site, pending_steps=due)


def failed_actions(state_dir: Path, release: Release | None) -> frozenset[str]:
    """Return the actions after the flip to a release that are still to be done."""
    found = read_pending(state_dir).pending_steps
    return frozenset(found.steps if found and release and found.release == release.id else ())
