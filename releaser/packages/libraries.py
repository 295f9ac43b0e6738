"""Packages that lie outside of the repository, such as a library next to the checkout: their content is a source."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from releaser.packages.lock import Lock
from releaser.releases.sealed import hash_file
from releaser.site.site import Site
from releaser.system.files import walk

_LEFT_OUT = {".git", ".hg", ".venv", "venv", "__pycache__", "node_modules", "build", "dist", ".tox", ".nox"}
_MADE = re.compile(r"(\.(egg-info|dist-info|pyc|log|pid|tmp|db|sqlite3)|_cache|-journal|-wal|-shm)$")


def hash_libraries(site: Site, lock: Lock) -> tuple[tuple[str, str], ...]:
    """Return each package of a lock that lies outside of the repository, with a hash of its content."""
    top = site.paths.top
    local = sorted((package.name, package.source.location) for package in lock.packages if package.source.is_local)
    paths = {name: (site.paths.project / location).resolve() for name, location in local}
    outside = {name: path for name, path in paths.items() if not (path.is_relative_to(top) or top.is_relative_to(path))}
    return tuple((name, _hash(path)) for name, path in outside.items() if path.exists())  # a bundle brings its wheel


def _hash(path: Path) -> str:
    """Return a hash of a file, or of what people write in a directory: not of what builds and programs make there."""
    hashes = [] if path.is_dir() else [hash_file(path)]
    for place, directories, files in walk(path):
        directories[:] = sorted(name for name in directories if name not in _LEFT_OUT and not _MADE.search(name))
        written = (Path(place, name) for name in sorted(files) if not _MADE.search(name) and name[0] != ".")
        hashes += [f"{file.relative_to(path)} {hash_file(file)}" for file in written]
    return hashlib.sha256("\0".join(hashes).encode(errors="surrogateescape")).hexdigest()[:16]
