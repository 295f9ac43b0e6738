"""The files of bundles that a site has created or installed, each once, so that deltas can omit them."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import PreflightError
from releaser.system.files import hash_of_file, read_if_there, remove_tree, replace_file
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from releaser.bundles.manifest import BundledFile, BundleManifest

KEPT = 4  # newest manifests; files that none of them names are deleted
_OWN = ("files", "manifests", "made", "unpacked", "download")
_UNUSED = 30 * 86400.0  # seconds; unused wheels can be packed again


class Pool(Frozen):
    """A directory with a file for each hash, and the manifests of the newest bundles."""

    directory: Path

    @classmethod
    def of(cls, state_dir: Path) -> Pool:
        """Return the pool of a site."""
        return cls(directory=state_dir / POOL)

    @property
    def unpacked(self) -> Path:
        """The directory of the bundle that is being installed."""
        return self.directory / "unpacked"

    def delete(self) -> None:
        """Delete the directory, except for files that releaser did not create; a link stays. Raises OSError."""
        if self.directory.is_symlink():
            return
        for path in map(self.directory.joinpath, _OWN):
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
        with contextlib.suppress(OSError):  # it has other files
            self.directory.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out other processes; wait for them first. Raises OSError."""
        from releaser.bundles.places import lock_directory

        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with lock_directory(self.directory):
            yield

    def prepare(self) -> None:
        """Create the directories, and delete the leftovers of a killed run. Raises OSError."""
        for directory in (self.directory, self.directory / "files", self.directory / "manifests"):
            directory.mkdir(mode=0o700, exist_ok=True)
        for name in os.listdir(self.directory / "files"):
            if name.endswith(".new"):
                (self.directory / "files" / name).unlink()
        if os.path.lexists(self.unpacked):
            remove_tree(self.unpacked)

    def find(self, sha256: str) -> Path | None:
        """Return the undamaged file with a hash; None without one."""
        place = self.directory / "files" / sha256
        return place if sha256 and hash_of_file(place) == sha256 else None

    def add(self, place: Path) -> Path:
        """Copy a file into the pool. Raises OSError."""
        target = self.directory / "files" / (hash_of_file(place) or "")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.new")
        shutil.copyfile(place, fresh)
        return fresh.replace(target)

    def extract(self, file: BundledFile, extract: Callable[[BundledFile, Path], None]) -> Path:
        """Return a file of a bundle; `extract` it if the pool lacks it. Raises OSError, and the errors of `extract`."""
        known = self.find(file.sha256)
        if known is not None:
            return known
        fresh = self.directory / "files" / f"{file.sha256}.new"
        fresh.unlink(missing_ok=True)
        extract(file, fresh)
        return fresh.replace(fresh.with_suffix(""))

    def packed(self, kind: str, make: Callable[[Path], object]) -> list[Path]:
        """Return the cached wheels of a kind; without any, `make` creates them in a new directory. Raises OSError.

        A kind that belongs to a release begins with its name and a slash.
        """
        directory = self.directory / "made" / kind
        if not directory.is_dir():
            fresh = directory.with_name(f"{directory.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True, mode=0o700)
            make(fresh)
            fresh.replace(directory)
        os.utime(directory)
        return sorted(directory.glob("*.whl"))

    def forget_unused(self, releases: Collection[str]) -> None:
        """Delete the packed wheels of deleted releases, and wheels that were not used for long. Raises OSError."""
        from releaser.bundles.manifest import RELEASE_ID

        for place in (self.directory / "made").glob("*"):
            is_of_release, unused_since = RELEASE_ID.fullmatch(place.name), place.stat().st_mtime
            if place.name not in releases if is_of_release else unused_since < time.time() - _UNUSED:
                remove_tree(place)

    def remember(self, manifest: BundleManifest) -> None:
        """Keep the manifest of a bundle; delete the oldest ones, and files that no manifest names. Raises OSError."""
        from releaser.bundles.manifest import RELEASE_ID

        directory = self.directory / "manifests"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(directory / f"{manifest.release}.json", manifest.data, private=True)
        known = sorted(path for path in directory.glob("*.json") if RELEASE_ID.fullmatch(path.stem))
        for old in known[:-KEPT]:
            old.unlink()
        used = {file.sha256 for kept in known[-KEPT:] for file in self._files_of(kept)}
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory / "files"):
                if name not in used:
                    (self.directory / "files" / name).unlink()

    def _files_of(self, place: Path) -> tuple[BundledFile, ...]:
        found = self.manifest_of(place.stem)
        return () if found is None else found.unpacked

    def manifest_of(self, release: str) -> BundleManifest | None:
        """Return the manifest of the bundle of a release; None if the pool has none."""
        from releaser.bundles.manifest import RELEASE_ID, parse_manifest

        if not RELEASE_ID.fullmatch(release):
            return None
        data = read_if_there(self.directory / "manifests" / f"{release}.json")
        with contextlib.suppress(PreflightError):
            return parse_manifest(data) if data is not None else None
        return None


POOL = StateFile(name="bundles", delete=lambda path: Pool(directory=path).delete())
