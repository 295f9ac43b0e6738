"""The journal: what a run was about to change, so that another one can finish or undo it."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from releaser.durable import (
    UnreadableStateError,
    check_texts,
    check_types,
    put_aside,
    read_json,
    sync_directory,
    write_json,
)
from releaser.releases.reserve import free_reserve

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

Phase = Literal["pulling", "building", "adopting", "committing", "reverting", "mending", "telling"]
JOURNAL = "journal.json"
_TEXT = (str, type(None))
_KINDS: dict[str, type | tuple[type, ...]] = {
    "command": str, "run_id": str, "phase": str, "origin": _TEXT, "origin_link": _TEXT, "target": _TEXT,
    "head_before": _TEXT, "head_after": _TEXT, "done": list, "reason": str,
    "blameless": bool, "founds": bool, "flipped_at": (float, int, type(None)), "boot": str, "was_used": bool,
    "stays": bool, "collected": bool,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One change in progress.

    `origin` and `target` are the releases it goes from and to (None: no release was live), `origin_link` is the text of
    the symlink before (None: there was none). `head_before` and `head_after` are the commits before and after a pull,
    None without one. `done` names the steps behind the flip that are finished. `reason` tells why a change is being
    taken back, and `blameless` that it was not for anything in the release. `untold` are sentences of this run that
    nobody has been told yet; in the phase `telling` nothing else is left to be done. `flipped_at` is when the flip was
    about to be made, in seconds since the system started, and `boot` names that start; `was_used` says that there were
    processes on `origin` then. One that `stays` is not taken back for a step behind the flip that fails, as a person
    has decided. The static files of one that is `collected` are there before the flip. One that `founds` brings the
    project its pyproject.toml along with its first lock.
    """

    command: str
    run_id: str
    phase: Phase
    origin: str | None = None
    origin_link: str | None = None
    target: str | None = None
    head_before: str | None = None
    head_after: str | None = None
    done: tuple[str, ...] = ()
    reason: str = ""
    blameless: bool = False
    founds: bool = False
    flipped_at: float | None = None
    boot: str = ""
    was_used: bool = False
    stays: bool = False
    collected: bool = False
    untold: tuple[str, ...] = ()

    def moved(self, phase: Phase, **changes: Any) -> Entry:
        """Return the entry of a later phase of the same change."""
        return replace(self, phase=phase, **changes)


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The journal of one project, in its state directory."""

    state_dir: Path

    @property
    def path(self) -> Path:
        """The file that is there while a change is in progress."""
        return self.state_dir / JOURNAL

    def read(self) -> Entry | None:
        """Return the change in progress; None when there is none. Raises UnreadableStateError."""
        content = read_json(self.path)
        if content is None:
            return None
        try:
            check_types(content, {name: kind for name, kind in _KINDS.items() if name in content})
            check_texts(content["done"])
            known = {name: content[name] for name in Entry.__dataclass_fields__ if name in content}
            known["done"] = tuple(content["done"])
            known["untold"] = tuple(content.get("untold", ()))
            entry = Entry(**known)
        except (KeyError, TypeError) as error:
            raise UnreadableStateError(self.path, f"not a journal entry ({error!r})") from error
        if entry.phase not in get_args(Phase):
            raise UnreadableStateError(self.path, f"unknown phase {entry.phase!r}")
        return entry

    def write(self, entry: Entry) -> Entry:
        """Record the change, durably, and return it."""
        write_json(self.path, asdict(entry))
        return entry

    def insist(self, entry: Entry) -> Entry:
        """Record the change even on a full disk: the room that is kept for that is freed. Raises OSError."""
        try:
            return self.write(entry)
        except OSError as error:
            log.warning("the journal cannot be replaced before room is made: %s", error)
            free_reserve(self.state_dir)
            return self.write(entry)

    def drop(self) -> None:
        """Record, durably, that nothing is in progress any more."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
            sync_directory(self.state_dir)

    def put_aside(self) -> Path:
        """Keep an unreadable journal under another name, for a person to look at."""
        return put_aside(self.path)
