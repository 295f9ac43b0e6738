"""The releases on disk: listed, begun, sealed, marked and deleted."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from releaser.errors import NoSuchReleaseError
from releaser.releases.lease import is_used, make_lease
from releaser.releases.link import Link, read_link
from releaser.releases.release import ID, Manifest, Release, State, order_of_id
from releaser.site.paths import Paths
from releaser.system.files import (
    BrokenFileError,
    read_json,
    read_regular_file,
    remove_path,
    replace_file,
    set_aside,
    sync_directory,
    sync_file_system,
    write_json,
)
from releaser.system.run import Run, make_id, now
from releaser.system.state import read_state
from releaser.system.text import find_close, join_few, word

MANIFEST, STATE, MARKER = "manifest.json", "state.json", ".releaser"
DOOMED = ".doomed-"


class Store:
    """The releases of a site, newest first, and the link. A run reads them once; each change makes a new value."""

    def __init__(self, paths: Paths, link: Link | None = None, releases: Iterable[Release] | None = None) -> None:
        self.paths, self.link = paths, link or read_link(paths)
        releases = _read_releases(paths.releases) if releases is None else releases
        self.releases = sorted(releases, key=lambda release: release.age_key, reverse=True)
        self._by_id = {release.id: release for release in self.releases}

    def having(self, *releases: Release) -> Store:
        """Return the store with these releases, in the place of those with the same ids."""
        return Store(self.paths, self.link, {**self._by_id, **{each.id: each for each in releases}}.values())

    def without(self, *ids: str) -> Store:
        """Return the store without these releases."""
        return Store(self.paths, self.link, [each for each in self.releases if each.id not in ids])

    def linked(self, link: Link) -> Store:
        """Return the store with another link."""
        return Store(self.paths, link, self.releases)

    def get(self, release: str | None) -> Release | None:
        """Return a release by its id, None if it does not exist."""
        return self._by_id.get(release) if release else None

    @property
    def next_order(self) -> int:
        """The number of the release that goes live next."""
        return 1 + max((release.state.order for release in self.releases), default=0)

    @property
    def live(self) -> Release | None:
        """The release that the link points to."""
        return self.get(self.link.release)

    @property
    def previous(self) -> Release | None:
        """The good release that was live last, beside the live one."""
        return next(iter(self.earlier), None)

    @property
    def earlier(self) -> list[Release]:
        """The good releases that were live, beside the live one; the one that was live last is the first."""
        return [release for release in self._good if release.state.order and release is not self.live]

    @property
    def recorded(self) -> Release | None:
        """The good release that went live last by the record; without a person's hand, it is the live one."""
        return next((release for release in self._good if release.state.order), None)

    @property
    def is_moved_by_hand(self) -> bool:
        """True if a person has let the link lead to another release than a run made live last."""
        live, recorded = self.live, self.recorded
        return live is not None and recorded not in (None, live) and not live.state.is_lost

    @property
    def newest_good(self) -> Release | None:
        """The good release that was live last and still has its Python."""
        return next((release for release in self._good if (release.venv / "bin" / "python").exists()), None)

    @property
    def _good(self) -> list[Release]:
        """The good releases; the one that was live last is the first."""
        good = [release for release in self.releases if release.state.state == "good"]
        return sorted(good, key=lambda release: release.state.order, reverse=True)

    def find(self, name: str) -> Release:
        """Return the release that a person means: `live`, `previous`, `@1`, an id or a unique prefix of an id.

        Raises NoSuchReleaseError.
        """
        advice = "Run `releaser list`."
        if name in ("live", "previous"):
            release = self.live if name == "live" else self.previous
            if release is None:
                raise NoSuchReleaseError(f"No release is {name}.", advice if self.releases else "Run `releaser init`.")
            return release
        if name.startswith("@") and name[1:].isdecimal():
            if int(name[1:]) >= len(self.releases):
                raise NoSuchReleaseError(f"`{name}` does not exist: there are only {len(self.releases)}.", advice)
            return self.releases[int(name[1:])]
        matches = [release for release in self.releases if release.id == name] or [
            release for release in self.releases if name and release.id.startswith(name)
        ]
        if len(matches) != 1:
            names = ["live", "previous", *(release.id for release in self.releases)]
            close = find_close(name, names) if not matches else ""
            advice = f"Did you mean `{close}`? {advice}" if close else advice
            found = join_few([release.id for release in matches])
            raise NoSuchReleaseError(
                f"`{name}` could be {found}." if matches else f"No release `{name}` exists.", advice
            )
        return matches[0]

    def name_state(self, release: Release) -> str:
        """Return the state of a release for people: live and previous follow from the link and the record."""
        if release is self.live:
            return "live"
        return "previous" if release is self.previous else release.state.state


def _read_releases(directory: Path) -> list[Release]:
    names = filter(ID.fullmatch, os.listdir(directory) if directory.is_dir() else ())
    return [release for name in names if (release := _read_release(directory / name)) is not None]


def _read_release(directory: Path) -> Release | None:
    """Return the release of a directory; None if it is not sealed, or its manifest cannot be read."""
    try:
        manifest = read_json(directory / MANIFEST, Manifest)
        lock = (read_regular_file(directory / "uv.lock") or b"").replace(b"\r\n", b"\n")
    except BrokenFileError:
        return None
    is_whole = manifest and manifest.key.lock_sha256 == hashlib.sha256(lock).hexdigest()
    if manifest is None or manifest.id != directory.name or not is_whole:
        return None
    try:
        state = read_json(directory / STATE, State)
    except BrokenFileError:
        state = None
    if state is None:
        state = State("failed" if manifest.failed_gate else "rolled-back", is_lost=True)
    if state.state == "failed" and not manifest.failed_gate:  # as an earlier version called it
        state = msgspec.structs.replace(state, state="outdated")
    return Release(directory, manifest, state)


def begin_release(paths: Paths) -> Path:
    """Make the directory of a new release; its id is later than every other, also if the clock went back."""
    names = [name for name in os.listdir(paths.releases) if ID.fullmatch(name)]
    stamp = make_id(now())
    if names and order_of_id(max(names, key=order_of_id)) >= (stamp, 1):
        newest, number = order_of_id(max(names, key=order_of_id))
        stamp = f"{newest}-{number + 1}"
    directory, unmarked = paths.releases / stamp, paths.releases / f"{DOOMED}{stamp}"
    unmarked.mkdir()
    unmarked.chmod(stat.S_IMODE(paths.releases.stat().st_mode))
    replace_file(unmarked / MARKER, b"")
    make_lease(unmarked)
    os.rename(unmarked, directory)
    return directory


def seal_release(directory: Path, manifest: Manifest, state: State) -> Release:
    """Write state and manifest, durably; with the manifest the release exists. Raises OSError."""
    sync_file_system(directory)  # a ready release may wait for days, and goes live without a build
    write_json(directory / STATE, state)
    write_json(directory / MANIFEST, manifest)
    sync_directory(directory.parent)
    return Release(directory, manifest, state)


def write_state(release: Release, **changes: object) -> Release:
    """Change the state of a release, durably. Raises OSError."""
    state = msgspec.structs.replace(release.state, **changes)
    if state != release.state:
        write_json(release.directory / STATE, state)
    return msgspec.structs.replace(release, state=state)


def mark_good(store: Store, release: Release, moment: datetime) -> Store:
    """Record that a release is live and good, and return the store; ready ones that it overtook are outdated.

    Raises OSError.
    """
    order = store.next_order
    if not (release.state.state == "good" and release.state.order == order - 1):
        live_at = (*release.state.live_at, moment)
        release = write_state(release, state="good", order=order, live_at=live_at, left_by="", is_lost=False)
    overtaken = [other for other in store.releases if other.state.state == "ready" and other.id != release.id]
    return store.having(release, *(write_state(other, state="outdated") for other in overtaken))


def mark_left(release: Release, left_by: str) -> Release:
    """Record that a release was left by a rollback. Raises OSError."""
    return write_state(release, state="rolled-back", left_by=left_by)


def delete_release(directory: Path) -> None:
    """Delete a release: renamed first, so that a half-deleted one is never taken for one. Raises OSError."""
    remove_path(_doom(directory))


def delete_unused_release(directory: Path) -> bool:
    """Delete a release unless a process uses it; True if it is gone. Raises OSError.

    Asked again once nothing can start on it any more: what has started right before gets its release back.
    """
    if is_used(directory):
        return False
    return _finish_deletion(_doom(directory))


def _finish_deletion(doomed: Path) -> bool:
    directory = doomed.with_name(doomed.name.removeprefix(DOOMED))
    if is_used(doomed):
        if not os.path.lexists(directory):
            os.rename(doomed, directory)
        return False
    remove_path(doomed)
    return True


def _doom(directory: Path) -> Path:
    doomed = directory.with_name(DOOMED + directory.name)
    remove_path(doomed)
    os.rename(directory, doomed)
    sync_directory(directory.parent)
    return doomed


def sweep_releases(store: Store, run: Run) -> Store:
    """Delete what a dead run left: half-deleted and unsealed releases. Reports what it cannot read or delete.

    Never deleted: the release that the link leads to, and a directory without the marker of releaser.
    """
    live = read_link(store.paths).release
    for name in sorted(os.listdir(store.paths.releases)):
        path = store.paths.releases / name
        try:
            if name.startswith(DOOMED):
                _finish_deletion(path)
            elif not ID.fullmatch(name) or name == live:
                continue
            elif store.get(name) is None and _read_release(path) is None:
                _sweep_unsealed(path, run)
            elif not _has_venv(path):
                delete_release(path)  # a venv that was about to be adopted
                store = store.without(name)
        except OSError as error:
            where = error.filename or path
            run.add_problem(
                "not-deleted", f"`{where}` cannot be deleted: {error.strerror}.", f"See `ls -ld {word(where)}`."
            )
    return store


def set_aside_broken_states(store: Store, run: Run) -> None:
    """Rename each `state.json` that cannot be read, and name it. Raises OSError."""
    for release in store.releases:
        read_state(release.directory / STATE, State, run, f"the state of release {release.id} is lost")


def _has_venv(path: Path) -> bool:
    return (path / "venv").is_dir() and not (path / "venv").is_symlink()


def _sweep_unsealed(path: Path, run: Run) -> None:
    if os.path.lexists(path / MANIFEST):
        aside = set_aside(path)
        run.note(f"The manifest of release {path.name} cannot be read. The release is now `{aside}`.")
    elif not path.is_dir() or path.is_symlink() or not (path / MARKER).is_file():
        aside = set_aside(path)
        run.note(f"`{path}` was not made by releaser. It is now `{aside}`.")
    else:
        delete_release(path)


class SiteRun(Run):
    """A run of a command on a site, with the releases as this run has read and left them."""

    store: Store
    #: True if another release went live while this run waited for the lock.
    is_overtaken = False
    #: True once old releases were deleted, which may leave a cache that is too large.
    has_pruned = False
