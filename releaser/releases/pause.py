"""The pause of updates, in `pause.json`. It stays there once it is over: it explains why the last update is old."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from releaser.system.files import UnreadableStateError, read_own_state
from releaser.system.frozen import Frozen
from releaser.system.state_files import StateFile
from releaser.system.words import show_time

if TYPE_CHECKING:
    from pathlib import Path


class Pause(Frozen):
    """A time in which no update starts."""

    #: The user who ordered it; empty if unknown.
    by: str = ""
    #: None if unknown.
    since: datetime | None = None
    #: None: until `releaser resume`.
    until: datetime | None = None
    reason: str = ""
    #: True if updates that only fix known vulnerabilities start anyway.
    except_security: bool = False
    #: When a person ended it; None without that.
    resumed: datetime | None = None

    @property
    def end(self) -> datetime | None:
        """The end, which may have passed; None if it is open."""
        end = self.resumed or self.until
        return end.astimezone() if end else None

    def is_on(self, at: datetime) -> bool:
        """True if it is not over."""
        return self.resumed is None and (self.until is None or at < self.until.astimezone())

    @property
    def summary(self) -> str:
        """The pause in a sentence."""
        what = "updates other than security fixes" if self.except_security else "updates"
        end = show_time(self.until) if self.until else "`releaser resume`"
        return f"{what} are paused until {end}{': ' if self.reason else ''}{self.reason}"


#: Counts if the file cannot be read: that a person wanted a pause is the safer guess.
_UNREADABLE = Pause(reason="the file with the pause could not be read")
PAUSE = StateFile(
    name="pause.json",
    type=Pause,
    read=read_own_state,
    substitute=_UNREADABLE,
    loss="updates are paused from now on",
    advice="Run `releaser resume`, or `releaser pause` with the right end.",
)


def read_pause(state_dir: Path) -> Pause | None:
    """Return the last pause, which may be over; None without one."""
    try:
        return read_own_state(state_dir / PAUSE, Pause)
    except UnreadableStateError:
        return _UNREADABLE


def current_pause(state_dir: Path) -> Pause | None:
    """Return the pause that is in force; None without one."""
    found = read_pause(state_dir)
    return found if found is not None and found.is_on(datetime.now(UTC)) else None
