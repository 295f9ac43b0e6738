"""Where the symlink leads, and whether that is where the ledger says: whoever moves it elsewhere is a person."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from releaser.errors import PreflightError, Unfit

if TYPE_CHECKING:
    from pathlib import Path

    from releaser.releases.store import ReleaseStore


def is_missing_or_dangling(link: Path) -> bool:
    """Whether the symlink is gone, or what it leads to is; what only cannot be seen from here may well be there."""
    try:
        os.stat(link)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def moved_by_hand(store: ReleaseStore) -> Unfit | None:
    """Say that the symlink leads elsewhere than to the release that went live last; None where it does not."""
    live = store.live_by_record()
    if live is None or store.live_id() == live or is_missing_or_dangling(store.link):
        return None
    what = f"leads to {store.live_id() or os.readlink(store.link)}" if store.link.is_symlink() else "is no symlink"
    message = f"{store.link} {what}, and not to {live}, which releaser made live last: somebody has moved it"
    advice = (
        f"Nothing is changed until you decide: `releaser init` keeps what {store.link.name} leads to,"
        f" `releaser rollback {live}` goes back."
    )
    return Unfit(message, advice=advice)


def refuse_moved(store: ReleaseStore) -> None:
    """See that nobody has moved the symlink. Raises PreflightError."""
    finding = moved_by_hand(store)
    if finding is not None:
        raise PreflightError((finding,))
