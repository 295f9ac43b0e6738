"""What a host has seen of the channels that it follows."""

from __future__ import annotations

from releaser.system.frozen import Frozen

CHANNELS = "channels.json"  # in the state directory


class Seen(Frozen):
    """The newest pointer of a channel that this host has seen."""

    channel: str
    sequence: int
    #: The digest of what was signed.
    sha256: str
    release: str
    #: What it has come to here, and the digest of what was kept out then; empty until it has come to anything.
    headline: str = ""
    quarantine: str = ""


class SeenChannels(Frozen):
    """Those of all channels."""

    channels: tuple[Seen, ...] = ()

    def of(self, channel: str) -> Seen | None:
        """Return that of one; None if none was seen."""
        return next((one for one in self.channels if one.channel == channel), None)
