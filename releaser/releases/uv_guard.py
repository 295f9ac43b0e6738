"""The guard that makes uv refuse a release: `uv sync` and `uv run` in the checkout write through the symlink.

Before uv changes a venv, it reads its own notes on each installed package, and fails if they are no JSON object; its
message quotes a string that it finds instead. No other program reads them. docs/project/uv-guard.md has the
measurements.
"""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.releases.contents import INFO
from releaser.site.declaring import Part
from releaser.system.files import read_file, write_new_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from releaser.releases.integrity import Damage
    from releaser.releases.release import Release
    from releaser.site.site import Site

#: uv 0.4 and newer read the first; uv 0.9 and newer, also the second.
NAMES = ("uv_cache.json", "uv_build.json")
_SIGN = '"This environment belongs to releaser.'
TEXT = f'{_SIGN} Use `releaser update` and `releaser run`, or set UV_PROJECT_ENVIRONMENT to another directory"'
_LONGEST = 1000  # bytes of a guard
_ADVICE = "`releaser setup --set uv_guard=true` makes uv refuse that, from the next release on."


class GuardSettings(Part):
    """The protection of releases from uv."""

    #: Make `uv sync`, `uv run`, `uv add` and `uv pip` refuse new releases; uv's message says what to do instead.
    uv_guard: bool = False


def guard(site: "Site", venv: Path) -> None:
    """Put the guard into the venv of a candidate, if the settings say so. Raises OSError."""
    if GuardSettings.of(site).uv_guard:
        free = (file for file in _files(venv) if not os.path.lexists(file))  # uv itself writes some of them
        if file := next(free, None):
            write_new_file(file, TEXT.encode())


def take_out(venv: Path) -> None:
    """Delete the guard from a venv, which stays without releaser. Raises OSError."""
    for file in filter(is_guard, _files(venv)):
        file.unlink()


def is_guard(file: Path) -> bool:
    """True if a file is the guard, also that of another version with other advice. Raises OSError."""
    return file.is_file() and file.stat().st_size <= _LONGEST and read_file(file).startswith(_SIGN.encode())


def advise(release: "Release", damage: "Damage") -> str:
    """Return how to prevent that uv changes a release again; empty if it did not, or refuses already."""
    return _ADVICE if damage.drift.by.startswith("uv ") and not _has_guard(release.venv) else ""


def remark(site: "Site") -> str:
    """Describe what uv does in the checkout, for `check` and `setup`; empty as long as no release is live."""
    venv = site.project.venv
    if not venv.is_symlink():
        return ""
    if _has_guard(venv):
        return "uv in the checkout: refuses the live release"
    if GuardSettings.of(site).uv_guard:
        return "uv in the checkout: refuses the next release; `releaser rebuild` builds it now"
    return "uv in the checkout: changes the live release; `releaser setup --set uv_guard=true` makes it refuse"


def _has_guard(venv: Path) -> bool:
    for file in _files(venv):
        with contextlib.suppress(OSError):  # `sudo uv sync` under a strict umask leaves what only root can read
            if is_guard(file):
                return True
    return False


def _files(venv: Path) -> "Iterator[Path]":
    infos = sorted(venv.glob(f"lib/*/site-packages/*{INFO}"))
    yield from (info / name for name in NAMES for info in infos)
