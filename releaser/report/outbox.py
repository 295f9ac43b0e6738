"""The outbox: a Maildir with the mails that no server has taken yet."""

from __future__ import annotations

import hashlib
import os

from releaser.site.paths import Paths
from releaser.system.files import make_private_directory, replace_file, set_aside, sync_directory


def count_waiting(paths: Paths) -> int:
    """Return the number of mails in the outbox."""
    return len(list_waiting(paths))


def list_waiting(paths: Paths) -> list[str]:
    """Return the names of the mails in the outbox. Directories, links and pipes in it are no mails."""
    places = sorted([*paths.outbox.glob("new/*"), *paths.outbox.glob("cur/*")])
    return [place.name for place in places if place.is_file() and not place.is_symlink()]


def keep_mail(paths: Paths, run: str, mail: bytes) -> None:
    """Put the mail about a run into the outbox, durably; twice is once. Raises OSError."""
    for path in (paths.outbox, *(paths.outbox / name for name in ("tmp", "new", "cur"))):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            set_aside(path)
        make_private_directory(path)
    name = f"{run}.{hashlib.sha256(mail).hexdigest()[:16]}"
    replace_file(paths.outbox / "tmp" / name, mail)
    os.rename(paths.outbox / "tmp" / name, paths.outbox / "new" / name)
    sync_directory(paths.outbox / "new")
