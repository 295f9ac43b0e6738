"""The symlink that makes a release live: reading it, moving it atomically, and seeing that nobody else has moved it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError
from releaser.system.files import exchange, replace_symlink

if TYPE_CHECKING:
    from releaser.releases.store import ReleaseStore


def target_of(link: Path) -> Path | None:
    """Return where the link leads, absolute and tidy; None when it is not a symlink. The target need not exist."""
    try:
        text = os.readlink(link)
    except OSError:
        return None
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
        return True
    venv.unlink()
    link.rename(venv)
    link.symlink_to(text)
    return False


def is_missing_or_dangling(link: Path) -> bool:
    """Whether the symlink is gone, or what it leads to is; what only cannot be seen from here may well be there."""
    try:
        os.stat(link)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def moved_by_hand(store: ReleaseStore) -> Finding | None:
    """Say that the symlink leads elsewhere than to the release that went live last; None where it does not."""
    live = store.live_by_record()
    if live is None or store.live_id() == live or is_missing_or_dangling(store.link):
        return None
    what = f"leads to {store.live_id() or os.readlink(store.link)}" if store.link.is_symlink() else "is not a symlink"
    message = f"{store.link} {what}, and not to {live}, which releaser made live last: somebody has moved it"
    advice = (
        f"Nothing is changed until you decide: `releaser init` keeps what {store.link.name} leads to,"
        f" `releaser rollback {live}` goes back."
    )
    return Finding(message, advice=advice)


def refuse_moved(store: ReleaseStore) -> None:
    """See that nobody has moved the symlink. Raises PreflightError."""
    finding = moved_by_hand(store)
    if finding is not None:
        raise PreflightError(finding)
