"""HTML pages in one file each: the state and the history of one site, and the state of many."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import ValidationError, convert

from releaser.answers import OutdatedPackage, RunBrief, Status
from releaser.report import Outcome
from releaser.reporting.many_sites import SiteAnswer, said
from releaser.reporting.monitoring import USUAL_AGES, Service, find_alarms
from releaser.reporting.style import DAY, NIGHT, add_links
from releaser.reporting.text import what_comes
from releaser.site.settings import this_host
from releaser.system.frozen import Frozen
from releaser.system.words import age, elapsed, plural, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.locks.vulnerabilities import Vulnerability
    from releaser.releases.listing import Row

_RUNS, _WEEKS = 20, 26  # on the page
#: The word and the colour of each result of a run, in the order in which they are stacked.
_RESULTS = {
    "updated": ("updated", "green"),
    "updated-not-restarted": ("updated, not restarted", "amber"),
    "proposed": ("proposed", "green"),
    "no-changes": ("no changes", "muted"),
    "rolled-back": ("rolled back", "blue"),
    "refused": ("refused", "amber"),
    "failed": ("failed", "red"),
}
STATES = {
    Service.OK: ("well", "green"),
    Service.WARNING: ("needs attention", "amber"),
    Service.CRITICAL: ("broken", "red"),
}
_BINS = {"1 mo": 30, "3 mo": 91, "6 mo": 182, "1 y": 365, "2 y": 730}  # days


class LastRun(Frozen):
    """The facts in the history about the last run of a command that changes the live release."""

    steps: tuple[Outcome, ...] = ()
    problems: tuple[str, ...] = ()


class Overview(Frozen):
    """A site at one moment."""

    at: datetime
    status: Status
    releases: tuple[Row, ...]
    #: Newest first.
    runs: tuple[RunBrief, ...]
    last: LastRun
    #: None if the index was not asked, or gave no answer; then the reason says why.
    outdated: tuple[OutdatedPackage, ...] | None
    outdated_reason: str
    vulnerabilities: tuple[Vulnerability, ...]
    #: Why the last audit got no answer, if so.
    unanswered: str = ""
    #: When the locked versions of the live release were uploaded, if the lock says so.
    uploaded: tuple[datetime, ...]


class Bar(Frozen):
    """A bar of a plot: its label, and its parts from the bottom up, each with a colour and words."""

    label: str
    parts: tuple[tuple[int, str, str], ...]

    @property
    def total(self) -> int:
        """The height of all parts."""
        return sum(count for count, _, _ in self.parts)


def page_of(found: Overview) -> str:
    """Return the page as HTML. It fetches nothing, runs nothing, and obeys the reader's choice of light and dark."""
    state, alarms = judge(found.status, found.at)
    if found.unanswered:
        state = max(state, Service.WARNING)
        alarms.append((STATES[Service.WARNING][1], "the last audit got no answer"))
    runs = [run for run in found.runs if run.result in _RESULTS]
    return render(
        "page.html.j2",
        found=found,
        status=found.status,
        word=STATES[state][0],
        colour=STATES[state][1],
        alarms=alarms,
        runs=[(run, *_RESULTS[run.result]) for run in runs[:_RUNS]],
        weeks=runs_by_week(runs, found.at),
        ages=packages_by_age(found.uploaded, found.at),
        results=_RESULTS.values(),
    )


def judge(status: Status, at: datetime) -> tuple[Service, list[tuple[str, str]]]:
    """Return the state of a site, and the reasons: a colour and a sentence each, the worst first. Raises ValueError."""
    alarms = sorted(find_alarms(status, USUAL_AGES, at), key=lambda one: -one[0])
    return max((level for level, _ in alarms), default=Service.OK), [(STATES[level][1], text) for level, text in alarms]


def render(template: str, **facts: object) -> str:
    """Fill in the template of a page."""
    environment = Environment(
        loader=PackageLoader("releaser.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(linked=add_links, age=age, size=size, elapsed=elapsed, comes=what_comes)
    return environment.get_template(template).render(plural=plural, day=DAY, night=NIGHT, **facts)


def runs_by_week(runs: Iterable[RunBrief], now: datetime) -> Sequence[Bar]:
    """Count the runs of each of the last weeks by result, the oldest week first."""
    monday = (now - timedelta(days=now.weekday())).date()
    counts: Counter[tuple[int, str]] = Counter()
    for run in runs:
        day = datetime.fromisoformat(run.started_at).astimezone(UTC).date()
        counts[(monday - day + timedelta(days=6)).days // 7, run.result] += 1
    return tuple(
        Bar(
            label=f"{monday - timedelta(weeks=ago):%d %b}",
            parts=tuple((counts[ago, one], *_RESULTS[one][::-1]) for one in _RESULTS if counts[ago, one]),
        )
        for ago in reversed(range(_WEEKS))
    )


def packages_by_age(uploaded: Iterable[datetime], now: datetime) -> Sequence[Bar]:
    """Count the live versions by age."""
    limits = [*_BINS.values()]
    counts = Counter(sum((now - one).days >= limit for limit in limits) for one in uploaded)
    names = ["new", *(f"{name} +" for name in _BINS)]
    colours = ("green", "green", "muted", "muted", "amber", "amber")
    return tuple(
        Bar(label=name, parts=((counts[number], colour, name),) if counts[number] else ())
        for number, (name, colour) in enumerate(zip(names, colours, strict=True))
    )


class _Row(Frozen):
    """A site on the page; without a status, its state is unknown."""

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
        return list(_list_pending(self.status)) if self.status else []


def page_of_sites(answers: Iterable[SiteAnswer], at: datetime) -> str:
    """Return the page as HTML; each answer is that of `status`, and may be malformed."""
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
        age(status.live_age_seconds or 0)  # shown on the page
    except (ValidationError, ValueError, TypeError, OverflowError):
        why = said(one.errors) or f"its status cannot be read (exit code {one.exit_code})"
        return _Row(path=one.site, state=Service.CRITICAL, alarms=[("red", why)])
    return _Row(path=one.site, state=state, alarms=alarms, status=status)


def _list_pending(status: Status) -> Iterator[str]:
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
        yield "a release that is ready"
    if status.on_hold:
        yield f"{plural(len(status.on_hold), 'package')} on hold"
    if status.vulnerable:
        yield f"{plural(status.vulnerable, 'package')} vulnerable"
