"""Fingerprints of directory trees, to tell whether anything in them changed."""

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

_BYTE_CODE = "__pycache__"  # Python writes it whenever it runs; it says nothing


def tree(directory: Path, *, skip: Collection[str] = ()) -> dict[str, str]:
    """Return a fingerprint of every entry below `directory`, by relative path; `skip` names entries in it."""
    return {path.relative_to(directory).as_posix(): fingerprint(path) for path in _walk(directory, skip)}


def fingerprint(path: Path) -> str:
    """Describe an entry by its kind, mode and content, a symlink by its text."""
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if not path.exists():
        return "absent"
    mode = stat.filemode(path.stat().st_mode)
    return mode if path.is_dir() else f"{mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def digest(directory: Path) -> str:
    """Return one hash over a whole tree."""
    return hashlib.sha256(repr(sorted(tree(directory).items())).encode()).hexdigest()


def _walk(directory: Path, skip: Collection[str]) -> Iterator[Path]:
    for entry in os.scandir(directory):
        if entry.name == _BYTE_CODE or entry.name in skip:
            continue
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), ())
