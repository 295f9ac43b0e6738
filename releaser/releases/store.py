"""The releases of a project on disk."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import NoSuchReleaseError, os_reason
from releaser.releases.contents import open_to_group
from releaser.releases.integrity import find_damage, find_rollback_damage
from releaser.releases.lifecycle import LIFECYCLE, Lifecycle, digest_of, load_lifecycle, read_lifecycle
from releaser.releases.release import (
    ADOPT,
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
    manifest_type,
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
from releaser.system.frozen import Frozen, replace
from releaser.system.words import did_you_mean, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from releaser.releases.key import ReleaseKey
    from releaser.releases.lifecycle import Stage
    from releaser.site.site import Site


_STATES: Mapping[Stage, State] = {"ready": "candidate", "live": "good", "failed": "failed", "withdrawn": "rolled-back"}
_OF_MARKS: Mapping[str, Stage] = {"good": "live", "bad": "withdrawn", "failed": "failed"}


class StoreSnapshot(Frozen):
    """The releases at one moment, read from disk once."""

    #: The complete releases, newest first by the record.
    releases: tuple[Release, ...]
    ledger: Ledger
    #: By release id, including releases with a damaged manifest.
    lifecycles: Mapping[str, Lifecycle]
    #: The id of the release that the symlink leads to; None if it leads elsewhere.
    live_id: str | None
    #: Directories with an unreadable or foreign manifest, each with the reason.
    damaged: Mapping[str, str]

    @property
    def live(self) -> Release | None:
        """The release that the symlink leads to; None if it leads to none."""
        return self.get(self.live_id)

    @property
    def live_before_flip(self) -> str | None:
        """The release that was live until the last flip: processes that were not restarted still run on it."""
        activations = self.ledger.activations
        return activations[-2] if len(activations) > 1 and activations[-1] == self.live_id else None

    def get(self, release: str | None) -> Release | None:
        """Return one release by its whole id; None when it is not there."""
        return next((candidate for candidate in self.releases if candidate.id == release), None)

    def rollback_order(self) -> Iterator[Release]:
        """Yield the remaining good releases that went live before the live one, last first.

        Yields no newer release: after a rollback over two releases, the next rollback goes further back, not forward.
        """
        live = self.live
        order = list(self.ledger.activations)
        if live is not None and live.id in order:
            order = order[: len(order) - 1 - order[::-1].index(live.id)]
        for release in self._order_by_flips(order):
            if release.state == "good" and (live is None or release.manifest.sequence < live.manifest.sequence):
                yield release

    def rollback_target(self) -> Release | None:
        """Return the first release of `rollback_order` that a rollback can go to; None without any."""
        return next((release for release in self.rollback_order() if find_rollback_damage(release) is None), None)

    def states(self) -> Iterator[tuple[Release, State]]:
        """Yield each release and its state for people: `previous` for the one to which a rollback goes."""
        target = self.rollback_target()
        for release in self.releases:
            yield release, "previous" if target is not None and release.id == target.id else release.state

    def newest_good(self) -> Release | None:
        """Return the good release that went live last and whose Python starts; it may be the live one."""
        order = self._order_by_flips(self.ledger.activations)
        good = (release for release in order if self.lifecycles[release.id].is_good)
        return next((one for one in good if find_rollback_damage(one, with_programs=False) is None), None)

    def find_ready(
        self, key: ReleaseKey, lock: bytes, configuration: Mapping[str, bytes | None] | None
    ) -> Release | None:
        """Return the ready release with this key and these bytes of uv.lock; None without any.

        It must have been tested with this `configuration`, the files that git does not track.
        """
        if configuration is None:
            return None
        live = self.live
        for release in self.releases:
            if live is not None and release.manifest.sequence < live.manifest.sequence:
                break  # `rollback_order` compares sequence numbers
            is_ready = release.state == "candidate" and release.manifest.may_go_live
            if not is_ready or release.key != key or release.locked.data != lock:
                continue
            tested_with = self.lifecycles[release.id].configuration
            if tested_with == digest_of(configuration, release.id) and find_damage(release) is None:
                return release
        return None

    def find_waiting(self) -> Release | None:
        """Return the newest release that is ready and waits for an update that makes it live; None without any."""
        after = self.live.manifest.sequence if self.live is not None else 0
        return next(
            (
                release
                for release in self.releases
                if release.manifest.sequence > after
                and release.state == "candidate"
                and self.lifecycles[release.id].waits
                and not self.lifecycles[release.id].request
            ),
            None,
        )

    def find_requestable(self) -> Release | None:
        """Return the newest release that is ready and goes live only if a person asks for it; None without any.

        One that was built before the live release, with the same Python, is no longer of use.
        """
        release = next(
            (one for one in self.releases if one.state == "candidate" and self.lifecycles[one.id].request), None
        )
        live = self.live
        if release is None or live is None or release.manifest.sequence > live.manifest.sequence:
            return release
        return release if release.manifest.python != live.manifest.python else None

    def list_reserved(self) -> dict[str, str]:
        """Map each ready release that is reserved, and newer than the live one, to the reason."""
        after = self.live.manifest.sequence if self.live is not None else 0
        ready = (one for one in self.releases if one.state == "candidate" and one.manifest.sequence > after)
        return {one.id: reason for one in ready if (reason := self.lifecycles[one.id].reserved)}

    def _order_by_flips(self, order: Sequence[str]) -> Iterator[Release]:
        releases = {release.id: release for release in self.releases}
        return (releases[name] for name in dict.fromkeys(reversed(order)) if name in releases)


class ReleaseStore(Frozen):
    """Everything below the state directory that concerns releases; `link` is the symlink `.venv` of the project."""

    state_dir: Path
    link: Path
    asks: bool = True  # as `Release.asks`

    @functools.cached_property
    def directory(self) -> Path:
        """The directory with one directory per release."""
        return self.state_dir / "releases"

    def path(self, release: str) -> Path:
        """Return the directory of a release, which need not exist."""
        return self.directory / release

    # Reading

    def snapshot(self) -> StoreSnapshot:
        """Read all releases and the ledger, once."""
        damaged: dict[str, str] = {}
        manifests = sorted(self._manifests(damaged), key=lambda manifest: manifest.sequence, reverse=True)
        ledger, live = self.ledger(), self.live_id()
        lifecycles = {manifest.id: self._lifecycle(manifest, ledger) for manifest in manifests}
        releases = tuple(self._release(manifest, lifecycles[manifest.id], live) for manifest in manifests)
        lifecycles |= {name: found for name in damaged if (found := read_lifecycle(f"{self.directory}/{name}"))}
        return StoreSnapshot(releases=releases, ledger=ledger, lifecycles=lifecycles, live_id=live, damaged=damaged)

    def all(self) -> tuple[Release, ...]:
        """Return every complete release, newest first by the record. Damaged releases are skipped."""
        return self.snapshot().releases

    def find(self, release: str) -> Release:
        """Return a release by its id, a unique beginning of it, `live`, `previous` or `@N`.

        `@0` is the newest release, `@1` the newest but one. `previous` is the release to which a rollback goes.
        Raises NoSuchReleaseError.
        """
        snapshot = self.snapshot()
        releases = {candidate.id: candidate for candidate in snapshot.releases}
        number = release[1:] if release.startswith("@") else ""
        if release == "live":
            found = [snapshot.live] if snapshot.live else []
        elif release == "previous":
            found = [target] if (target := snapshot.rollback_target()) else []
        elif number.isascii() and number.isdigit() and len(number) < 20:  # int() limits the digits
            found = [*releases.values()][int(number) : int(number) + 1]
        else:
            fitting = [name for name in releases if release and name.startswith(release)]
            found = [releases[name] for name in fitting if release not in releases or name == release]
        if len(found) == 1:
            return found[0]
        if found:
            message = f"{release!r} matches several releases: {', '.join(match.id for match in found)}"
            raise NoSuchReleaseError(message, f"Name one of them, such as `{found[0].id}`.")
        message = f"there is no release {release!r} in {self.directory}"
        meant = did_you_mean(release, [name for name in (*releases, "live", "previous") if name != release])
        raise NoSuchReleaseError(message, f"{meant} See `releaser list`.".lstrip() if releases else ADOPT)

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
        """Return the release that the symlink leads to; None if it leads to none, or is missing."""
        return self.get(self.live_id())

    def live_id(self) -> str | None:
        """Return the id in the symlink's target; the release itself may be gone or damaged."""
        target = target_of(self.link)
        if target is None or target.name != "venv" or target.parent.parent != self.directory:
            return None
        return target.parent.name

    def live_by_record(self) -> str | None:
        """Return the id of the release that releaser made live last, wherever the symlink leads; None before any."""
        return next(reversed(self.ledger().activations), None)

    def find_unsealed(self, sealed: Collection[str] = ()) -> tuple[Path, ...]:
        """Return the directories without a manifest, except the `sealed` ones and interrupted deletions."""
        places = (self.path(name) for name in self._names() if name not in sealed)
        return tuple(place for place in places if not (place / MANIFEST).exists())

    def incomplete(self) -> tuple[Path, ...]:
        """Return the directories without a manifest that releaser may have made, except the live release."""
        live, known = self.live_id(), self.ledger().named
        return tuple(entry for entry in self.find_unsealed() if entry.name != live and is_own(entry, known))

    def foreign(self) -> tuple[str, ...]:
        """Return the names in the directory of releases that do not belong to releaser."""
        existing = set(os.listdir(self.directory)) if self.directory.is_dir() else set()
        known = self.ledger().named
        places = map(self.path, self._names())
        own = {place.name for place in places if (place / MANIFEST).exists() or is_own(place, known)}
        found = existing - own - {DOOMED + name for name in self.half_removed()}
        return tuple(name for name in sorted(found) if os.path.lexists(self.path(name)))

    def half_removed(self) -> tuple[str, ...]:
        """Return the releases whose deletion was interrupted; their directories have releaser's mark, or are empty."""
        doomed = self._names(doomed=True)
        return tuple(name.removeprefix(DOOMED) for name in doomed if is_own(self.path(name), ()))

    def _names(self, *, doomed: bool = False) -> list[str]:
        """Return the names of the directories of releases, or, with `doomed`, of those that are being deleted."""
        try:
            with os.scandir(self.directory) as found:
                names = [release.name for release in found if release.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):  # such as if `state_dir` names a file, which preflight reports
            return []
        return [name for name in sorted(names) if name.startswith(DOOMED) == doomed]

    def _manifests(self, damaged: dict[str, str]) -> Iterator[Manifest]:
        return filter(None, (self._manifest(name, damaged) for name in self._names()))

    def _manifest(self, name: str, damaged: dict[str, str]) -> Manifest | None:
        """Return the manifest of a release; if it is unreadable or of another release, add the reason to `damaged`."""
        try:
            manifest = read_state(f"{self.directory}/{name}/{MANIFEST}", manifest_type())
        except (UnreadableStateError, OSError) as error:
            reason = error.reason if isinstance(error, UnreadableStateError) else os_reason(error)
            damaged[name] = f"cannot be read: {reason}"
            return None
        if manifest is not None and manifest.id != name:
            damaged[name] = f"is that of {manifest.id}"
            return None
        return manifest

    def _release(self, manifest: Manifest, lifecycle: Lifecycle | None, live: str | None) -> Release:
        """Build a Release. Without a lifecycle it is the live release, and reads `state.json` when needed."""
        state: State = "live" if lifecycle is None or manifest.id == live else _STATES[lifecycle.stage]
        if state != "live" and manifest.tests in NEVER_LIVE:
            state = "failed"
        place = f"{self.directory}/{manifest.id}"
        return Release(place=place, manifest=manifest, state=state, lifecycle=lifecycle, asks=self.asks)

    # Lifecycles, and the order in which releases went live

    def _lifecycle(self, manifest: Manifest, ledger: Ledger) -> Lifecycle:
        """Return the newer of the records in the ledger and in the release; without any, a reconstructed record."""
        found = _newer(read_lifecycle(f"{self.directory}/{manifest.id}"), ledger.records.get(manifest.id))
        return found or self._reconstruct(manifest.id, manifest, ledger)

    def _reconstruct(self, name: str, manifest: Manifest | None, ledger: Ledger) -> Lifecycle:
        """Reconstruct a lifecycle from the ledger and the blocks, without `state.json`.

        A release counts as having been live only if the ledger says so. It gets a pin if it may have had one.
        """
        flip = ledger.last_flips.get(name, 0)
        stage: Stage | None = _OF_MARKS.get(ledger.marks.get(name, ""))
        if stage is None and manifest is not None and manifest.tests in NEVER_LIVE:
            stage = "failed"
        if stage is None:
            stage = "withdrawn" if name in self._list_rolled_back() else "live" if flip else "ready"
        since = manifest.created_at.isoformat(timespec="seconds") if manifest is not None else timestamp()
        return Lifecycle(stage=stage, since=since, flip=flip, pinned=name in ledger.pins or not ledger.is_earlier)

    def _list_rolled_back(self) -> set[str]:
        from releaser.releases.blocks import read_blocks  # slow to import

        with contextlib.suppress(OSError):
            return {candidate.release for candidate in read_blocks(self.state_dir).candidates}
        return set()

    def record_live(self, release: Release) -> None:
        """Record, durably, that a release is live and good."""
        ledger = self.ledger()
        lifecycle = self._lifecycle(release.manifest, ledger)
        is_last = ledger.activations[-1:] == (release.id,) and lifecycle.flip >= ledger.flips
        if not (lifecycle.is_good and is_last):
            flip = ledger.next_flip
            self._save(release, lifecycle.live(flip), ledger, ledger.with_flip_to(release.id, flip=flip))

    def record_withdrawn(self, release: Release) -> None:
        """Record, durably, that a release was rolled back."""
        ledger = self.ledger()
        self._save(release, self._lifecycle(release.manifest, ledger).withdrawn(), ledger, ledger)

    def record_waiting(
        self, release: Release, reason: str, *, keeps: bool = False, until: datetime | None = None, request: str = ""
    ) -> bool:
        """Record, durably, why a ready release waits, until when, and whether it `keeps` its place.

        With `request`, the command of a person, no update takes it up. Returns whether the reason is new.
        """
        ledger = self.ledger()
        before = self._lifecycle(release.manifest, ledger)
        if (before.waits, before.kept, before.until, before.request) != (reason, keeps, until, request):
            after = before.waiting(reason, keeps=keeps, until=until, request=request)
            self._save(release, after, ledger, ledger)
        return before.waits != reason

    def record_reserved(self, release: Release, reason: str) -> None:
        """Record, durably, why a ready release is kept although updates never make it live; empty to end that."""
        ledger = self.ledger()
        before = self._lifecycle(release.manifest, ledger)
        if before.reserved != reason or before.waits == reason != "":
            self._save(release, before.reserved_for(reason), ledger, ledger)

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

        An unreadable file is moved aside. A release whose file was lost gets a pin, as it may have had one. Marks and
        pins of earlier versions move from the ledger into the releases. If a file cannot be written (full disk,
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
        known = {
            manifest.id: lifecycle
            for manifest in manifests
            if (lifecycle := read_lifecycle(f"{self.directory}/{manifest.id}"))
        }
        order = sorted((name for name, one in known.items() if one.flip), key=lambda name: known[name].flip)
        left = {manifest.previous for manifest in manifests}  # each of these was live while another release was built
        before = [manifest for manifest in manifests if manifest.id in left and manifest.id not in known]
        ledger = Ledger(
            activations=(*(one.id for one in sorted(before, key=lambda manifest: manifest.sequence)), *order),
            last_sequence=max((manifest.sequence for manifest in manifests), default=0),
            flips=max((recorded.flip for recorded in known.values()), default=0),
        )
        # After a rollback, the live release is not the newest.
        live = next((manifest for manifest in manifests if manifest.id == self.live_id()), None)
        return ledger.with_flip_to(live.id) if live is not None and not live.never_live else ledger

    def record(self, change: Callable[[Ledger], Ledger]) -> None:
        """Apply a change to the ledger, durably."""
        write_state(self.state_dir / LEDGER, change(self.ledger()))

    # Creating and deleting

    def begin(self, now: datetime) -> tuple[str, int]:
        """Make the directory of a new release; return its id and its sequence number."""
        self.directory.mkdir(parents=True, exist_ok=True)
        name = new_id(now, frozenset(os.listdir(self.directory)) | self.ledger().named)
        self.path(name).mkdir()
        self.path(name).chmod(stat.S_IMODE(self.directory.stat().st_mode))  # whatever the umask is
        replace_file(self.path(name) / MADE, b"", private=True)
        return name, self.next_sequence()

    def next_sequence(self) -> int:
        """Return a number higher than that of any earlier release, also of deleted ones."""
        return max([self.ledger().last_sequence, *(manifest.sequence for manifest in self._manifests({}))]) + 1

    def complete(self, manifest: Manifest, *, configuration: str = "") -> Release:
        """Record the sequence number, and write `state.json` and the manifest, which completes the release.

        `configuration` is the digest of the untracked configuration that it was tested with. The caller has synced the
        file system.
        """
        directory = self.path(manifest.id)
        self.record(lambda ledger: ledger.numbered(manifest.sequence))
        open_to_group(directory)
        lifecycle = read_lifecycle(str(directory))  # there is one if its manifest was lost
        if lifecycle is None:
            stage: Stage = "failed" if manifest.tests in NEVER_LIVE else "ready"
            lifecycle = Lifecycle(stage=stage, since=timestamp(), configuration=configuration)
            lifecycle.write(directory)
        write_manifest(directory, manifest)
        return self._release(manifest, lifecycle, self.live_id())

    def remove(self, *names: str) -> dict[str, OSError]:
        """Delete releases and remove them from the ledger; return the errors of those that could not be deleted.

        Each is renamed first, so that no partly deleted release has a valid name: a later run deletes the rest. If the
        venv is a symlink (adopted from elsewhere), its target stays. Raises OSError if the ledger cannot be written.
        """
        failures: dict[str, OSError] = {}
        renamed = []
        for name in names:
            try:
                if name == self.live_id():
                    raise OSError(errno.EBUSY, "it is live", name)
                with contextlib.suppress(OSError):  # an adopted release may have no mark: its rest is reported
                    (self.path(name) / MADE).touch()
                with contextlib.suppress(FileNotFoundError):  # an interrupted run has renamed it
                    self._mark_for_deletion(name)
            except OSError as error:
                failures[name] = error
            else:
                renamed.append(name)
        if renamed:
            sync_directory(self.directory)  # else a power cut could leave a partly deleted release under its name
        return failures | self.finish_removal(*renamed)

    def _mark_for_deletion(self, name: str) -> None:
        """Mark a release as being deleted: rename it, or delete its manifest. Raises OSError.

        overlayfs renames no directory of a lower layer, as of the image of a container.
        """
        try:
            self.path(name).rename(self.path(DOOMED + name))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            (self.path(name) / MANIFEST).unlink(missing_ok=True)
            sync_directory(self.path(name))

    def finish_removal(self, *names: str) -> dict[str, OSError]:
        """Delete releases that are already renamed, and remove them from the ledger; return the errors.

        Raises OSError if the ledger cannot be written.
        """
        # First, so that after a crash no deleted release is in the ledger; again below, as a full disk has room then.
        with contextlib.suppress(OSError):
            self.forget(names)
        failures: dict[str, OSError] = {}
        try:
            for name in names:
                place = self.path(DOOMED + name)
                try:
                    delete_directory(place if place.exists() else self.path(name), last=MADE)
                except OSError as error:
                    failures[name] = error
        finally:
            self.forget(names)
        return failures

    def forget(self, names: Iterable[str]) -> frozenset[str]:
        """Remove releases from the ledger, with one write; return those that it had. Raises OSError."""
        known = frozenset(names) & self.ledger().named
        if known:
            self.record(lambda ledger: ledger.forgotten(*known))
        return known


def _newer(found: Lifecycle | None, noted: Lifecycle | None) -> Lifecycle | None:
    if found is None or noted is None:
        return found or noted
    return noted if noted.revision > found.revision else found


def target_of(link: Path) -> Path | None:
    """Return the absolute, normalized target of a symlink, which need not exist; None if it is not a symlink."""
    try:
        return Path(os.path.normpath(os.path.join(link.parent, os.readlink(link))))
    except OSError:
        return None


def store_of(site: Site) -> ReleaseStore:
    """Return the store of a site."""
    return ReleaseStore(state_dir=site.state_dir, link=site.project.venv, asks=site.asks)
