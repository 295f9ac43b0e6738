"""Whether every file of a release is what was installed: a whole look, which reads them all.

What a RECORD has a hash of is compared with that, and all else with what was noted when the release was sealed. Byte
code does not count: Python makes it again where it does not fit its source, and uses none that has no source.
"""

from __future__ import annotations

import collections
import stat
from typing import TYPE_CHECKING

from releaser.errors import os_reason
from releaser.releases import startup
from releaser.releases.drift import INFO, drift
from releaser.releases.files import below, installed, is_byte_code, look, recorded, site_packages
from releaser.releases.finding import Finding
from releaser.releases.records import hash_of, is_checkable, matches
from releaser.releases.seal import sealed_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from releaser.releases.release import Release
    from releaser.releases.seal import Sealed

# What uv and virtualenv put into each venv that they make, without any RECORD.
_OF_VENVS = frozenset({startup.MODULE, startup.HOOK, "_virtualenv.py", "_virtualenv.pth"})
_READING = 0o555


class Contents:
    """The files of a release, looked at once: `there` are those that there are, `recorded` those that should be."""

    def __init__(self, release: Release) -> None:
        self._venv = str(release.venv)
        self._adopted = release.manifest.origin == "adopted"  # then what was found there is what it is compared with
        self._sealed: Sealed = sealed_files(release)
        self.there = below(self._venv, "")
        self.recorded = recorded(self._venv)
        self._checkable = {
            path: hashed
            for path, hashed in self.recorded.items()
            if is_checkable(hashed) and "__pycache__/" not in path
        }

    @property
    def sealed(self) -> Mapping[str, str]:
        """What was seen of each file when it was sealed; nothing where that was not noted."""
        return self._sealed.files

    def is_installed(self, path: str) -> bool:
        """Whether a file was there when the release was sealed, and is no byte code, which others make as they like."""
        return not is_byte_code(path) and (path in self.recorded or path in self._sealed.files)

    @property
    def to_read(self) -> int:
        """How many files there are to read."""
        return len(self._checkable)

    def findings(self, read: Callable[[], None]) -> Iterator[Finding]:
        """Yield every file that is not what was installed, or should not be there; `read` is called after each."""
        for path, hashed in self._checkable.items():
            found = list(self._compared(path, hashed))
            if found and not self._is_as_found(path):
                yield from found
            read()
        yield from self._drifted()
        yield from self._unexpected()
        yield from self._shared()

    def _compared(self, path: str, hashed: str) -> Iterator[Finding]:
        if path not in self.there:
            yield Finding(kind="missing", path=path, message="it is gone")
            return
        if self._is_other_than_a_file(path):
            yield Finding(kind="changed", path=path, message="something else is in its place")
            return
        try:
            same = matches(f"{self._venv}/{path}", hashed)
        except OSError as error:
            yield Finding(kind="changed", path=path, message=f"it cannot be read: {os_reason(error)}")
            return
        if not same:
            yield Finding(kind="changed", path=path, message="it has other contents than RECORD says")
        else:
            yield from self._mode(path)

    def _is_as_found(self, path: str) -> bool:
        """Whether a file of an adopted release, whatever RECORD says, looks as it did when that was adopted."""
        return self._adopted and look(self._venv, (path,))[path] == self._sealed.files.get(path)

    def _is_other_than_a_file(self, path: str) -> bool:
        """Whether something else is in the place of a file, which must not be read: a pipe would never end."""
        mode, before = self.there[path].st_mode, self._sealed.files.get(path)
        if stat.S_ISREG(mode) or (before is None and stat.S_ISLNK(mode)):
            return False
        return look(self._venv, (path,))[path] != before or not stat.S_ISLNK(mode)

    def _mode(self, path: str) -> Iterator[Finding]:
        """Compare who may read and run a file with what it was when the release was sealed."""
        before = self._sealed.files.get(path, "").split(" ")
        now = f"{self.there[path].st_mode & _READING:o}"
        if len(before) == 3 and before[0].isdigit() and before[2] != now:
            message = f"its read and execute permissions were {before[2]} and are {now} now"
            yield Finding(kind="permissions", path=path, message=message)

    def _drifted(self) -> Iterator[Finding]:
        """Yield what differs from what was noted, of files without a hash; whole packages are not for here."""
        if not self._sealed.files:
            return
        owners = installed(self._venv)
        found = look(self._venv, {*owners, *self._sealed.files})
        for one in drift(self._sealed.files, found, owners).files:
            if one.path in self._checkable:
                continue
            if one.kind == "missing":
                yield Finding(kind="missing", path=one.path, message="it is gone")
            elif one.kind == "added":
                if "/site-packages/" not in one.path or one.path in self.recorded:  # the others follow
                    message = "it was not there when the release was sealed"
                    yield Finding(kind="unexpected", path=one.path, message=message)
            elif self._has_sealed_contents(one.path):
                yield from self._mode(one.path)
            else:
                yield Finding(kind="changed", path=one.path, message="it is not what was sealed")

    def _has_sealed_contents(self, path: str) -> bool:
        hashed = self._sealed.hashes.get(path, "")
        try:
            return bool(hashed) and stat.S_ISREG(self.there[path].st_mode) and hash_of(f"{self._venv}/{path}") == hashed
        except (OSError, KeyError):
            return False

    def _unexpected(self) -> Iterator[Finding]:
        places = tuple(f"{place}/" for place in site_packages(self._venv))
        own = {f"{place}{name}" for place in places for name in _OF_VENVS}
        known = self.recorded.keys() | self._sealed.files.keys() | self._sealed.others | own
        for path in sorted(self.there):
            if path.endswith(f"{INFO}/RECORD"):
                continue  # which packages are there is compared with the lock
            if path.startswith(places) and path not in known and "__pycache__/" not in path:
                message = "no package has installed it"
                if is_byte_code(path):
                    message += ", and Python would run it, as byte code without a source"
                yield Finding(kind="unexpected", path=path, message=message)

    def _shared(self) -> Iterator[Finding]:
        """Yield the files that have another name outside of the venv: who changes them there changes them here.

        An adopted venv mostly has such files, as uv links from its cache.
        """
        if self._adopted:
            return
        within = collections.Counter((one.st_dev, one.st_ino) for one in self.there.values() if one.st_nlink > 1)
        for path, status in sorted(self.there.items()):
            outside = status.st_nlink - within[status.st_dev, status.st_ino]
            if status.st_nlink > 1 and outside > 0 and stat.S_ISREG(status.st_mode):
                names = "another name" if outside == 1 else f"{outside} other names"
                message = f"it has {names} outside of the release, and is changed where that is"
                yield Finding(kind="shared", path=path, message=message)
