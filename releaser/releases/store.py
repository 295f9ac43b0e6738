"""The releases of a project, as they are on disk."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import NoSuchReleaseError, os_reason
from releaser.releases.contents import open_to_group
from releaser.releases.integrity import find_damage, find_rollback_damage
from releaser.releases.lifecycle import LIFECYCLE, Lifecycle, digest_of, load_lifecycle, read_lifecycle
from releaser.releases.release import (
    DOOMED,
    EMPTY_LEDGER,
    LEDGER,
    MADE,
    MANIFEST,
    NEVER_LIVE,
    Ledger,
    Manifest,
    Release,
    State,
    is_own,
    new_id,
    write_manifest,
)
from releaser.system.deletion import delete_directory
from releaser.system.files import (
    UnreadableStateError,
    load_state,
    put_aside,
    read_state,
    replace_file,
    sync_directory,
    write_state,
)
from releaser.system.frozen import Frozen
from releaser.system.words import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from releaser.releases.key import ReleaseKey
    from releaser.releases.lifecycle import Stage
    from releaser.site.site import Site


_STATES: Mapping[Stage, State] = {"ready": "candidate", "live": "good", "failed": "failed", "withdrawn": "bad"}
_OF_MARKS: Mapping[str, Stage] = {"good": "live", "bad": "withdrawn", "failed": "failed"}


class StoreSnapshot(Frozen):
    """The releases at one moment, read from disk once, and what follows from that."""

    #: The complete ones, newest first by the record.
    releases: tuple[Release, ...]
    ledger: Ledger
    #: By release id, including releases with a damaged manifest.
    lifecycles: Mapping[str, Lifecycle]
    #: What the symlink leads to.
    live_id: str | None
    #: Directories with a manifest that tells nothing of them, each with what that manifest is or does.
    damaged: Mapping[str, str]

    @property
    def live(self) -> Release | None:
        """The release that the symlink leads to; None when it leads to none."""
        return self.get(self.live_id)

    @property
    def just_left(self) -> str | None:
        """The release that was live until the last flip: what has not been restarted yet still runs on it."""
        activations = self.ledger.activations
        return activations[-2] if len(activations) > 1 and activations[-1] == self.live_id else None

    def get(self, release: str | None) -> Release | None:
        """Return one release by its whole id; None when it is not there."""
        return next((one for one in self.releases if one.id == release), None)

    def rollback_order(self) -> Iterator[Release]:
        """Yield the good releases that went live before the live one did, and are still there, the last one first.

        It is never a newer one: after a rollback over two releases, the next one goes further back, not forward.
        """
        live = self.live
        order = list(self.ledger.activations)
        if live is not None and live.id in order:
            order = order[: len(order) - 1 - order[::-1].index(live.id)]
        for release in self._by_activation(order):
            if release.state == "good" and (live is None or release.manifest.sequence < live.manifest.sequence):
                yield release

    def rollback_target(self) -> Release | None:
        """Return the first of `rollback_order` that nothing keeps a rollback from going to."""
        return next((one for one in self.rollback_order() if find_rollback_damage(one) is None), None)

    def newest_good(self) -> Release | None:
        """Return the good release that went live last, of those that a rollback could go to, the live one included."""
        order = self._by_activation(self.ledger.activations)
        good = (one for one in order if self.lifecycles[one.id].is_good)
        return next((one for one in good if find_rollback_damage(one) is None), None)

    def find_ready(
        self, key: ReleaseKey, lock: bytes, configuration: Mapping[str, bytes | None] | None
    ) -> Release | None:
        """Return the ready release with this key and these bytes of uv.lock; None if there is none.

        It must have been tested with this `configuration`, which git does not track.
        """
        if configuration is None:
            return None
        live = self.live
        for release in self.releases:
            if live is not None and release.manifest.sequence < live.manifest.sequence:
                break  # `rollback_order` compares sequence numbers
            is_ready = (
                release.state == "candidate" and release.manifest.tests == "passed" and not release.manifest.never_live
            )
            if not is_ready or release.key != key or release.locked.data != lock:
                continue
            tested_with = self.lifecycles[release.id].configuration
            if tested_with == digest_of(configuration, release.id) and find_damage(release) is None:
                return release
        return None

    def find_waiting(self) -> Release | None:
        """Return the newest release that is ready and waits to go live; None if there is none."""
        after = self.live.manifest.sequence if self.live is not None else 0
        newer = (one for one in self.releases if one.manifest.sequence > after)
        return next((one for one in newer if one.state == "candidate" and self.lifecycles[one.id].waits), None)

    def _by_activation(self, order: Sequence[str]) -> Iterator[Release]:
        releases = {one.id: one for one in self.releases}
        return (releases[name] for name in dict.fromkeys(reversed(order)) if name in releases)


class ReleaseStore(Frozen):
    """Everything below the state directory that concerns releases; `link` is the symlink `.venv` of the project."""

    state_dir: Path
    link: Path
    asks: bool = True  # as `Release.asks`

    @functools.cached_property
    def directory(self) -> Path:
        """The directory that holds one directory a release."""
        return self.state_dir / "releases"

    def path(self, release: str) -> Path:
        """Return the directory of a release, whether it is there or not."""
        return self.directory / release

    # What there is

    def snapshot(self) -> StoreSnapshot:
        """Read all releases and the ledger, once."""
        damaged: dict[str, str] = {}
        manifests = sorted(self._manifests(damaged), key=lambda manifest: manifest.sequence, reverse=True)
        ledger, live = self.ledger(), self.live_id()
        lifecycles = {one.id: self._lifecycle(one, ledger) for one in manifests}
        releases = tuple(self._release(one, lifecycles[one.id], live) for one in manifests)
        lifecycles |= {name: found for name in damaged if (found := read_lifecycle(f"{self.directory}/{name}"))}
        return StoreSnapshot(releases=releases, ledger=ledger, lifecycles=lifecycles, live_id=live, damaged=damaged)

    def all(self) -> tuple[Release, ...]:
        """Return every complete release, newest first by the record. Damaged ones are left out."""
        return self.snapshot().releases

    def find(self, release: str) -> Release:
        """Return one release by its id, or by an unmistakable beginning of it; NoSuchReleaseError otherwise."""
        releases = self.all()
        found = [one for one in releases if one.id == release] or [
            one for one in releases if release and one.id.startswith(release)
        ]
        if len(found) == 1:
            return found[0]
        what = "no release" if not found else "more than one release"
        message = f"there is {what} {release!r} in {self.directory}"
        raise NoSuchReleaseError(message, "See `releaser list`.")

    def get(self, release: str | None) -> Release | None:
        """Return one release by its whole id; None when it is not there."""
        place = self.path(release or "")
        if place.parent != self.directory or not place.is_dir() or place.is_symlink():
            return None
        manifest, live = self._manifest(place.name, {}), self.live_id()
        if manifest is None:
            return None
        is_noted = release == live and (place / LIFECYCLE).exists()
        return self._release(manifest, None if is_noted else self._lifecycle(manifest, self.ledger()), live)

    def live(self) -> Release | None:
        """Return the release that the symlink leads to; None when it leads to none, or is not there."""
        return self.get(self.live_id())

    def live_id(self) -> str | None:
        """Return the id in the symlink's target; the release itself may be gone or damaged."""
        target = target_of(self.link)
        if target is None or target.name != "venv" or target.parent.parent != self.directory:
            return None
        return target.parent.name

    def live_by_record(self) -> str | None:
        """Return the id of the release that releaser made live last, wherever the symlink leads; None before that."""
        return next(reversed(self.ledger().activations), None)

    def find_unsealed(self, sealed: Collection[str] = ()) -> tuple[Path, ...]:
        """Return the directories, other than those `sealed`, without a manifest; not what a deletion left half-way."""
        places = (self.path(name) for name in self._names() if name not in sealed)
        return tuple(place for place in places if not (place / MANIFEST).exists())

    def incomplete(self) -> tuple[Path, ...]:
        """Return those of them that releaser may have made; never the live one."""
        live, known = self.live_id(), self.ledger().named
        return tuple(entry for entry in self.find_unsealed() if entry.name != live and is_own(entry, known))

    def foreign(self) -> tuple[str, ...]:
        """Return the names of what lies among the releases and is none of releaser's."""
        there = set(os.listdir(self.directory)) if self.directory.is_dir() else set()
        known = self.ledger().named
        places = map(self.path, self._names())
        own = {place.name for place in places if (place / MANIFEST).exists() or is_own(place, known)}
        found = there - own - {DOOMED + name for name in self.half_removed()}
        return tuple(name for name in sorted(found) if os.path.lexists(self.path(name)))

    def half_removed(self) -> tuple[str, ...]:
        """Return the releases whose deletion was cut off: what is left of one has the mark of releaser, or is empty."""
        doomed = self._names(doomed=True)
        return tuple(name.removeprefix(DOOMED) for name in doomed if is_own(self.path(name), ()))

    def _names(self, *, doomed: bool = False) -> list[str]:
        """Return the names of the directories of releases, or of those on their way out."""
        try:
            with os.scandir(self.directory) as found:
                names = [one.name for one in found if one.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):  # as where `state_dir` names a file, which preflight says
            return []
        return [name for name in sorted(names) if name.startswith(DOOMED) == doomed]

    def _manifests(self, damaged: dict[str, str]) -> Iterator[Manifest]:
        return filter(None, (self._manifest(name, damaged) for name in self._names()))

    def _manifest(self, name: str, damaged: dict[str, str]) -> Manifest | None:
        """Read a manifest that tells of the release it lies in; what is wrong with another one goes to `damaged`."""
        try:
            manifest = read_state(f"{self.directory}/{name}/{MANIFEST}", Manifest)
        except (UnreadableStateError, OSError) as error:
            what = error.reason if isinstance(error, UnreadableStateError) else os_reason(error)
            damaged[name] = f"cannot be read: {what}"
            return None
        if manifest is not None and manifest.id != name:
            damaged[name] = f"is that of {manifest.id}"
            return None
        return manifest

    def _release(self, manifest: Manifest, lifecycle: Lifecycle | None, live: str | None) -> Release:
        """Build a Release. Without a lifecycle it is the live one, and reads `state.json` when needed."""
        state: State = "live" if lifecycle is None or manifest.id == live else _STATES[lifecycle.stage]
        if state != "live" and manifest.tests in NEVER_LIVE:
            state = "failed"
        place = f"{self.directory}/{manifest.id}"
        return Release(place=place, manifest=manifest, state=state, lifecycle=lifecycle, asks=self.asks)

    # Lifecycles, and the order in which releases went live

    def _lifecycle(self, manifest: Manifest, ledger: Ledger) -> Lifecycle:
        """Return the newer one of the records in the ledger and in the release; without any, a reconstructed one."""
        found = _newer(read_lifecycle(f"{self.directory}/{manifest.id}"), ledger.records.get(manifest.id))
        return found or self._reconstruct(manifest.id, manifest, ledger)

    def _reconstruct(self, name: str, manifest: Manifest | None, ledger: Ledger) -> Lifecycle:
        """Reconstruct a lifecycle from the ledger and the blocks, without `state.json`.

        A release counts as having been live only if the ledger says so. It is pinned if it may have been.
        """
        order = ledger.activations
        flip = ledger.next_flip - 1 - order[::-1].index(name) if name in order else 0
        stage: Stage | None = _OF_MARKS.get(ledger.marks.get(name, ""))
        if stage is None and manifest is not None and manifest.tests in NEVER_LIVE:
            stage = "failed"
        if stage is None:
            stage = "withdrawn" if name in self._backed_out() else "live" if flip else "ready"
        since = manifest.created_at.isoformat(timespec="seconds") if manifest is not None else timestamp()
        return Lifecycle(stage=stage, since=since, flip=flip, pinned=name in ledger.pins or not ledger.is_earlier)

    def _backed_out(self) -> set[str]:
        from releaser.releases.blocks import read_blocks  # which takes long to import

        with contextlib.suppress(OSError):
            return {one.release for one in read_blocks(self.state_dir).candidates}
        return set()

    def record_live(self, release: Release) -> None:
        """Record, durably, that a release is live and good."""
        ledger = self.ledger()
        lifecycle = self._lifecycle(release.manifest, ledger)
        is_last = ledger.activations[-1:] == (release.id,) and lifecycle.flip >= ledger.flips
        if not (lifecycle.is_good and is_last):
            flip = ledger.next_flip
            self._save(release, lifecycle.live(flip), ledger, ledger.activated(release.id, flip=flip))

    def record_withdrawn(self, release: Release) -> None:
        """Record, durably, that a release was rolled back."""
        ledger = self.ledger()
        self._save(release, self._lifecycle(release.manifest, ledger).withdrawn(), ledger, ledger)

    def record_waiting(
        self, release: Release, reason: str, *, keeps: bool = False, until: datetime | None = None
    ) -> bool:
        """Record, durably, why a release that is ready waits, until when, and whether newer packages cannot replace it.

        Returns whether the reason is new.
        """
        ledger = self.ledger()
        before = self._lifecycle(release.manifest, ledger)
        if (before.waits, before.kept, before.until) != (reason, keeps, until):
            self._save(release, before.waiting(reason, keeps=keeps, until=until), ledger, ledger)
        return before.waits != reason

    def pin(self, release: Release, *, on: bool) -> None:
        """Record, durably, that a release is pinned, or no longer pinned."""
        ledger = self.ledger()
        self._save(release, self._lifecycle(release.manifest, ledger).pin(on=on), ledger, ledger)

    def _save(self, release: Release, lifecycle: Lifecycle, before: Ledger, ledger: Ledger) -> None:
        """Write `state.json`, and the ledger if it differs from the one `before`.

        If the directory of the release belongs to another user, the ledger keeps the lifecycle. Raises OSError.
        """
        try:
            lifecycle.write(release.directory)
            ledger = ledger.recorded(release.id, None)
        except PermissionError:
            ledger = ledger.recorded(release.id, lifecycle)
        if ledger != before:
            write_state(self.state_dir / LEDGER, ledger)

    def find_unreadable_records(self) -> Iterator[UnreadableStateError]:
        """Yield an error for each unreadable `state.json`."""
        for name in self._names():
            try:
                load_lifecycle(f"{self.directory}/{name}")
            except UnreadableStateError as error:
                yield error

    def restore_records(self) -> Iterator[tuple[str, UnreadableStateError | None]]:
        """Write each missing `state.json`; yield the ids of releases whose file was lost or unreadable, with the error.

        An unreadable file is moved aside. A release whose file was lost is pinned, as it may have been. Marks and pins
        that earlier versions kept in the ledger are moved into the releases. If a file cannot be written (full disk,
        directory of another user), the ledger keeps the record.
        """
        ledger = self.ledger()
        after = replace(ledger, marks={}, pins=frozenset(), flips=ledger.next_flip - 1)
        for name in self._names():
            found, error = None, None
            try:
                found = load_lifecycle(f"{self.directory}/{name}")
            except UnreadableStateError as wrong:
                error = wrong
            noted, manifest = ledger.records.get(name), None
            if found is None or noted is not None:
                manifest = self._manifest(name, {})
            if (found is not None and noted is None) or (manifest is None and name not in ledger.named):
                continue
            known = _newer(found, noted)
            lifecycle = known or self._reconstruct(name, manifest, ledger)
            try:
                if error is not None:
                    put_aside(error.path)
                lifecycle.write(self.path(name))
                after = after.recorded(name, None)
            except OSError:
                after = after.recorded(name, lifecycle)
            if known is None and manifest is not None and (error is not None or not ledger.is_earlier):
                yield name, error
        if after != ledger:
            with contextlib.suppress(OSError):
                write_state(self.state_dir / LEDGER, after)

    def ledger(self) -> Ledger:
        """Return the ledger; if it is missing or unreadable, one reconstructed from the releases."""
        ledger = load_state(self.state_dir / LEDGER, EMPTY_LEDGER)
        if ledger != EMPTY_LEDGER:
            return ledger
        manifests = list(self._manifests({}))
        known = {one.id: lifecycle for one in manifests if (lifecycle := read_lifecycle(f"{self.directory}/{one.id}"))}
        order = sorted((name for name, one in known.items() if one.flip), key=lambda name: known[name].flip)
        left = {one.previous for one in manifests}  # each of these was live while another release was built
        before = [one for one in manifests if one.id in left and one.id not in known]
        ledger = Ledger(
            activations=(*(one.id for one in sorted(before, key=lambda one: one.sequence)), *order),
            last_sequence=max((one.sequence for one in manifests), default=0),
            flips=max((one.flip for one in known.values()), default=0),
        )
        # After a rollback, it is not the newest that was live last.
        live = next((one for one in manifests if one.id == self.live_id()), None)
        return ledger.activated(live.id) if live is not None and not live.never_live else ledger

    def record(self, change: Callable[[Ledger], Ledger]) -> None:
        """Apply a change to the ledger, durably."""
        write_state(self.state_dir / LEDGER, change(self.ledger()))

    # Making and removing

    def begin(self, now: datetime) -> tuple[str, int]:
        """Make the directory of a new release; return its id and its sequence number."""
        self.directory.mkdir(parents=True, exist_ok=True)
        name = new_id(now, frozenset(os.listdir(self.directory)) | self.ledger().named)
        self.path(name).mkdir()
        self.path(name).chmod(stat.S_IMODE(self.directory.stat().st_mode))  # whatever the umask is
        replace_file(self.path(name) / MADE, b"", private=True)
        return name, self.next_sequence()

    def next_sequence(self) -> int:
        """Return a number above that of every release there ever was."""
        return max([self.ledger().last_sequence, *(manifest.sequence for manifest in self._manifests({}))]) + 1

    def complete(self, manifest: Manifest, *, configuration: str = "") -> Release:
        """Record the sequence number, and write `state.json` and the manifest, which completes the release.

        `configuration` is the digest of what it was tested with. The caller has synced the file system.
        """
        directory = self.path(manifest.id)
        self.record(lambda ledger: ledger.numbered(manifest.sequence))
        open_to_group(directory)
        lifecycle = read_lifecycle(str(directory))  # its manifest was lost
        if lifecycle is None:
            stage: Stage = "failed" if manifest.tests in NEVER_LIVE else "ready"
            lifecycle = Lifecycle(stage=stage, since=timestamp(), configuration=configuration)
            lifecycle.write(directory)
        write_manifest(directory, manifest)
        return self._release(manifest, lifecycle, self.live_id())

    def remove(self, *names: str) -> dict[str, OSError]:
        """Delete releases and forget them; return what kept any of them from being deleted.

        They are renamed first, so that none is ever half there under its name: what cannot be deleted to its end waits
        under the other name. A release whose venv is a symlink (adopted from elsewhere) loses the symlink, not what it
        leads to. Raises OSError when the ledger cannot be written.
        """
        failures: dict[str, OSError] = {}
        renamed = []
        for name in names:
            try:
                if name == self.live_id():
                    raise OSError(errno.EBUSY, "it is live", name)
                with contextlib.suppress(OSError):  # an adopted one may have none; then what a crash leaves is told
                    (self.path(name) / MADE).touch()
                with contextlib.suppress(FileNotFoundError):  # renamed by an earlier run, which got no further
                    self.path(name).rename(self.path(DOOMED + name))
            except OSError as error:
                failures[name] = error
            else:
                renamed.append(name)
        if renamed:
            sync_directory(self.directory)  # else a power cut could leave half of one under its own name
        return failures | self.finish_removal(*renamed)

    def finish_removal(self, *names: str) -> dict[str, OSError]:
        """Forget releases that are renamed already, and delete what is left of them; return what kept any from that.

        Raises OSError when the ledger cannot be written.
        """
        # At once, so that a crash leaves none in the ledger that is gone; a full disk has room only after the deletion.
        with contextlib.suppress(OSError):
            self.forget(names)
        failures: dict[str, OSError] = {}
        try:
            for name in names:
                try:
                    delete_directory(self.path(DOOMED + name), last=MADE)
                except OSError as error:
                    failures[name] = error
        finally:
            self.forget(names)
        return failures

    def forget(self, names: Iterable[str]) -> frozenset[str]:
        """Drop releases from the ledger; return those that it knew, for which it is written once. Raises OSError."""
        known = frozenset(names) & self.ledger().named
        if known:
            self.record(lambda ledger: ledger.forgotten(*known))
        return known


def _newer(found: Lifecycle | None, noted: Lifecycle | None) -> Lifecycle | None:
    if found is None or noted is None:
        return found or noted
    return noted if noted.revision > found.revision else found


def target_of(link: Path) -> Path | None:
    """Return where the link leads, absolute and tidy; None when it is not a symlink. The target need not exist."""
    try:
        return Path(os.path.normpath(os.path.join(link.parent, os.readlink(link))))
    except OSError:
        return None


def store_of(site: Site) -> ReleaseStore:
    """Return the releases of a site."""
    return ReleaseStore(state_dir=site.state_dir, link=site.project.venv, asks=site.asks)
