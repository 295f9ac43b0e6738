"""Finds the files that the code of a candidate has changed in its own venv since the installation."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from releaser.releases.contents import (
    BUILT,
    hash_sources,
    is_byte_code,
    list_below,
    matches,
    read_records,
)
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CODE = (".py", ".pth", ".so")


class Installed(Frozen):
    """The state of a venv before any of its code ran. It is kept in memory, as tests could change a file."""

    venv: str
    #: Mode, size, inode, mtime and ctime of each file, which show whether it was written. Only root can set the ctime.
    looks: Mapping[str, tuple[int, ...]]
    #: The hash of each file that a RECORD lists or that may be run, and the target of each symlink.
    contents: Mapping[str, str]

    def find_touched(self) -> list[str]:
        """Return the files that were changed or deleted since, or are new and may be run. Raises OSError.

        New or changed byte code is deleted, as it may not match its source.
        """
        return sorted(self._find_touched())

    def _find_touched(self) -> Iterator[str]:
        before, now = self.looks, _look(self.venv)
        for path in [file for file in before.keys() | now.keys() if before.get(file) != now.get(file)]:
            if is_byte_code(path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self.venv}/{path}")
            elif path not in self.contents:
                if path in now and _may_run(path, now[path][0]):
                    yield path
            elif path not in now or now[path][0] != before[path][0] or not self._has_same(path):
                yield path

    def _has_same(self, path: str) -> bool:
        mode, content, file = self.looks[path][0], self.contents[path], f"{self.venv}/{path}"
        if stat.S_ISLNK(mode):
            return os.readlink(file) == content
        return stat.S_ISREG(mode) and matches(file, content)


def note_installed(venv: Path) -> Installed:
    """Return the state of a venv before any code of its packages runs. Raises OSError."""
    looks, recorded = _look(f"{venv}"), read_records(f"{venv}")
    links = {path: os.readlink(f"{venv}/{path}") for path, (mode, *_) in looks.items() if stat.S_ISLNK(mode)}
    files = [path for path, (mode, *_) in looks.items() if stat.S_ISREG(mode)]
    known = [path for path in files if path in recorded or _may_run(path, looks[path][0])]
    hashes = hash_sources(f"{venv}", known, recorded)
    return Installed(venv=f"{venv}", looks=looks, contents=links | hashes)


def _may_run(path: str, mode: int) -> bool:
    is_code = path.endswith(_CODE) or path.startswith(("bin/", f"{BUILT}/")) or path == "pyvenv.cfg"
    return is_code or not stat.S_ISREG(mode)


def _look(venv: str) -> dict[str, tuple[int, ...]]:
    return {
        path: (seen.st_mode, seen.st_size, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
        for path, seen in list_below(venv, "").items()
    }
