"""Channels as commands tell of them, and reading one from where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from releaser.bundles.places import open_place
from releaser.bundles.pointer import LARGEST, Move, file_of, is_name, read_channel
from releaser.errors import UsageError, refuse
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from releaser.bundles.places import Found, Place
    from releaser.bundles.pointer import Pointer
    from releaser.bundles.trust import Trust
    from releaser.system.process import Runner


class ChannelDetails(Frozen):
    """Where a channel points to, and what it pointed to before."""

    channel: str
    #: Where it lies.
    place: str
    project: str
    release: str
    #: It grows with each move.
    sequence: int
    #: As ISO 8601.
    expires: str
    expired: bool
    #: Who has signed it; empty if it was signed just now.
    signer: str
    #: The newest first.
    moves: tuple[Move, ...]


class Channel(Frozen):
    """A channel by its name, and the place where it lies."""

    name: str
    #: That place, as it was named.
    where: str

    def __str__(self) -> str:
        return f"{self.where}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Channel:
        """Read `PLACE/NAME`. Raises UsageError."""
        where, _, name = text.rpartition("/")
        return cls.of(where or ("/" if text.startswith("/") else "."), name)

    @classmethod
    def of(cls, where: str, name: str) -> Channel:
        """Name a channel and its place. Raises UsageError."""
        if not is_name(name):
            message = f"{name!r} is not the name of a channel"
            raise UsageError(message, advice="Use letters, digits, - and _; `update --from` takes PLACE/NAME.")
        open_place(where, {})
        return cls(name=name, where=where.rstrip("/") or "/")

    def place(self, runner: Runner) -> Place:
        """Return where it lies."""
        return open_place(self.where, runner.environ)

    def find(self, runner: Runner) -> Found | None:
        """Return its file; None if there is none. Raises ResolutionError."""
        return self.place(runner).read(file_of(self.name), LARGEST)

    def read(self, runner: Runner, trust: Trust | None) -> tuple[Pointer, str]:
        """Return its pointer, and who has signed that. Raises PreflightError and ResolutionError."""
        found = self.find(runner)
        if found is None:
            refuse(f"there is no channel {self}", "Publish it: `releaser channel publish`; or correct its name.")
        return self.verify(runner, found, trust)

    def verify(self, runner: Runner, found: Found, trust: Trust | None) -> tuple[Pointer, str]:
        """Return the pointer in its file, and who has signed it. Raises PreflightError."""
        if trust is None:
            message = f"the channel {self} cannot be verified: it is not said whom this host trusts"
            refuse(message, "Set `bundle_signers` to an allowed_signers file (ssh-keygen(1)).")
        return read_channel(runner, found.data, self.name, trust)

    def details(self, pointer: Pointer, *, signer: str) -> ChannelDetails:
        """Tell of its pointer."""
        return ChannelDetails(
            channel=self.name,
            place=self.where,
            project=pointer.project,
            release=pointer.current.release,
            sequence=pointer.current.sequence,
            expires=pointer.expires,
            expired=pointer.has_expired,
            signer=signer,
            moves=pointer.moves,
        )
