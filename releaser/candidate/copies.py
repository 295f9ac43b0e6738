"""A copy of a release, to test in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from releaser.system.files import remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from releaser.releases.release import Release
    from releaser.site.site import Site


PLACE = ".live-copy.new"  # in the state directory, from which recovery sweeps what is called so
_LONGEST_SCRIPT = 1 << 20  # bytes


@contextlib.contextmanager
def copied(site: Site, release: Release, *, place: Path) -> Iterator[Path]:
    """Copy the venv of a release to `place`, sharing blocks where that can be, and take the copy away at the end.

    Its scripts and activation files lead into the copy. Raises ToolError and OSError.
    """
    venv = place / "venv"
    _remove(place)
    try:
        place.mkdir(mode=0o700)
        source = os.path.realpath(release.venv)
        cp = shutil.which("cp", path=site.runner.environ.get("PATH")) or "/bin/cp"  # a crontab may set any PATH
        site.runner.run([cp, "-a", "--reflink=auto", source, venv], cwd=place, timeout=site.settings.uv_timeout)
        lead_scripts_into(venv, venv / "bin", (str(release.venv), source, str(site.project.venv)))
        yield venv
    finally:
        _remove(place)


def _remove(place: Path) -> None:
    if place.exists():
        remove_tree(place)


def lead_scripts_into(venv: Path, directory: Path, names: tuple[str, ...]) -> None:
    """Let the scripts in `directory`, which are for the venv that has these names, be for `venv`. Raises OSError."""
    longest_first = sorted(map(os.fsencode, names), key=len, reverse=True)
    named = re.compile(rb"(?:%b)(?![\w.-])" % b"|".join(map(re.escape, longest_first)))
    for file in directory.iterdir():
        if file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST_SCRIPT:
            continue
        before = file.read_bytes()
        if b"\0" in before:
            continue
        text = named.sub(os.fsencode(venv).replace(b"\\", rb"\\"), before)
        if text != before:
            file.write_bytes(text)
