"""A stand-in for the project in the temporary directory: uv locks there, and the project does not change."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from releaser.errors import ResolutionError, reason_of
from releaser.system.expression import expression
from releaser.system.files import read_file, read_text, write_new_file
from releaser.system.frozen import replace
from releaser.system.temporary import temporary_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.site.site import Site

_WRITTEN = ("pyproject.toml", "uv.toml", "uv.lock")  # files that uv reads or writes in the project itself
_UPWARDS = expression(r"\.\.(?:/\.\.)*")  # in paths that lead out of the project


@contextlib.contextmanager
def project_aside(site: Site) -> Iterator[Site]:
    """Yield the site with its project in a temporary directory: copies of uv's files, and symlinks to all others.

    Raises ResolutionError.
    """
    root = site.project.root
    with temporary_tree() as base:
        place = base.joinpath(*root.parts[1:])
        try:
            place.mkdir(parents=True)
            for entry in sorted(os.listdir(root)):
                if entry in _WRITTEN:
                    write_new_file(place / entry, read_file(root / entry))
                elif root / entry != site.project.venv:
                    (place / entry).symlink_to(root / entry)
            surround(place, root, place)
        except OSError as error:
            message = f"the project cannot be resolved in {base}: {reason_of(error)}"
            advice = "Free some space in the temporary directory, or set TMPDIR to another one."
            raise ResolutionError(message, advice) from error
        yield replace(site, project=replace(site.project, root=place, staged_from=site.project.checkout))


def surround(place: Path, top: Path, root: Path) -> None:
    """Give the directories around `place` symlinks to the entries of those around `top`.

    The first directory, with `.env`, and all that paths in uv's files of the project at `root` lead to, get all
    entries. Those further out get only uv's settings.
    """
    files = (root / name for name in _WRITTEN)
    texts = [read_text(file, errors="replace") for file in files if file.is_file()]
    steps = max((len(found.group().split("..")) - 1 for text in texts for found in _UPWARDS.finditer(text)), default=0)
    whole = max(1, steps - len(root.relative_to(place).parts))
    for number in range(len(top.parts) - 1):
        with contextlib.suppress(PermissionError):
            entries = sorted(os.listdir(top.parent)) if number < whole else ["uv.toml", "pyproject.toml"]
            for entry in entries:
                if not os.path.lexists(place.parent / entry) and os.path.lexists(top.parent / entry):
                    (place.parent / entry).symlink_to(top.parent / entry)
        place, top = place.parent, top.parent
