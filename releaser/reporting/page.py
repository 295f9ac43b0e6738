"""HTML pages in one file each: the state and the history of one site, and the state of many."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from msgspec import ValidationError, convert

from releaser.answers import OutdatedPackage, RunBrief, Status
from releaser.core.status import Alarm, Offer, Pending, Remark, Service, shown
from releaser.report import Outcome
from releaser.reporting.many_sites import explain_errors
from releaser.reporting.monitoring import find_alarms, find_open_questions, usual_ages, worst
from releaser.reporting.style import DAY, NIGHT, add_links
from releaser.reporting.text import describe_next
from releaser.site.settings import this_host
from releaser.system.frozen import Frozen, replace
from releaser.system.words import age, elapsed, plural, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from releaser.locks.vulnerabilities import Vulnerability
    from releaser.releases.listing import Row
    from releaser.reporting.many_sites import SiteAnswer
    from releaser.reporting.servers import Server

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
    """Return the page as HTML. It fetches nothing, runs one script for its buttons, and follows light and dark mode."""
    alarms = judge(found.status, found.at, unanswered=found.unanswered)
    runs = [run for run in found.runs if run.result in _RESULTS]
    return render(
        "page.html.j2",
        title=f"{found.status.project}: releases and updates",
        found=found,
        status=found.status,
        state=worst(alarms),
        alarms=alarms,
        remarks=shown(found.status, Remark),
        offers=shown(found.status, Offer),
        host=this_host(),
        runs=[(run, *_RESULTS[run.result]) for run in runs[:_RUNS]],
        weeks=runs_by_week(runs, found.at),
        ages=packages_by_age(found.uploaded, found.at),
        results=_RESULTS.values(),
    )


def judge(status: Status, at: datetime, *, unanswered: str = "") -> list[Alarm]:
    """Return everything that keeps a site from being well, the worst first. Raises ValueError.

    `unanswered` is why the last query for vulnerabilities got no answer.
    """
    alarms = [*find_alarms(status, usual_ages(status), at), *find_open_questions(status)]
    if unanswered:
        text = f"the last query for known vulnerabilities failed: {unanswered}"
        alarms.append(Alarm(text=text, command="audit"))
    return sorted(alarms, key=lambda one: -one.level)


def render(template: str, *, sends: bool = False, **facts: object) -> str:
    """Fill in the template of a page, which permits its own style and script alone, and, if it `sends`, its forms."""
    environment = Environment(
        loader=PackageLoader("releaser.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    results = {name: word for name, (word, _) in _RESULTS.items()}
    environment.filters.update(
        linked=add_links,
        age=age,
        size=size,
        elapsed=elapsed,
        comes=describe_next,
        when=show_time,
        sentence=_make_sentence,
    )
    style = Markup(environment.get_template("style.css.j2").render(day=DAY, night=NIGHT))  # noqa: S704 - no facts in it
    script = Markup(environment.get_template("copy.js.j2").render())  # noqa: S704 - the same
    policy = f"default-src 'none'; base-uri 'none'; form-action '{'self' if sends else 'none'}'"
    policy += f"; style-src {_hash(style)}; script-src {_hash(script)}"
    environment.globals.update(plural=plural, states=STATES, result_words=results, command_for=command_for)
    return environment.get_template(template).render(style=style, script=script, policy=policy, **facts)


def _hash(text: str) -> str:
    """Return the source expression of a content security policy for an inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def command_for(path: str, command: str) -> str:
    """Return the line to paste into a shell that runs a command of releaser for a project; empty for a forged path.

    A control character could end the paste, and run the rest.
    """
    if not (path.startswith("/") and path.isprintable()):
        return ""
    return shlex.join(["releaser", *command.split(), "--project", path])


def show_time(at: str | datetime) -> str:
    """Show a time to the minute, in UTC; another text is an unknown time."""
    try:
        found = datetime.fromisoformat(at) if isinstance(at, str) else at
        return f"{found.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return "an unknown time"


def _make_sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop, for the text of an alarm."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")


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


class Control(Frozen):
    """A button of a site, with its fields."""

    action: str
    label: str
    effect: str = ""
    takes_package: bool = False
    takes_reason: bool = False
    #: Pairs of a value and its words.
    lengths: tuple[tuple[str, str], ...] = ()
    #: The names to choose from; None if the button has none.
    choices: tuple[str, ...] | None = None


class Controls(Frozen):
    """The buttons of a site; the token protects its forms."""

    token: str
    path: str
    #: The live release that the page shows; empty without one.
    live: str = ""
    buttons: tuple[Control, ...]
    #: The requests that wait, each in a sentence.
    waiting: tuple[str, ...] = ()
    #: Why the site has no buttons; empty if it has some.
    missing: str = ""


class _Site(Frozen):
    """A site on the page; without a status, its state is unknown."""

    path: str
    alarms: list[Alarm]
    status: Status | None = None
    pending: Sequence[Pending] = ()
    remarks: Sequence[Remark] = ()
    controls: Controls | None = None
    offers: Sequence[Offer] = ()

    @property
    def name(self) -> str:
        return Path(self.path).name or self.path or "?"

    @property
    def state(self) -> Service:
        return worst(self.alarms)


class _Host(Frozen):
    """A server on the page with its sites, the worst first."""

    #: The anchor on the page.
    id: str
    name: str
    place: str
    at: datetime | None
    alarms: list[Alarm]
    sites: list[_Site]

    @property
    def state(self) -> Service:
        return worst([*self.alarms, *(alarm for site in self.sites for alarm in site.alarms)])

    @property
    def has_commands(self) -> bool:
        return any(alarm.command for site in self.sites for alarm in site.alarms)


def page_of_sites(
    servers: Iterable[Server], at: datetime, controls: Callable[[Server, str, Status], Controls | None] | None = None
) -> str:
    """Return the page as HTML; each answer of a server is that of `status`, and may be malformed.

    `controls` returns the buttons of a site, from its server, its path and its answer; without it, the page can send
    nothing.
    """
    hosts = [_host(f"server-{number}", one, at, controls) for number, one in enumerate(servers, start=1)]
    hosts.sort(key=lambda one: -one.state)
    counts = Counter(site.state for host in hosts for site in host.sites)
    words = {
        state: word if counts[state] == 1 else word.replace("needs", "need") for state, (word, _) in STATES.items()
    }
    title = plural(sum(counts.values()), "site")
    title = f"{title} on {plural(len(hosts), 'server') if len(hosts) > 1 else hosts[0].name}"
    return render(
        "sites.html.j2",
        title=title,
        hosts=hosts,
        state=max(one.state for one in hosts),
        counts=[(counts[state], STATES[state][1], words[state]) for state in sorted(counts, reverse=True)],
        at=at,
        host=this_host(),
        sends=controls is not None,
    )


def _host(
    anchor: str, one: Server, at: datetime, controls: Callable[[Server, str, Status], Controls | None] | None
) -> _Host:
    problem, report = one.find_problem(at), one.report
    alarms = [Alarm(level=Service.WARNING if report else Service.CRITICAL, text=problem)] if problem else []
    sites = [_site(answer, at) for answer in report.sites] if report else []
    if controls is not None:
        sites = [
            replace(site, controls=controls(one, site.path, site.status) if site.status else None) for site in sites
        ]
    return _Host(
        id=anchor,
        name=one.name,
        place=one.place,
        at=report.at if report else None,
        alarms=alarms,
        # The state in an old report may have changed.
        sites=sorted((replace(site, alarms=[*site.alarms, *alarms]) for site in sites), key=lambda site: -site.state),
    )


def _site(one: SiteAnswer, at: datetime) -> _Site:
    try:
        status = convert(one.answer, Status)
        alarms = judge(status, at)
        age(status.live_age_seconds or 0)  # shown on the page
    except (ValidationError, ValueError, TypeError, OverflowError):
        unreadable = (
            f"its status cannot be read (exit code {one.exit_code}); it may be that of another version of releaser"
        )
        why = explain_errors(one.errors) or unreadable
        return _Site(path=one.site, alarms=[Alarm(level=Service.CRITICAL, text=why, command="status")])
    remarks, offers = shown(status, Remark), shown(status, Offer)
    pending = _list_pending(status)
    return _Site(path=one.site, alarms=alarms, status=status, pending=pending, remarks=remarks, offers=offers)


def _list_pending(status: Status) -> list[Pending]:
    """Return the pending things of a site, for the table of many sites."""
    running = status.running
    own = {
        f"`{running and running.command}` is running": (running, 10),
        "a run was interrupted": (status.interrupted, 10),
        "a push": (status.push_pending, 10),
        "`releaser accept`": (status.asked, 30),
    }
    return shown(status, Pending, *(Pending(text, rank) for text, (found, rank) in own.items() if found))
