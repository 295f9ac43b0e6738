"""Fingerprints of directory trees, which tell if anything in them changed."""

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

_BYTE_CODE = "__pycache__"  # Python writes byte code whenever it runs


def tree(directory: Path, *, skip: Collection[str] = ()) -> dict[str, str]:
    """Return a fingerprint of each entry below `directory`, by relative path; `skip` names entries of `directory`."""
    return {path.relative_to(directory).as_posix(): fingerprint(path) for path in _walk(directory, skip)}


def fingerprint(path: Path) -> str:
    """Return the kind, mode and content of an entry, or the text of a symlink."""
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if not path.exists():
        return "absent"
    mode = stat.filemode(path.stat().st_mode)
    return f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}" if path.is_file() else mode


def digest(directory: Path) -> str:
    """Return one hash of a whole tree."""
    return hashlib.sha256(repr(sorted(tree(directory).items())).encode()).hexdigest()


def contents(directory: Path) -> dict[str, str]:
    """Return a hash of each file below `directory`, by relative path; modes and kinds are left out."""
    files = (path for path in _walk(directory, ()) if path.is_file() and not path.is_symlink())
    return {path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _walk(directory: Path, skip: Collection[str]) -> Iterator[Path]:
    for entry in os.scandir(directory):
        if entry.name == _BYTE_CODE or entry.name in skip:
            continue
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), ())
