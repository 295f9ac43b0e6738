"""Channels: publishes bundles on them, promotes bundles to other channels, and moves channels back."""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.bundles.archive import open_archive
from releaser.bundles.pointer import (
    KEPT,
    NAMESPACE,
    Channel,
    ChannelDetails,
    Move,
    Pointer,
    PublishedBundle,
    PublishedDelta,
    file_of,
    write_channel,
)
from releaser.bundles.trust import Trust, sign
from releaser.errors import NoSuchReleaseError, refuse
from releaser.site.ownership import name_of
from releaser.system.files import hash_of_file
from releaser.system.frozen import Frozen, replace

if TYPE_CHECKING:
    from releaser.bundles.manifest import BundleManifest
    from releaser.bundles.places import StoredFile
    from releaser.system.process import Runner


class Publisher(Frozen):
    """Moves channels. All methods raise PreflightError, and ResolutionError if the place cannot be reached.

    The pointer is written last, atomically, and only over the pointer that it was made from.
    """

    runner: Runner
    key: Path
    #: How long hosts accept the pointer, in seconds.
    expires: float
    #: The trusted signers of bundles and pointers; None if none are set.
    trust: Trust | None
    #: True to write nothing.
    dry_run: bool = False

    def publish(
        self, channel: Channel, file: Path, deltas: tuple[Path, ...], *, for_tests: bool = False
    ) -> ChannelDetails:
        """Upload a bundle and its deltas, and point the channel to them; `for_tests` creates one for test hosts."""
        manifest, bundle = self._describe(file)
        if manifest.base is not None:
            refuse(
                "bundle-is-delta",
                f"{file} is a delta: hosts without {manifest.base.release} could not follow the channel",
                "Publish the full bundle, and the delta with `--delta FILE`.",
            )
        others = tuple(self._describe_delta(delta, manifest) for delta in deltas)
        found, pointer = self._read(channel)
        offered = Move(
            sequence=0,
            at="",
            by="",
            action="publish",
            release=manifest.release,
            built=manifest.sequence,
            bundle_expires=manifest.expires,
            bundle=bundle,
            deltas=others,
            overrides=manifest.overrides,
        )
        _refuse_older(channel, pointer, offered)
        if for_tests and pointer is not None and not pointer.for_tests:
            refuse(
                "channel-not-for-tests",
                f"{channel} exists, and hosts other than test hosts may follow it",
                "Run `releaser channel publish --for-tests` with another `--name`.",
            )
        for_tests = for_tests or (pointer is not None and pointer.for_tests)
        _refuse_for_tests(channel, offered, for_tests=for_tests)
        if not self.dry_run:
            for path, one in zip((file, *deltas), offered.files, strict=True):
                channel.place(self.runner).put(one.path, path)
        return self._go(channel, found, pointer, manifest.project, offered, for_tests=for_tests)

    def promote(self, source: Channel, channel: Channel) -> ChannelDetails:
        """Point a channel to the release of another channel in the same place."""
        offered, _ = source.read(self.runner, self.trust)
        if offered.has_expired:
            refuse(
                "channel-expired",
                f"the channel {source} expired at {offered.expires}",
                "If its release should still be installed, first publish the channel again.",
            )
        expires = offered.current.bundle_expires
        if expires is not None and datetime.fromisoformat(expires) <= datetime.now(UTC):
            refuse(
                "bundle-expired",
                f"the bundle of {offered.current.release} expired at {expires}",
                "Create and publish a new bundle.",
            )
        found, pointer = self._read(channel)
        _refuse_older(channel, pointer, offered.current)
        for_tests = pointer is not None and pointer.for_tests
        _refuse_for_tests(channel, offered.current, for_tests=for_tests)
        move = replace(offered.current, action="promote")
        return self._go(channel, found, pointer, offered.project, move, for_tests=for_tests)

    def rollback(self, channel: Channel, release: str | None) -> ChannelDetails:
        """Point a channel to an earlier release, by default the newest older one. Raises NoSuchReleaseError."""
        found, pointer = self._read(channel)
        if pointer is None:
            refuse("channel-missing", f"there is no channel {channel}", "Correct the name or the place.")
        offered = replace(_choose(channel, pointer, release), action="rollback")
        return self._go(channel, found, pointer, pointer.project, offered, for_tests=pointer.for_tests)

    def _describe(self, file: Path) -> tuple[BundleManifest, PublishedBundle]:
        """Describe a bundle, after checking that it is signed, valid and not expired."""
        with open_archive(file) as archive:
            if archive.signature is None:
                refuse(
                    "not-signed",
                    f"{file} is not signed, so no host would install it",
                    "Create the bundle with `--sign KEY`.",
                )
            if self.trust is not None:
                self.trust.verify(self.runner, archive.data, archive.signature)
            manifest = archive.manifest()
            archive.verify(manifest)
        if manifest.has_expired(datetime.now(UTC)):
            refuse("bundle-expired", f"{file} expired at {manifest.expires}", "Create a new bundle.")
        digest = hash_of_file(file) or ""
        path, size = f"{manifest.release}-{digest[:16]}.bundle", file.stat().st_size
        return manifest, PublishedBundle(path=path, sha256=digest, size=size, manifest=manifest.sha256)

    def _describe_delta(self, file: Path, whole: BundleManifest) -> PublishedDelta:
        manifest, found = self._describe(file)
        if manifest.base is None or (manifest.release, manifest.project) != (whole.release, whole.project):
            refuse(
                "bundle-other-delta",
                f"{file} is not a delta of {whole.release}",
                "Create the delta with `--base`, from the same release.",
            )
        return PublishedDelta(**vars(found), base=manifest.base.release)

    def _read(self, channel: Channel) -> tuple[StoredFile | None, Pointer | None]:
        """Return the file and the pointer of a channel. The pointer must be valid, as its sequence goes on."""
        found = channel.find(self.runner)
        return found, channel.verify(self.runner, found, self.trust)[0] if found is not None else None

    def _go(  # noqa: PLR0913 - where from, and where to
        self,
        channel: Channel,
        found: StoredFile | None,
        before: Pointer | None,
        project: str,
        offered: Move,
        *,
        for_tests: bool,
    ) -> ChannelDetails:
        if before is not None and before.project != project:
            refuse(
                "other-project",
                f"{channel} is a channel of {before.project}, but this project is {project}",
                "Use another name, or another place.",
            )
        now, last = datetime.now(UTC), before.current.sequence if before is not None else 0
        move = replace(
            offered,
            sequence=max(int(time.time()), last + 1),  # hosts accept it even if the file was lost and is created again
            at=now.isoformat(timespec="seconds"),
            by=f"{name_of(os.geteuid()) or os.geteuid()}@{socket.gethostname()}",
        )
        pointer = Pointer(
            project=project,
            channel=channel.name,
            expires=(now + timedelta(seconds=self.expires)).isoformat(timespec="seconds"),
            moves=(move, *(before.moves if before is not None else ()))[:KEPT],
            for_tests=for_tests,
        )
        if not self.dry_run:
            signature = sign(self.runner, pointer.text.encode(), self.key, namespace=NAMESPACE)
            channel.place(self.runner).replace(file_of(channel.name), write_channel(pointer, signature), found)
        return channel.details(pointer, signer="")


def _refuse_for_tests(channel: Channel, offered: Move, *, for_tests: bool) -> None:
    """Refuse to point a channel that is not for tests to a release that tries packages. Raises PreflightError."""
    if offered.overrides and not for_tests:
        refuse(
            "channel-not-for-tests",
            f"{offered.release} tries {', '.join(offered.overrides)}, and {channel} is not a channel for tests",
            "Create a channel for test hosts: `releaser channel publish --for-tests` with another `--name`.",
        )


def _refuse_older(channel: Channel, before: Pointer | None, offered: Move) -> None:
    if before is not None and offered.built < before.current.built:
        message = f"{offered.release} is older than {before.current.release}, which {channel} points at"
        refuse("bundle-older", message, f"To go back, run `releaser channel rollback {channel.name}`.")


def _choose(channel: Channel, pointer: Pointer, release: str | None) -> Move:
    """Return the move to go back to. Raises NoSuchReleaseError."""
    for move in pointer.moves:
        if move.built < pointer.current.built if release is None else move.release.startswith(release):
            return move
    message = f"{channel} has no record of {release or 'an older release'}"
    raise NoSuchReleaseError(message, "`releaser channel show` lists its releases.")
