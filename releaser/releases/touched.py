"""What the code of a candidate has changed in its own venv since it was installed."""

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

_CODE = (".py", ".pth", ".so")


class _Installed(Frozen):
    #: What tells whether a file has been written since. Nobody but root can set the last, the time of its change.
    looks: Mapping[str, tuple[int, ...]]
    #: What a file holds that a RECORD names or that may be run, or where a link leads.
    contents: Mapping[str, str]


# By venv, for as long as releaser runs: what is written down, tests could write as well.
_installed: dict[str, _Installed] = {}


def note_installed(venv: str) -> None:
    """Note what a venv is before any code of what is installed there runs. Raises OSError."""
    looks, recorded = _look(venv), read_records(venv)
    links = {path: os.readlink(f"{venv}/{path}") for path, (mode, *_) in looks.items() if stat.S_ISLNK(mode)}
    files = [path for path, (mode, *_) in looks.items() if stat.S_ISREG(mode)]
    hashes = hash_sources(venv, [one for one in files if one in recorded or _may_run(one, looks[one][0])], recorded)
    _installed[venv] = _Installed(looks=looks, contents=links | hashes)


def find_touched(venv: str) -> list[str]:
    """Return the files that are not what was installed, as they were changed or deleted, or are new and may be run.

    New or changed byte code is deleted, as it need not be that of its source. Nothing is found in a venv that was not
    noted. Raises OSError.
    """
    noted = _installed.get(venv)
    return sorted(_find_touched(venv, noted)) if noted is not None else []


def _find_touched(venv: str, noted: _Installed) -> Iterator[str]:
    now = _look(venv)
    for path in [one for one in noted.looks.keys() | now.keys() if noted.looks.get(one) != now.get(one)]:
        if is_byte_code(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{venv}/{path}")
        elif path not in noted.contents:
            if path in now and _may_run(path, now[path][0]):
                yield path
        elif path not in now or now[path][0] != noted.looks[path][0] or not _is_same(f"{venv}/{path}", noted, path):
            yield path


def _may_run(path: str, mode: int) -> bool:
    is_code = path.endswith(_CODE) or path.startswith(("bin/", f"{BUILT}/")) or path == "pyvenv.cfg"
    return is_code or not stat.S_ISREG(mode)


def _is_same(file: str, noted: _Installed, path: str) -> bool:
    before = noted.contents.get(path, "")
    if stat.S_ISLNK(noted.looks[path][0]):
        return os.readlink(file) == before
    return stat.S_ISREG(noted.looks[path][0]) and matches(file, before)


def _look(venv: str) -> dict[str, tuple[int, ...]]:
    return {
        path: (seen.st_mode, seen.st_size, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
        for path, seen in list_below(venv, "").items()
    }
