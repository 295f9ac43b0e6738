"""The lifecycle of a release, recorded in `state.json` in its directory."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from releaser.system.digests import hex_digest
from releaser.system.files import UnreadableStateError, read_state, write_state
from releaser.system.frozen import Frozen, replace
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
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
    #: True if a person has excluded the release from pruning.
    pinned: bool = False
    #: Why the release is ready and not live yet, such as an hour of the day; empty if nothing kept it.
    waits: str = ""
    #: True if newer packages do not replace it while it waits.
    kept: bool = False
    #: When it may go live, if that is known.
    until: datetime | None = None
    #: The command that makes the release live, if no update may do so; empty if updates may take it up.
    request: str = ""
    #: Why the release is ready although no update of this site makes it live, such as a branch that waits for a merge;
    #: empty if nothing reserves it.
    reserved: str = ""
    #: The digest of the configuration that it was tested with and that git does not track; empty if unknown.
    configuration: str = ""
    #: Counts the changes of this record: of two, the higher one is newer.
    revision: int = 0

    @property
    def is_good(self) -> bool:
        """True if a rollback may go to the release."""
        return self.stage == "live"

    def live(self, flip: int) -> Lifecycle:
        """Return the lifecycle after a flip to the release."""
        return replace(
            self,
            stage="live",
            since=timestamp(),
            flip=flip,
            waits="",
            request="",
            reserved="",
            revision=self.revision + 1,
        )

    def waiting(self, reason: str, *, keeps: bool, until: datetime | None, request: str = "") -> Lifecycle:
        """Return the lifecycle after a gate has answered that the release waits, and whether it keeps its place."""
        return replace(self, waits=reason, kept=keeps, until=until, request=request, revision=self.revision + 1)

    def reserved_for(self, reason: str) -> Lifecycle:
        """Return the lifecycle of a release that is kept for this reason; empty if it need not be kept."""
        waits = "" if self.waits == reason else self.waits  # the field of earlier versions
        return replace(self, reserved=reason, waits=waits, revision=self.revision + 1)

    def withdrawn(self) -> Lifecycle:
        """Return the lifecycle after a rollback from the release."""
        return replace(self, stage="withdrawn", since=timestamp(), revision=self.revision + 1)

    def pin(self, *, on: bool) -> Lifecycle:
        """Return the lifecycle after a person has pinned or unpinned the release."""
        return replace(self, pinned=on, revision=self.revision + 1)

    def write(self, directory: Path) -> None:
        """Write `state.json` in the directory of the release, durably. Raises OSError."""
        write_state(directory / LIFECYCLE, self)


def digest_of(configuration: Mapping[str, bytes | None], release: str) -> str:
    """Return a digest of the files that a release was tested with, not comparable with that of another release."""
    text = release
    for name, data in sorted(configuration.items()):
        text += f"{name}\0{hex_digest(data) if data is not None else ''}\n"
    return hex_digest(text.encode(errors="surrogateescape"))


def read_lifecycle(directory: str) -> Lifecycle | None:
    """Read `state.json` in the directory of a release; None if the file is missing or unreadable."""
    with contextlib.suppress(UnreadableStateError):
        return load_lifecycle(directory)
    return None


def load_lifecycle(directory: str) -> Lifecycle | None:
    """Read `state.json` in the directory of a release; None if the file is missing. Raises UnreadableStateError."""
    path = f"{directory}/{LIFECYCLE}"
    try:
        return read_state(path, Lifecycle)
    except OSError as error:
        raise UnreadableStateError(path, str(error.strerror)) from error
