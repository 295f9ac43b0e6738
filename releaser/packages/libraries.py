"""Packages that lie outside of the repository, such as a library beside the checkout: their content is a source."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from releaser.packages.lock import Lock
from releaser.site.site import Site
from releaser.system.files import read_regular_file, walk
from releaser.system.signals import check_signals

_LARGE = 1 << 20  # bytes; of a larger file, size and time stand for its content
_LEFT_OUT = {".git", ".hg", ".venv", "venv", "__pycache__", "node_modules", "build", "dist", ".tox", ".nox"}
_MADE = (".egg-info", ".dist-info", "_cache", ".pyc")


def hash_libraries(site: Site, lock: Lock) -> tuple[tuple[str, str], ...]:
    """Return each package of a lock that lies outside of the repository, with a hash of its content."""
    top = site.paths.top
    local = sorted((package.name, package.source.location) for package in lock.packages if package.source.is_local)
    paths = {name: Path(os.path.normpath(site.paths.project / location)) for name, location in local}
    outside = {name: path for name, path in paths.items() if not (path.is_relative_to(top) or top.is_relative_to(path))}
    return tuple((name, _hash(path)) for name, path in outside.items())


def _hash(path: Path) -> str:
    """Return a hash of a file, or of what people write in a directory: not of what builds and programs make there."""
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(_read(path))
    for place, directories, files in walk(path):
        check_signals()
        directories[:] = sorted(name for name in directories if name not in _LEFT_OUT and not name.endswith(_MADE))
        for name in sorted(name for name in files if not name.endswith(_MADE)):
            file = Path(place, name)
            digest.update(f"\0{file.relative_to(path)}\0".encode(errors="surrogateescape") + _read(file))
    return digest.hexdigest()[:16]


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGE:
            return read_regular_file(path.resolve()) or b""
    except OSError:  # such as a file of another user
        return b""
    return f"{status.st_size} {status.st_mtime_ns}".encode() if stat.S_ISREG(status.st_mode) else b""
