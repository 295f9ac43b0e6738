"""What became of a release, as is noted in its own directory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.frozen import Frozen
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from pathlib import Path

LIFECYCLE = "state.json"
# `ready`: its tests passed, and it waits to go live; `live`: it went live, and nothing is held against it since: the
# symlink says whether it still is; `withdrawn`: it was rolled back, or taken back; `failed`: no run makes it live.
Stage = Literal["ready", "live", "failed", "withdrawn"]


class Lifecycle(Frozen):
    """How far a release has come."""

    stage: Stage
    #: When it came there.
    since: str
    #: The number of its last flip, counted over all releases of the site; 0 if it was never live.
    flip: int = 0
    #: Whether it is never pruned.
    pinned: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it went live and was not withdrawn: a rollback may go to it."""
        return self.stage == "live"

    def live(self, flip: int) -> Lifecycle:
        """Note that it went live by this flip."""
        return replace(self, stage="live", since=timestamp(), flip=flip)

    def withdrawn(self) -> Lifecycle:
        """Note that it was rolled back, or taken back."""
        return replace(self, stage="withdrawn", since=timestamp())

    def write(self, directory: Path) -> None:
        """Note this in the directory of the release, durably. Raises OSError."""
        write_state(directory / LIFECYCLE, self)


def read_lifecycle(directory: str) -> Lifecycle | None:
    """Read that of the release in a directory; None if there is none, or none that can be read."""
    try:
        return read_state(f"{directory}/{LIFECYCLE}", Lifecycle)
    except (UnreadableStateError, OSError):  # the next run puts it aside, if it can, and says so
        return None
