"""The releases of a project, as they are on disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.durable import UnreadableStateError, sync_directory
from releaser.errors import NoSuchReleaseError, os_reason
from releaser.releases import flip
from releaser.releases.census import Census
from releaser.releases.ledger import EMPTY_LEDGER, Ledger, read_ledger, write_ledger
from releaser.releases.permissions import open_to_group
from releaser.releases.quarantine import read_quarantine
from releaser.releases.release import NEVER_LIVE, Manifest, Release, State, new_id, read_manifest, write_manifest
from releaser.releases.soundness import is_sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

log = logging.getLogger(__name__)

DOOMED = ".doomed-"  # a release on its way out: renamed first, so that a half-deleted one is never taken for one


@dataclass(frozen=True, kw_only=True)
class ReleaseStore:
    """Everything below the state directory that concerns releases; `link` is the symlink `.venv` of the project."""

    state_dir: Path
    link: Path

    @property
    def directory(self) -> Path:
        """The directory that holds one directory a release."""
        return self.state_dir / "releases"

    def path(self, release: str) -> Path:
        """Return the directory of a release, whether it is there or not."""
        return self.directory / release

    # What there is

    def census(self) -> Census:
        """Read everything that there is, once. Damaged releases are logged."""
        damaged: dict[str, str] = {}
        manifests = sorted(self._manifests(damaged=damaged), key=lambda manifest: manifest.sequence, reverse=True)
        ledger, live = self._ledger(lambda: manifests), self.live_id()
        releases = tuple(self._release(manifest, ledger, live) for manifest in manifests)
        return Census(releases=releases, ledger=ledger, live_id=live, damaged=damaged)

    def all(self) -> tuple[Release, ...]:
        """Return every complete release, newest first by the record. Damaged ones are left out, and logged."""
        return self.census().releases

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
        raise NoSuchReleaseError(message, advice="See `releaser list`.")

    def get(self, release: str | None) -> Release | None:
        """Return one release by its whole id; None when it is not there."""
        if not release or not self._is_release(self.path(release)):
            return None
        manifest = next(self._manifests((self.path(release),)), None)
        return self._release(manifest, self.ledger(), self.live_id()) if manifest else None

    def live(self) -> Release | None:
        """Return the release that the symlink leads to; None when it leads to none, or is not there."""
        return self.get(self.live_id())

    def live_id(self) -> str | None:
        """Return the id in the symlink's target; the release itself may be gone or damaged."""
        target = flip.target_of(self.link)
        if target is None or target.name != "venv" or target.parent.parent != self.directory:
            return None
        return target.parent.name

    def live_by_record(self) -> str | None:
        """Return the id of the release that releaser made live last, wherever the symlink leads; None before that."""
        return next(reversed(self.ledger().activations), None)

    def rollback_target(self) -> Release | None:
        """Return the first of `rollback_order` that still is what was sealed."""
        return next(filter(is_sound, self.rollback_order()), None)

    def rollback_order(self) -> Iterator[Release]:
        """Yield the releases that a rollback may go to, the first choice first; see `Census`."""
        return self.census().rollback_order()

    def newest_good(self) -> Release | None:
        """Return the good release that went live last, of those that still are what was sealed."""
        return next(filter(is_sound, self.census().good_order()), None)

    def incomplete(self) -> tuple[Path, ...]:
        """Return the directories without a manifest; never the live one, nor what a deletion left half-way."""
        live = self.live_id()
        return tuple(
            entry
            for entry in self._entries()
            if entry.name != live and not entry.name.startswith(DOOMED) and not (entry / "manifest.json").exists()
        )

    def _entries(self) -> list[Path]:
        try:
            return sorted(entry for entry in self.directory.iterdir() if self._is_release(entry))
        except FileNotFoundError:
            return []

    def _is_release(self, entry: Path) -> bool:
        return entry.parent == self.directory and entry.is_dir() and not entry.is_symlink()

    def _manifests(
        self, entries: Iterable[Path] | None = None, *, damaged: dict[str, str] | None = None
    ) -> Iterator[Manifest]:
        """Yield the manifests that tell of the release they lie in; what is wrong with others goes to `damaged`."""
        for entry in self._entries() if entries is None else entries:
            if entry.name.startswith(DOOMED):
                continue
            reason = ""
            try:
                manifest = read_manifest(entry)
            except (UnreadableStateError, OSError) as error:
                what = error.reason if isinstance(error, UnreadableStateError) else os_reason(error)
                reason = f"cannot be read: {what}"
                log.warning("release %s is left out: %s", entry.name, error)
            else:
                if manifest is not None and manifest.id == entry.name:
                    yield manifest
                elif manifest is not None:
                    reason = f"is that of {manifest.id}"
            if reason and damaged is not None:
                damaged[entry.name] = reason

    def _release(self, manifest: Manifest, ledger: Ledger, live: str | None) -> Release:
        return Release(
            directory=self.path(manifest.id),
            manifest=manifest,
            state=_state(manifest, ledger, live),
            pinned=manifest.id in ledger.pins,
        )

    # The ledger

    def ledger(self) -> Ledger:
        """Return the ledger; one made from the manifests when there is none, or it cannot be read."""
        return self._ledger(self._manifests)

    def _ledger(self, manifests: Callable[[], Iterable[Manifest]]) -> Ledger:
        try:
            ledger = read_ledger(self.state_dir)
        except UnreadableStateError as error:
            log.warning("%s; the order of the releases is taken from their manifests", error)
            ledger = EMPTY_LEDGER
        return self._rebuilt_ledger(manifests()) if ledger == EMPTY_LEDGER else ledger

    def _rebuilt_ledger(self, found: Iterable[Manifest]) -> Ledger:
        manifests = sorted(found, key=lambda manifest: manifest.sequence)
        backed_out = self._backed_out()
        ledger = EMPTY_LEDGER
        for manifest in manifests:
            if manifest.tests in NEVER_LIVE:
                ledger = ledger.marked(manifest.id, "failed")
            elif manifest.never_live:
                continue
            elif manifest.id in backed_out:
                ledger = ledger.marked(manifest.id, "bad").activated(manifest.id)
            else:
                ledger = ledger.marked(manifest.id, "good").activated(manifest.id)
        live = self.live_id()
        if ledger.marks.get(live or "") == "good":  # after a rollback, it is not the newest that was live last
            ledger = ledger.activated(str(live))
        last = manifests[-1].sequence if manifests else 0
        return Ledger(marks=ledger.marks, activations=ledger.activations, last_sequence=last)

    def _backed_out(self) -> frozenset[str]:
        """Return the releases that the quarantine knows of."""
        try:
            return frozenset(entry.release for entry in read_quarantine(self.state_dir).candidates)
        except (UnreadableStateError, OSError):
            return frozenset()

    def record(self, change: Callable[[Ledger], Ledger]) -> None:
        """Apply a change to the ledger, durably."""
        write_ledger(self.state_dir, change(self.ledger()))

    # Making and removing

    def begin(self, now: datetime) -> tuple[str, int]:
        """Make the directory of a new release; return its id and its sequence number."""
        self.directory.mkdir(parents=True, exist_ok=True)
        ledger = self.ledger()
        taken = frozenset(entry.name for entry in self.directory.iterdir()) | ledger.marks.keys()
        name = new_id(now, frozenset(taken))
        self.path(name).mkdir()
        self.path(name).chmod(stat.S_IMODE(self.directory.stat().st_mode))  # whatever the umask is
        return name, self.next_sequence()

    def next_sequence(self) -> int:
        """Return a number above that of every release there ever was."""
        return max([self.ledger().last_sequence, *(manifest.sequence for manifest in self._manifests())]) + 1

    def complete(self, manifest: Manifest) -> Release:
        """Record the number of a release, and write its manifest, which completes it.

        In this order: without a ledger every complete release counts as one that was live. The caller has synced the
        file system.
        """
        self.record(lambda ledger: _numbered(ledger, manifest))
        open_to_group(self.path(manifest.id))
        write_manifest(self.path(manifest.id), manifest)
        return self._release(manifest, self.ledger(), self.live_id())

    def remove(self, *names: str) -> dict[str, OSError]:
        """Delete releases and forget them; return what kept any of them from being deleted.

        They are renamed first, so that none is ever half there under its name: what cannot be deleted to its end waits
        under the other name. A release whose venv is a symlink (adopted from elsewhere) loses the symlink, not what it
        leads to. Raises OSError when the ledger cannot be written.
        """
        failures, renamed = self._rename_away(names)
        return failures | self.finish_removal(*renamed)

    def _rename_away(self, names: Iterable[str]) -> tuple[dict[str, OSError], list[str]]:
        """Return what went wrong, and what is renamed now, or gone. Raises OSError."""
        failures: dict[str, OSError] = {}
        renamed = []
        for name in names:
            try:
                if name == self.live_id():
                    raise OSError(errno.EBUSY, "it is live", name)
                self.path(name).rename(self._doomed(name))
            except FileNotFoundError:  # renamed by an earlier run, which got no further
                renamed.append(name)
            except OSError as error:
                failures[name] = error
            else:
                renamed.append(name)
        if renamed:
            sync_directory(self.directory)  # else a power cut could leave half of one under its own name
        return failures, renamed

    def half_removed(self) -> tuple[str, ...]:
        """Return the releases of which a deletion has left something."""
        return tuple(entry.name.removeprefix(DOOMED) for entry in self._entries() if entry.name.startswith(DOOMED))

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
                    remove_tree(self._doomed(name))
                except OSError as error:
                    failures[name] = error
        finally:
            self.forget(names)
        return failures

    def _doomed(self, release: str) -> Path:
        return self.directory / f"{DOOMED}{release}"

    def forget(self, names: Iterable[str]) -> frozenset[str]:
        """Drop releases from the ledger; return those that it knew, for which it is written once. Raises OSError."""
        known = frozenset(names) & self.ledger().named
        if known:
            self.record(lambda ledger: ledger.forgotten(*known))
        return known


def _numbered(ledger: Ledger, manifest: Manifest) -> Ledger:
    marks = {**ledger.marks, manifest.id: "failed"} if manifest.tests in NEVER_LIVE else ledger.marks
    return Ledger(
        marks=dict(marks),
        activations=ledger.activations,
        pins=ledger.pins,
        last_sequence=max(ledger.last_sequence, manifest.sequence),
    )


def _state(manifest: Manifest, ledger: Ledger, live: str | None) -> State:
    if manifest.id == live:
        return "live"
    if manifest.tests in NEVER_LIVE:
        return "failed"
    return ledger.marks.get(manifest.id, "candidate")


def remove_tree(directory: Path) -> None:
    """Delete a directory, also where a directory in it is not writable; OSError for the first file that resists.

    Whatever does not resist is gone then all the same.
    """
    failed = _delete_what_can_be(directory)
    if any(isinstance(error, PermissionError) for error in failed):
        _open_up(directory)
        failed = _delete_what_can_be(directory)
    if failed:
        raise failed[0]


def _delete_what_can_be(directory: Path) -> list[OSError]:
    failed: list[OSError] = []

    def note(_: object, path: str, error: BaseException) -> None:
        if not isinstance(error, OSError):
            raise error
        if not isinstance(error, FileNotFoundError):
            error.filename = path  # which by itself may be no more than the last part of it
            failed.append(error)

    if sys.version_info >= (3, 12):
        shutil.rmtree(directory, onexc=note)
    else:
        shutil.rmtree(directory, onerror=lambda call, path, info: note(call, path, info[1]))
    return failed


def _open_up(directory: Path) -> None:
    """Let the owner into every directory of a tree, as far as it is theirs; each before it is read."""
    for place, names, _ in os.walk(directory):
        for path in (place, *(os.path.join(place, name) for name in names)):
            with contextlib.suppress(OSError):
                mode = os.lstat(path).st_mode
                if stat.S_ISDIR(mode):
                    os.chmod(path, stat.S_IMODE(mode) | stat.S_IRWXU)
