"""The journal of the change in progress: written durably before anything changes, dropped at the end of the run."""

from __future__ import annotations

import contextlib
from typing import Literal

import msgspec

from releaser.releases.reserve import release_reserve
from releaser.site.paths import Paths
from releaser.system.files import FULL, BrokenFileError, read_json, set_aside, sync_directory, write_json
from releaser.system.run import Run

Phase = Literal["building", "changing", "going-back", "publishing"]


class Entry(msgspec.Struct, frozen=True, rename={"origin": "from", "target": "to"}):
    """A change in progress. Recovery needs nothing else to finish or undo it.

    `origin` and `target` are ids of releases, `link` the text of the symlink before the change, None without one.
    """

    phase: Phase
    command: str
    run: str
    origin: str | None = None
    target: str | None = None
    link: str | None = None
    #: The path to which a directory in the link's place is moved; empty if there is none.
    replaces: str = ""
    #: The head of the checkout before, and the commit to move it to.
    head: str = ""
    commit: str = ""
    #: True if uv.lock in the checkout held the lock of the live release, without a commit.
    had_lock: bool = False
    #: True if the lock of the new release is to be committed, and so goes into the checkout.
    commits_lock: bool = False
    #: True if the products of the release go into the checkout, as code goes back together with packages.
    moves_products: bool = True
    #: True if the site passed its health check before the change; None if it has none.
    was_healthy: bool | None = None
    #: Why the change goes back; empty unless it does.
    reason: str = ""


def write_entry(paths: Paths, entry: Entry) -> Entry:
    """Record the change and return it; on a full disk, the reserve makes room. Raises OSError."""
    try:
        write_json(paths.journal, entry)
    except OSError as error:
        if error.errno not in FULL:
            raise
        release_reserve(paths.reserve)
        write_json(paths.journal, entry)
    return entry


def read_entry(paths: Paths, run: Run) -> Entry | None:
    """Return the change in progress; a journal that cannot be read is set aside and reported."""
    try:
        return read_json(paths.journal, Entry)
    except BrokenFileError as error:
        aside = set_aside(paths.journal)
        run.note(f"The journal could not be read: {error.reason}. It is now `{aside}`; the link decided what to do.")
        return None


def drop_entry(paths: Paths) -> None:
    """Record that no change is in progress. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        paths.journal.unlink()
        sync_directory(paths.state)
