"""The scratch tree: a stand-in for the checkout in which uv may resolve, while the real uv.lock stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COPIED = frozenset({"pyproject.toml", "uv.lock"})


@contextlib.contextmanager
def scratch_tree(root: Path, place: Path, *, without: Path) -> Iterator[Path]:
    """Make the scratch tree of the checkout `root` at `place`, and take it away afterwards; `without` is the venv.

    pyproject.toml and uv.lock are copies, everything else leads to the checkout by symlinks: workspace members,
    relative indexes, `.python-version`, a README that a build reads. It lies beside
    the checkout, so `../` holds.
    Raises OSError.
    """
    remove_scratch(place)
    place.mkdir(mode=0o700)
    try:
        _fill(place, root, without)
        yield place
    finally:
        remove_scratch(place)


def remove_scratch(place: Path) -> None:
    """Take the scratch tree away, also one that a crash left; what its symlinks lead to is not touched."""
    with contextlib.suppress(FileNotFoundError):
        if place.is_symlink() or not place.is_dir():
            place.unlink()
        else:
            shutil.rmtree(place)


def _fill(place: Path, root: Path, without: Path) -> None:
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name in _COPIED:
                shutil.copyfile(entry.path, place / entry.name)
            elif entry.path != str(without):
                (place / entry.name).symlink_to(entry.path)
