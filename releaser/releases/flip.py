"""The symlink that makes a release live: reading it, and moving it atomically."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from releaser.durable import exchange, replace_symlink

if TYPE_CHECKING:
    from pathlib import Path


def target_of(link: Path) -> Path | None:
    """Return where the link leads, absolute and tidy; None when it is not a symlink. The target need not exist."""
    try:
        text = os.readlink(link)
    except (FileNotFoundError, OSError):
        return None
    return _absolute(link, text)


def _absolute(link: Path, text: str) -> Path:
    from pathlib import Path

    return Path(os.path.normpath(os.path.join(link.parent, text)))


def flip(link: Path, venv: Path, *, staging: Path) -> None:
    """Let `link` lead to `venv` by one rename, durably. Raises OSError; the old link then still stands.

    The link is relative, so that the outer directory can be moved or mounted elsewhere. `staging` is a directory on the
    same file system, where the new link is made.
    """
    replace_symlink(link, os.path.relpath(venv, link.parent), staging=staging)


def adopt_directory(link: Path, venv: Path) -> bool:
    """Move the real directory at `link` to `venv` and leave a symlink to it; True when that was one atomic exchange.

    The fallback, for file systems without RENAME_EXCHANGE, is a rename and then a symlink: between the two, for some
    microseconds, there is nothing at `link`. Nothing is synced: the release is not complete before its file system is.
    """
    text = os.path.relpath(venv, link.parent)
    venv.symlink_to(text)
    if exchange(link, venv):
        atomic = True
    else:
        atomic = False
        venv.unlink()
        link.rename(venv)
        link.symlink_to(text)
    return atomic
