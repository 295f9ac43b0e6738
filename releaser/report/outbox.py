"""The outbox: a Maildir with the mails that no server has taken yet."""

from __future__ import annotations

import hashlib
import os

from releaser.site.paths import Paths
from releaser.system.files import make_private_directory, replace_file, sync_directory


def count_waiting(paths: Paths) -> int:
    """Return the number of mails in the outbox."""
    return len([*paths.outbox.glob("new/*"), *paths.outbox.glob("cur/*")])


def keep_mail(paths: Paths, run: str, mail: bytes) -> None:
    """Put the mail about a run into the outbox, durably; twice is once. Raises OSError."""
    make_private_directory(paths.outbox)
    for name in ("tmp", "new", "cur"):
        make_private_directory(paths.outbox / name)
    name = f"{run}.{hashlib.sha256(mail).hexdigest()[:16]}"
    replace_file(paths.outbox / "tmp" / name, mail)
    os.rename(paths.outbox / "tmp" / name, paths.outbox / "new" / name)
    sync_directory(paths.outbox / "new")
