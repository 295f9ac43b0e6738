"""The lifecycle of a release, recorded in `state.json` in its directory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from pathlib import Path

LIFECYCLE = "state.json"
# ready: its tests passed, and it has not been live. live: it has been live; the symlink says whether it still is.
# withdrawn: it was live and rolled back, by a person or automatically. failed: it never goes live.
Stage = Literal["ready", "live", "failed", "withdrawn"]


class Lifecycle(Frozen):
    """The stage of a release, and the facts that outlive a lost ledger."""

    stage: Stage
    #: The time of the last change of stage, ISO 8601.
    since: str
    #: The number of the last flip to this release, counted over all releases of the site; 0: it was never live.
    flip: int = 0
    #: Whether a person has excluded the release from pruning.
    pinned: bool = False

    @property
    def is_good(self) -> bool:
        """Whether a rollback may go to the release."""
        return self.stage == "live"

    def live(self, flip: int) -> Lifecycle:
        """Return the lifecycle after a flip to the release."""
        return replace(self, stage="live", since=timestamp(), flip=flip)

    def withdrawn(self) -> Lifecycle:
        """Return the lifecycle after a rollback from the release."""
        return replace(self, stage="withdrawn", since=timestamp())

    def write(self, directory: Path) -> None:
        """Write `state.json` in the directory of the release, durably. Raises OSError."""
        write_state(directory / LIFECYCLE, self)


def read_lifecycle(directory: str) -> Lifecycle | None:
    """Read `state.json` in the directory of a release; None if the file is missing or unreadable."""
    try:
        return read_state(f"{directory}/{LIFECYCLE}", Lifecycle)
    except (UnreadableStateError, OSError):  # the next run moves an unreadable file aside, and reports it
        return None
