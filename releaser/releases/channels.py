"""The channels that a host follows, and the last pointer seen of each."""

from __future__ import annotations

from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile


class Seen(Frozen):
    """The newest pointer that this host has read from a channel."""

    channel: str
    sequence: int
    #: The digest of the signed text.
    sha256: str
    release: str
    #: The result of the last run with this pointer, and the digest of the blocks at that time; empty before.
    headline: str = ""
    quarantine: str = ""


class SeenChannels(Frozen):
    """The last pointers of all channels."""

    channels: tuple[Seen, ...] = ()

    def of(self, channel: str) -> Seen | None:
        """Return the last pointer of a channel; None if none was read."""
        return next((recorded for recorded in self.channels if recorded.channel == channel), None)


CHANNELS = StateFile(
    name="channels.json",
    type=SeenChannels,
    loss="the next update follows a channel even to an older release",
    advice="Check the next update with `releaser show`.",
)
