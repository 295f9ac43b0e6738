"""The pause in the status."""

from datetime import UTC, datetime

from releaser.core.status import Alarm, Excused, Look, Pending, Question, Remark, Shows, StatusSection
from releaser.releases.journal import list_limits
from releaser.releases.pause import Pause, read_pause


class PauseStatus(StatusSection):
    """The pause of updates."""

    #: The pause in a sentence; empty if updates are not paused.
    paused: str = ""
    #: Who ordered it, since when and until when, as ISO 8601; empty if unknown, or for a pause without an end.
    paused_by: str = ""
    paused_since: str = ""
    paused_until: str = ""
    #: True if security fixes go live nevertheless.
    paused_except_security: bool = False
    #: The length of the pause so far, in seconds; that of the last pause until the next update starts.
    paused_seconds: float = 0.0

    @classmethod
    def look(cls, at: Look) -> StatusSection:
        found, now = read_pause(at.site.state_dir), datetime.now(UTC)
        if found is None:
            return cls()
        if not found.is_on(now):
            return cls(paused_seconds=_seconds(found, now) if _is_last(at, found.end) else 0.0)
        return cls(
            paused=found.summary,
            paused_by=found.by,
            paused_since=found.since.isoformat() if found.since else "",
            paused_until=found.until.isoformat() if found.until else "",
            paused_except_security=found.except_security,
            paused_seconds=_seconds(found, now),
        )

    def show(self) -> Shows:
        if self.paused_seconds:
            yield Excused(self.paused_seconds)
        if self.paused:
            yield Pending("a pause", 5)
        if self.paused_except_security:
            yield Remark(self.paused, 10)
        if self.paused and not self.paused_since:
            yield Alarm(text="updates are paused because `pause.json` cannot be read", command="resume", rank=60)
        elif self.paused and not self.paused_until:
            yield Question(text="the pause of updates has no end", command="resume", rank=60)


def _seconds(pause: Pause, now: datetime) -> float:
    """Return the length of a pause so far, in seconds; a long time if its beginning is unknown."""
    since = pause.since or datetime.fromtimestamp(0, UTC)
    return max(0.0, (min(now, pause.end or now) - since.astimezone()).total_seconds())


def _is_last(at: Look, end: datetime | None) -> bool:
    """True if no update has started since the end of a pause."""
    whole = (run for run in at.runs if run.get("command") == "update" and not run.get("only") and not list_limits(run))
    try:
        return end is not None and datetime.fromisoformat(str(next(whole)["started_at"])).astimezone() < end
    except (StopIteration, KeyError, ValueError, OverflowError):  # none, or one that cannot be read
        return True
