"""The journal of the change in progress: written durably before anything changes, dropped at the end of the run."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

import msgspec

from releaser.releases.link import Link
from releaser.releases.reserve import release_reserve
from releaser.site.paths import Paths
from releaser.site.run_lock import find_running
from releaser.system.files import FULL, sync_directory, write_json
from releaser.system.run import Run
from releaser.system.state import read_state

Phase = Literal["building", "changing", "going-back", "publishing", "telling"]
PUSH, QUICK_PUSH = 1800.0, 60.0  # seconds; a rollback does not wait long for a network


class Entry(msgspec.Struct, frozen=True, rename={"earlier": "from", "release": "to"}):
    """A change in progress. Recovery needs nothing else to finish or undo it.

    `earlier` and `release` are the ids of the live release before the change and after it, `link` is the text of the
    symlink before the change, None without one. `command` and `run` are for people: no step decides by them.
    """

    phase: Phase
    command: str
    run: str
    earlier: str | None = None
    release: str | None = None
    link: str | None = None
    #: The path to which a directory in the link's place is moved; empty if there is none.
    replaces: str = ""
    #: The path of a plain venv that takes the link's place, as `uninstall` leaves it; empty if there is none.
    plain: str = ""
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
    #: True for a way back that a person asked for: it holds what it leaves, and a failure may leave it live.
    is_way_back: bool = False
    #: True if an automatic rollback puts on hold what it removes.
    may_hold: bool = True
    #: The time in seconds that the push may take.
    push_timeout: float = PUSH
    #: What is left to tell (`Telling` of report/tell.py), in the phase `telling`.
    telling: Any = None
    #: The processes that held the lease of the new release before the change; they show no restart.
    held_by: tuple[int, ...] = ()
    #: The release whose products were in the checkout, if not `earlier`: after `--keep-code`, that of the code.
    products_of: str | None = None
    #: True if a process of the earlier release listened before the change.
    was_serving: bool = False
    #: The action that failed, for which it goes back.
    failed_action: str = ""

    def has_flipped(self, link: Link) -> bool:
        """Return True if the link leads to the new release because of this change."""
        return self.release is not None and link.release == self.release and link.text != self.link

    @property
    def goes_back(self) -> bool:
        """True while the actions lead to the earlier release."""
        return self.phase == "going-back"

    @property
    def final(self) -> str | None:
        """The release that is live at the end of the actions."""
        return self.earlier if self.goes_back else self.release

    @property
    def change(self) -> Entry:
        """The change as its actions go, also if they go back."""
        return msgspec.structs.replace(self, earlier=self.release, release=self.earlier) if self.goes_back else self

    @property
    def title(self) -> str:
        """The run that made the change, for the beginning of a sentence."""
        return f"`releaser {self.command}` of {self.run}"


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


def read_entry(paths: Paths, run: Run | None = None) -> Entry | None:
    """Return the change in progress; a journal that cannot be read is set aside and reported."""
    entry = read_state(paths.journal, Entry, run, "the link decided what to do")
    if entry and entry.command == "rollback" and entry.earlier and not entry.is_way_back:  # 1.0 told it by the command
        entry = msgspec.structs.replace(entry, is_way_back=True, may_hold=False, push_timeout=QUICK_PUSH)
    return entry


def is_interrupted(paths: Paths) -> bool:
    """Return True if a change is in progress whose run has ended."""
    return paths.journal.exists() and find_running(paths.run_lock) is None


def drop_entry(paths: Paths) -> None:
    """Record that no change is in progress. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        paths.journal.unlink()
        sync_directory(paths.state)


def read_journal_time(paths: Paths) -> float:
    """Return when the journal was written, in seconds; 0 without one."""
    with contextlib.suppress(OSError):
        return paths.journal.lstat().st_mtime
    return 0.0
