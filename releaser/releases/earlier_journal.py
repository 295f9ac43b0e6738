"""The journal in its earlier form: this version finishes or undoes a change that an earlier version began."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from releaser.releases.journal import Entry, Flip, Phase
from releaser.system.files import UnreadableStateError, read_state
from releaser.system.frozen import Frozen

if TYPE_CHECKING:
    from pathlib import Path


class EarlierEntry(Frozen):
    """An entry of an earlier version, with fields for each action."""

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
    not_the_release: bool = False
    flipped_at: float | None = None
    boot: str = ""
    was_used: bool = False
    stays: bool = False
    collected: bool = False
    start: tuple[str, ...] = ()
    unreported: tuple[str, ...] = ()

    def as_entry(self) -> Entry:
        """Return the same change as this version records it."""
        has_flip = self.phase in ("committing", "reverting", "repairing")
        actions: dict[str, dict[str, Any]] = {}
        if self.phase in ("committing", "reverting", "pulling"):
            actions["checkout"] = {
                "before": self.head_before,
                "after": self.head_after,
                "boot": self.boot,
                "files": self.phase != "pulling",
            }
        if self.collected:
            actions["collectstatic"] = {"ahead": True}
        if self.phase in ("committing", "reverting"):
            stopped = {"stopped": True, "start": self.start, "since": self.flipped_at} if self.start else {}
            actions["restart"] = {"was_used": self.was_used, **stopped}
        flip = Flip(
            previous=self.origin,
            previous_link=self.origin_link,
            at=self.flipped_at,
            boot=self.boot,
            goes_back=self.command == "rollback",
            stays=self.stays,
            reason=self.reason,
            not_the_release=self.not_the_release,
        )
        return Entry(
            command=self.command,
            run_id=self.run_id,
            phase=self.phase,
            actions=actions,
            release=self.target,
            flip=flip if has_flip else None,
            done=self.done,
            unreported=self.unreported,
        )


def read_earlier(path: Path) -> Entry | None:
    """Return the entry that an earlier version wrote; None if the file has no such entry."""
    with contextlib.suppress(UnreadableStateError, OSError):
        earlier = read_state(path, EarlierEntry)
        return earlier.as_entry() if earlier is not None else None
    return None
