"""The outbox: a Maildir with the mails that no server has taken yet."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from releaser.system.files import make_private_directory, replace_file, set_aside, sync_directory


def list_waiting(outbox: Path) -> list[str]:
    """Return the names of the mails in an outbox. Directories, links and pipes in it are no mails."""
    places = sorted([*outbox.glob("new/*"), *outbox.glob("cur/*")])
    return [place.name for place in places if place.is_file() and not place.is_symlink()]


def keep_mail(outbox: Path, run: str, mail: bytes) -> None:
    """Put the mail about a run into an outbox, durably; twice is once. Raises OSError."""
    for path in (outbox, *(outbox / name for name in ("tmp", "new", "cur"))):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            set_aside(path)
        make_private_directory(path)
    name = f"{run}.{hashlib.sha256(mail).hexdigest()[:16]}"
    replace_file(outbox / "tmp" / name, mail)
    os.rename(outbox / "tmp" / name, outbox / "new" / name)
    sync_directory(outbox / "new")
