"""A page about many sites, in one file that needs nothing else: how each stands, the worst first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import ValidationError, convert

from releaser.answers import Status
from releaser.reporting.many_sites import said
from releaser.reporting.monitoring import Service
from releaser.reporting.page import STATES, judge, render
from releaser.site.settings import this_host
from releaser.system.words import age, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from releaser.reporting.many_sites import SiteAnswer


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A site on the page; without a status, nobody knows how it stands."""

    path: str
    state: Service
    alarms: list[tuple[str, str]]
    status: Status | None = None

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def word(self) -> str:
        return STATES[self.state][0]

    @property
    def colour(self) -> str:
        return STATES[self.state][1]

    @property
    def pending(self) -> list[str]:
        return list(_pending(self.status)) if self.status else []


def page_of_sites(answers: Iterable[SiteAnswer], at: datetime) -> str:
    """Return the page as HTML; each answer is that of `status`, and may be anything."""
    rows = sorted((_row(one, at) for one in answers), key=lambda row: -row.state)
    counts = Counter(row.state for row in rows)
    words = {
        state: word if counts[state] == 1 else word.replace("needs", "need") for state, (word, _) in STATES.items()
    }
    shown = [(counts[state], STATES[state][1], words[state]) for state in sorted(counts, reverse=True)]
    return render("sites.html.j2", rows=rows, counts=shown, at=at, host=this_host())


def _row(one: SiteAnswer, at: datetime) -> _Row:
    try:
        status = convert(one.answer, Status)
        state, alarms = judge(status, at)
        age(status.live_age_seconds or 0)  # which the page shows
    except (ValidationError, ValueError, TypeError, OverflowError):
        why = said(one.errors) or f"its status cannot be read (exit code {one.exit_code})"
        return _Row(path=one.site, state=Service.CRITICAL, alarms=[("red", why)])
    return _Row(path=one.site, state=state, alarms=alarms, status=status)


def _pending(status: Status) -> Iterator[str]:
    if status.running:
        yield f"`{status.running.command}` is running"
    if status.interrupted:
        yield "a run was interrupted"
    if status.push_pending:
        yield "a push"
    if status.mails_pending:
        yield plural(status.mails_pending, "mail")
    if status.asked:
        yield "`releaser accept`"
    if status.waiting:
        yield "migrations"
    if status.held_back:
        yield f"{plural(len(status.held_back), 'package')} held back"
    if status.vulnerable:
        yield f"{plural(status.vulnerable, 'package')} vulnerable"
