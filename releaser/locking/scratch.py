"""The scratch tree: a stand-in for the checkout in which uv may resolve, while the real uv.lock stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.project.project import Project

_COPIED = frozenset({"pyproject.toml", "uv.lock"})


@contextlib.contextmanager
def scratch_tree(project: Project) -> Iterator[Path]:
    """Make the scratch tree and take it away afterwards.

    pyproject.toml and uv.lock are copies, everything else leads to the checkout by symlinks: workspace members,
    relative indexes, `.python-version`, a README that a build reads. It lies beside the checkout, so `../` holds.
    Raises OSError.
    """
    remove_scratch(project)
    project.scratch.mkdir(mode=0o700)
    try:
        _fill(project)
        yield project.scratch
    finally:
        remove_scratch(project)


def remove_scratch(project: Project) -> None:
    """Take the scratch tree away, also one that a crash left; what its symlinks lead to is not touched."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(project.scratch)


def _fill(project: Project) -> None:
    for entry in os.scandir(project.root):
        place = project.scratch / entry.name
        if entry.name in _COPIED:
            shutil.copyfile(entry.path, place)
        elif entry.path != str(project.venv):
            place.symlink_to(entry.path)
