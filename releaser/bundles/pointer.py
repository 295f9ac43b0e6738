"""A channel: a signed pointer to the bundle that hosts should run, with the history of its moves."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from releaser.bundles.manifest import RELEASE_ID, SHA256, is_time
from releaser.bundles.places import Place, StoredFile, open_place
from releaser.errors import PreflightError, UsageError, how_to_set, refuse
from releaser.system.expression import expression
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.bundles.trust import Trust
    from releaser.system.process import Runner

NAMESPACE = "releaser-channel"
LARGEST = 1 << 20  # bytes of the file
KEPT = 50  # moves
_FORMAT = 1
_NAME = expression(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_FILE = expression(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.bundle", re.ASCII)
_LARGEST_BUNDLE = (1 << 32) - 1
_AGAIN = "Publish the channel again: `releaser channel publish`."


class PublishedBundle(Frozen):
    """A file in the channel's directory; `manifest` is the digest of the manifest in it."""

    path: str
    sha256: str
    size: int
    manifest: str


class PublishedDelta(PublishedBundle):
    """A bundle for hosts that have installed the bundle of the release `base`."""

    base: str


class Move(Frozen):
    """A change of a channel: the bundle to which it points, since when, and by whom."""

    #: Larger than the sequence of any earlier move.
    sequence: int
    #: As ISO 8601 in UTC.
    at: str
    by: str
    action: Literal["publish", "promote", "rollback"]
    release: str
    #: The sequence of the bundle: a release that was built later has a larger one.
    built: int
    #: When it expires, as ISO 8601; None if it never expires.
    bundle_expires: str | None
    bundle: PublishedBundle
    deltas: tuple[PublishedDelta, ...] = ()
    #: The packages of `update --override` that the release tries; only a channel for tests has such moves.
    overrides: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[PublishedBundle, ...]:
        """The bundle, and its deltas."""
        return (self.bundle, *self.deltas)


class Pointer(Frozen):
    """The content of a channel; the first of the `moves` is the newest, and counts."""

    format: int = _FORMAT
    project: str
    channel: str
    expires: str
    moves: tuple[Move, ...]
    #: True if only test hosts follow the channel.
    for_tests: bool = False

    @property
    def current(self) -> Move:
        """The newest move, with the bundle that hosts should run."""
        return self.moves[0]

    @property
    def text(self) -> str:
        """The signed text, the same for the same facts."""
        from dataclasses import asdict  # slow to import

        found = asdict(self)
        for move in found["moves"]:
            if not move["overrides"]:  # then earlier versions of releaser can read it, as with the next one
                del move["overrides"]
        if not self.for_tests:
            del found["for_tests"]
        return json.dumps(found, indent=1) + "\n"

    @property
    def sha256(self) -> str:
        """The digest of the signed text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def has_expired(self) -> bool:
        """True if hosts no longer accept the pointer."""
        return datetime.fromisoformat(self.expires) <= datetime.now(UTC)


def file_of(channel: str) -> str:
    """Return the name of a channel's file."""
    return f"{channel}.channel"


def write_channel(pointer: Pointer, signature: bytes) -> bytes:
    """Return the file of a channel: pointer and signature in one file, so that readers never get a mismatch."""
    return json.dumps({"pointer": pointer.text, "signature": signature.decode()}, indent=1).encode() + b"\n"


def read_channel(runner: Runner, data: bytes, channel: str, trust: Trust) -> tuple[Pointer, str]:
    """Return the pointer in the file of a channel, and its signer. Raises PreflightError.

    Verifies the signature before it parses the pointer.
    """
    try:
        if len(data) > LARGEST:
            refuse("channel-invalid", f"it is larger than {LARGEST} bytes", _AGAIN)
        text, signature = _split(data)
        signer = trust.verify(runner, text.encode(), signature.encode(), namespace=NAMESPACE)
        pointer = _parse(text)
        if pointer.channel != channel:
            refuse("channel-invalid", f"it is that of the channel {pointer.channel}", "Check who published it there.")
    except PreflightError as error:
        refuse("channel-invalid", f"the channel {channel} is not valid: {error.message}", error.advice)
    return pointer, signer


def _split(data: bytes) -> tuple[str, str]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        refuse("channel-invalid", "it is not JSON", _AGAIN)
    if not isinstance(content, dict) or sorted(content) != ["pointer", "signature"]:
        refuse("channel-invalid", "it does not consist of a pointer and a signature", _AGAIN)
    if not all(isinstance(value, str) and value.isascii() for value in content.values()):
        refuse("channel-invalid", "its pointer or signature is not text", _AGAIN)
    return content["pointer"], content["signature"]


def _parse(text: str) -> Pointer:
    from msgspec import ValidationError, convert

    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("format") not in (None, _FORMAT):
            refuse(
                "channel-format",
                f"it has format {content['format']!r}, but this version of releaser reads format {_FORMAT}",
                "Upgrade releaser.",
            )
        found = convert(content, Pointer)
    except (ValidationError, ValueError, RecursionError) as error:
        refuse("channel-invalid", str(error), _AGAIN)
    for flaw in _flaws(found):
        refuse("channel-invalid", flaw, _AGAIN)
    if found.text != text:
        refuse("channel-invalid", "it is not in the form that releaser writes", _AGAIN)
    return found


def _flaws(found: Pointer) -> Iterator[str]:
    sequences = [listed_move.sequence for listed_move in found.moves]
    if not sequences or sequences != sorted({*sequences}, reverse=True) or sequences[-1] <= 0:
        yield "its sequence does not grow with each move"
    times = (
        found.expires,
        *(time for listed_move in found.moves for time in (listed_move.at, listed_move.bundle_expires)),
    )
    yield from (f"{time!r} is not a time in UTC" for time in times if time is not None and not is_time(time))
    for move in found.moves:
        if move.overrides and not found.for_tests:
            yield f"{move.release} tries packages, and the channel is not for tests"
        releases = (move.release, *(delta.base for delta in move.deltas))
        if not all(map(RELEASE_ID.fullmatch, releases)):
            yield f"{' or '.join(releases)} is not the name of a release"
        for file in move.files:
            if not _FILE.fullmatch(file.path):
                yield f"{file.path!r} is not the name of a bundle in the same directory"
            if not SHA256.fullmatch(file.sha256) or not SHA256.fullmatch(file.manifest):
                yield f"a hash of {file.path} is not valid"
            if not 0 < file.size <= _LARGEST_BUNDLE:
                yield f"{file.path} cannot be {file.size} bytes"


# Channels in their places


class ChannelDetails(Frozen):
    """The bundle to which a channel points, and the earlier ones."""

    channel: str
    #: The place of the channel.
    place: str
    project: str
    release: str
    #: It grows with each move.
    sequence: int
    #: As ISO 8601.
    expires: str
    expired: bool
    #: True if only test hosts follow it.
    for_tests: bool
    #: Who has signed it; empty if it was signed just now.
    signer: str
    #: The newest first.
    moves: tuple[Move, ...]


class Channel(Frozen):
    """A channel, by its name and its place."""

    name: str
    #: The place, as the user wrote it.
    where: str

    def __str__(self) -> str:
        return f"{self.where}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Channel:
        """Parse `PLACE/NAME`. Raises UsageError."""
        where, _, name = text.rpartition("/")
        return cls.of(where or ("/" if text.startswith("/") else "."), name)

    @classmethod
    def of(cls, where: str, name: str) -> Channel:
        """Return the channel with a name in a place. Raises UsageError."""
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not a valid channel name"
            raise UsageError(message, "Use letters, digits, - and _; `update --from` takes PLACE/NAME.")
        open_place(where, {})
        return cls(name=name, where=where.rstrip("/") or "/")

    def place(self, runner: Runner) -> Place:
        """Return the place of the channel."""
        return open_place(self.where, runner.environ)

    def find(self, runner: Runner) -> StoredFile | None:
        """Return the file of the channel; None if it does not exist. Raises ResolutionError."""
        return self.place(runner).read(file_of(self.name), LARGEST)

    def read(self, runner: Runner, trust: Trust | None) -> tuple[Pointer, str]:
        """Return the pointer of the channel, and its signer. Raises PreflightError and ResolutionError."""
        found = self.find(runner)
        if found is None:
            refuse(
                "channel-missing",
                f"there is no channel {self}",
                "Correct the name, or publish the channel: `releaser channel publish`.",
            )
        return self.verify(runner, found, trust)

    def verify(self, runner: Runner, found: StoredFile, trust: Trust | None) -> tuple[Pointer, str]:
        """Return the pointer in the file `found`, and its signer. Raises PreflightError."""
        if trust is None:
            message = f"the channel {self} cannot be verified: no trusted signers are set on this host"
            refuse(
                "signers-unset",
                message,
                f"To name an allowed_signers file, {how_to_set('bundle_signers', 'FILE')}.",
            )
        return read_channel(runner, found.data, self.name, trust)

    def details(self, pointer: Pointer, *, signer: str) -> ChannelDetails:
        """Return the details of a pointer of the channel."""
        return ChannelDetails(
            channel=self.name,
            place=self.where,
            project=pointer.project,
            release=pointer.current.release,
            sequence=pointer.current.sequence,
            expires=pointer.expires,
            expired=pointer.has_expired,
            for_tests=pointer.for_tests,
            signer=signer,
            moves=pointer.moves,
        )
