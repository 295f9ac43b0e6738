"""`pause` and `resume`; and what a pause means for updates and for reports of other runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from releaser.capabilities import gather
from releaser.core.due import Due, OnlyFixes
from releaser.core.request import RequestKind, Wanted, name_requester
from releaser.errors import UsageError, refuse_any
from releaser.pipelines.session import PipelineResult, Request, run_session
from releaser.releases.pause import PAUSE, Pause, current_pause
from releaser.report import Plan
from releaser.site.ownership import name_of
from releaser.system.durations import seconds_of
from releaser.system.files import write_state
from releaser.system.frozen import replace

if TYPE_CHECKING:
    from releaser.core.run import Run
    from releaser.report import RunReport
    from releaser.site.site import Site

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ADVICE = "To update now, run `releaser update --now`. To end the pause, run `releaser resume`."


def read_end(length: str | None, day: str | None, now: datetime) -> datetime | None:
    """Return the end of a pause that begins `now`, from a length or a day; None without both. Raises UsageError.

    A day is the next one of that name, or a date, both from midnight in the time zone of the host, or a date and time.
    """
    option, text = ("--for", length) if length is not None else ("--until", day)
    if text is None:
        return None
    try:
        end = now + timedelta(seconds=seconds_of(text)) if option == "--for" else _read_day(text, now)
    except (ValueError, OverflowError):
        kinds = "a duration such as 48h or 7d" if option == "--for" else "a day such as monday or 2026-12-24"
        message = f"{option} {text!r} is not {kinds}"
        more = "" if option == "--for" else ', or a date and time such as "2026-12-24 08:00"'
        raise UsageError(message, f"Write {kinds}{more}.") from None
    if end <= now:
        message = f"{option} {text!r} is in the past"
        raise UsageError(message, "Choose a later end, or omit it: then the pause lasts until `releaser resume`.")
    return end


def _read_day(text: str, now: datetime) -> datetime:
    """Return the beginning of a day, or a time on it. Raises ValueError."""
    words, today = text.strip().lower(), datetime.combine(now.astimezone().date(), time())
    for number, day in enumerate(_DAYS):
        if words in (day, day[:3]):
            return (today + timedelta(days=(number - today.weekday() - 1) % 7 + 1)).astimezone()
    return datetime.fromisoformat(words.upper()).astimezone()


def pause(request: Request, wanted: Pause) -> RunReport:
    """Pause updates; this replaces an earlier pause."""

    def pipeline(run: Run) -> PipelineResult:
        _refuse_without_fixes(run.site, wanted)
        write_state(run.site.state_dir / PAUSE, wanted)
        return PipelineResult(result="updated", headline=wanted.summary)

    return run_session(request, pipeline)


def plan_pause(site: Site, wanted: Pause) -> Plan:
    """Describe what `pause` would do. Raises PreflightError."""
    _refuse_without_fixes(site, wanted)
    return Plan(would=(wanted.summary.replace(" are ", " would be ", 1),))


def _refuse_without_fixes(site: Site, wanted: Pause) -> None:
    """Raise PreflightError for a pause except for security fixes on a site that cannot choose these."""
    for find in gather("fix_checks") if wanted.except_security else ():
        refuse_any(*find(site))


def new_pause(length: str | None, day: str | None, reason: str, *, except_security: bool) -> Pause:
    """Return the pause that a person wants from now on. Raises UsageError."""
    now = datetime.now(UTC).replace(microsecond=0)
    end = read_end(length, day, now)
    return Pause(
        by=name_of(os.geteuid()), since=now, until=end, reason=" ".join(reason.split()), except_security=except_security
    )


def resume(request: Request) -> RunReport:
    """End the pause."""

    def pipeline(run: Run) -> PipelineResult:
        found = current_pause(run.site.state_dir)
        if found is None:
            return PipelineResult(result="no-changes", headline="updates are not paused")
        write_state(run.site.state_dir / PAUSE, replace(found, resumed=datetime.now(UTC).replace(microsecond=0)))
        return PipelineResult(result="updated", headline="updates are no longer paused")

    return run_session(request, pipeline)


def plan_resume(site: Site) -> Plan:
    """Describe what `resume` would do."""
    found = current_pause(site.state_dir)
    return Plan(would=("updates are not paused",) if found is None else ("the pause would end",))


def find_delay(site: Site, _: frozenset[str]) -> Due | None:
    """Return the pause in force, as what keeps updates from starting."""
    found = current_pause(site.state_dir)
    if found is None:
        return None
    takes_fixes = found.except_security and gather("fix_checks")
    anyway = (OnlyFixes(only_security=True),) if takes_fixes else ()
    return Due(at=found.until, reason=found.summary, since=found.since, advice=_ADVICE, anyway=anyway)


def next_opening(site: Site, at: datetime) -> datetime:
    """Return the end of the pause, if it is later than `at`."""
    found = current_pause(site.state_dir)
    return max(at, found.until.astimezone(UTC)) if found is not None and found.until is not None else at


def add_pause(site: Site, report: RunReport) -> RunReport:
    """Say in the report of a run that updates are paused, unless its headline does."""
    found = current_pause(site.state_dir)
    if found is None or found.summary in report.headline:
        return report
    sentence = f"{found.summary[:1].upper()}{found.summary[1:].rstrip('.')}."
    return replace(report, noted=" ".join(filter(None, [report.noted, sentence])))


# The requests of the page


def _pause_for(request: Request, wanted: Wanted, at: datetime) -> RunReport:
    found = new_pause(wanted.length or None, None, wanted.reason, except_security=False)
    return pause(request, replace(found, by=name_requester(request) or found.by, since=at))


def _resume(request: Request, _: Wanted, __: datetime) -> RunReport:
    return resume(request)


PAUSE_UPDATES = RequestKind(
    action="pause",
    label="Pause updates",
    takes_reason=True,
    lengths={"1d": "for a day", "7d": "for a week", "30d": "for 30 days", "": "without an end"},
    applies=lambda status: not status.paused,
    yields=True,
    perform=_pause_for,
)
RESUME = RequestKind(
    action="resume",
    label="End the pause",
    applies=lambda status: bool(status.paused),
    yields=True,
    perform=_resume,
)
