"""The page: one file of HTML about a site or many, which fetches nothing and runs no script. It is a snapshot."""

from __future__ import annotations

import itertools
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from releaser import __version__
from releaser.errors import Problem, refuse
from releaser.packages.audit import Audit
from releaser.packages.blocked import Blocked
from releaser.packages.changes import describe_changes
from releaser.releases.lease import list_sentences
from releaser.releases.store import Store
from releaser.releases.venv import list_installed
from releaser.report.history import Record, read_history
from releaser.report.letter import Colour, fill_template
from releaser.report.listing import Outdated, OutdatedRow, ReleaseRow, list_releases
from releaser.report.status import Status, make_status
from releaser.site.site import Site
from releaser.system.files import replace_file
from releaser.system.run import find_command, format_time_id, now
from releaser.system.text import clip, count, end_sentence, format_bytes, format_seconds, join_few, redact_all, word

_WEEKS, _RUNS, _RELEASES = 26, 20, 20  # on the page
_MOST = 2000  # runs that are read
_LONGEST = 200  # characters of a headline of a run
#: The colour and the mark of each result of a run, the most urgent first.
_RESULTS: dict[str, tuple[str, str]] = {
    "failed": ("red", "✗"),
    "rolled-back": ("blue", "↩"),
    "refused": ("amber", "!"),
    "updated-not-restarted": ("amber", "~"),
    "updated": ("green", "✓"),
    "ready": ("green", "·"),
    "no-changes": ("quiet", ""),
}


class SiteReport(msgspec.Struct, frozen=True):
    """The facts on the page about a site; `releaser report --json` prints them.

    `versions` are the installed ones of the packages that updates skip; `outdated` is None unless the indexes were
    asked. Those runs of `history` that the page lists have a headline.
    """

    headline: str
    name: str
    directory: str
    status: Status
    releases: tuple[ReleaseRow, ...]
    history: tuple[Record, ...]
    versions: dict[str, str]
    outdated: Outdated | None = None


class Section(msgspec.Struct, frozen=True):
    """A part of a page: a table, and sentences above it."""

    title: str
    notes: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


class Day(msgspec.Struct, frozen=True):
    """A day of the calendar at its column and row, with its most urgent result; without runs it has an empty colour."""

    column: int
    row: int
    colour: str
    mark: str
    words: str


class Calendar(msgspec.Struct, frozen=True):
    """The days of half a year, the months at their columns, and how many runs ended with each result."""

    days: tuple[Day, ...]
    months: tuple[tuple[int, str], ...]
    results: tuple[tuple[str, str, int, str], ...]
    summary: str


class SiteView(msgspec.Struct, frozen=True):
    """A site as it is shown. `rank` sorts the worst first; `waiting` is what is outstanding, in few words."""

    name: str
    directory: str
    word: str
    colour: Colour
    rank: int
    updated: str
    waiting: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    #: Pairs: a number or a name, and the words below it.
    facts: tuple[tuple[str, str], ...] = ()
    calendar: Calendar | None = None
    sections: tuple[Section, ...] = ()


def make_report(site: Site, store: Store, problems: Sequence[Problem], outdated: Outdated | None) -> SiteReport:
    """Return the facts about a site; `problems` are those that would refuse an update."""
    status, at = make_status(site, store, problems), now()
    skipped = {each.name for each in status.decision.skipped} if status.decision else set()
    installed = list_installed(store.live.venv) if store.live and skipped else {}
    history = [each for each in read_history(site.paths)[:_MOST] if at - each.ended_at < timedelta(weeks=_WEEKS)]
    return SiteReport(
        headline=status.headline,
        name=site.paths.project.name,
        directory=str(site.paths.project),
        status=status,
        releases=tuple(list_releases(site)),
        history=shorten_history(history),
        versions={name: version for name, version in installed.items() if name in skipped},
        outdated=outdated,
    )


def shorten_history(history: Sequence[Record]) -> tuple[Record, ...]:
    """Return runs with what the page needs of them: an answer has 1 MiB at most, also of a site with a run an hour."""
    told = {each.run for each in _list_told(history)}
    left_out: dict[str, Any] = {"steps": (), "problems": (), "changes": (), "notes": ()}
    return tuple(
        msgspec.structs.replace(each, headline=clip(each.headline, _LONGEST) if each.run in told else "", **left_out)
        for each in history
    )


def _list_told(history: Sequence[Record]) -> list[Record]:
    """Return the newest runs that may have changed something, as the page lists them."""
    return [each for each in history if each.result != "no-changes" and find_command(each.command).takes_live][:_RUNS]


def write_page(target: Path, sites: Sequence[SiteView]) -> None:
    """Put the page about one site or many at `target`, by a rename; a page that is there keeps its mode.

    Raises OSError, and PreflightError for a target that is no file.
    """
    if os.path.lexists(target) and not (target.is_file() and not target.is_symlink()):
        raise refuse("page", f"`{target}` is no file, or a link.", "Name another one: `releaser report --html FILE`.")
    if not target.parent.is_dir():
        directory = target.absolute().parent
        raise refuse("page", f"`{directory}` is no directory.", f"Run `mkdir -p {word(directory)}`.")
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    replace_file(target, render_page(sites).encode(), mode=mode)


def render_page(sites: Sequence[SiteView]) -> str:
    """Return the page as HTML, the worst site first, without secrets, and with all text escaped."""
    ordered = sorted(sites, key=lambda site: (site.rank, -len(site.problems), site.name))
    counts = Counter((site.word, site.colour) for site in ordered)
    values = {"sites": redact_all(msgspec.to_builtins(ordered)), "counts": counts, "host": socket.gethostname()}
    values |= {"time": f"{now():%Y-%m-%d %H:%M} UTC", "version": __version__, "weeks": _WEEKS}
    return fill_template("page.html.j2", values)


def view_unknown(name: str, directory: str, problems: tuple[Problem, ...]) -> SiteView:
    """Return a site that gave no answer that can be read."""
    return SiteView(name, directory, "unknown", "red", 0, "unknown", "unknown", problems)


def view_site(site: SiteReport, at: datetime) -> SiteView:
    """Return a site as the page shows it at a time; only one that is well is green.

    Raises ValueError, OverflowError and TypeError for times that a site has made up.
    """
    status = site.status
    word, colour, rank = _judge(status)
    notes = [f"{status.running.sentence} The page shows the time before its end."] if status.running else []
    notes += [f"{status.pause.sentence} `releaser resume` ends the pause."] if status.pause else []
    notes += [f"Release {status.ready} is ready: `releaser update` makes it live."] if status.ready else []
    return SiteView(
        name=site.name,
        directory=site.directory,
        word=word,
        colour=colour,
        rank=rank,
        updated=_format_age(status.last_updated, at),
        waiting=", ".join(_list_waiting(site)) or "none",
        problems=status.attention,
        notes=(*notes, *status.notes),
        facts=tuple(_list_facts(site, at)),
        calendar=_make_calendar(site.history, at) if site.history else None,
        sections=tuple(_list_sections(site)),
    )


def _judge(status: Status) -> tuple[str, Colour, int]:
    """Return the state of a site in a word, its colour, and its place among others."""
    if not status.well or status.attention or status.live is None:
        return "needs attention", "amber", 1
    return ("paused", "blue", 2) if status.pause else ("well", "green", 3)


def _list_waiting(site: SiteReport) -> Iterator[str]:
    """Yield what is outstanding on a site, with its number."""
    status, rows = site.status, _list_outdated(site)
    vulnerable = len({each.name for each in status.audit.advisories}) if status.audit else 0
    held = [hold for hold in status.on_hold if hold.kind != "everything"]
    numbers = (
        (vulnerable, "vulnerable"),
        (len(rows), "outdated"),
        (len(held), "on hold"),
        (len(status.pending), "not pushed"),
        (len({process.release for process in status.old_processes}), "old in use"),
    )
    yield from (f"{number} {words}" for number, words in numbers if number)


def _list_facts(site: SiteReport, at: datetime) -> Iterator[tuple[str, str]]:
    status = site.status
    live = next((release for release in site.releases if release.live), None)
    python = f"Python {live.python}" if live else "no release"
    yield (_format_age(status.last_updated, at), "last updated")
    yield (status.live or "none", f"live, with {python}")
    if status.last_run:
        run = status.last_run
        yield (_name_result(run.result), f"last run: {run.command}, {format_time_id(run.run)}")
    size = format_bytes(sum(release.own_bytes for release in site.releases))
    yield (size, f"in {count(len(site.releases), 'release')}")


def _list_sections(site: SiteReport) -> Iterator[Section]:
    """Yield the parts of a page that a site has something for; those about safety always say something."""
    status = site.status
    yield _show_audit(status.audit)
    yield _show_outdated(site)
    if held := [hold for hold in status.on_hold if hold.kind != "everything"]:
        rows = tuple(
            (hold.label, hold.reason.rstrip("."), _format_time(hold.since), _free(hold.word, hold.by)) for hold in held
        )
        yield Section("On hold", (), ("What", "Why", "Since", "To free it"), rows)
    if status.pending:
        pending = tuple((commit[:12], changes or "uv.lock") for commit, changes in status.pending_changes.items())
        yield Section("Commits that are not pushed", (), ("Commit", "Changes"), pending)
    if status.old_processes:
        groups = itertools.groupby(status.old_processes, lambda process: process.release)
        old = tuple((release, end_sentence("; ".join(list_sentences([*group])))) for release, group in groups)
        yield Section("Processes on earlier releases", (), ("Release", "Processes"), old)
    back = (f"`releaser rollback` goes back to {status.previous}.",) if status.previous else ()
    releases = tuple(
        (each.id, each.state + (", pinned" if each.pinned else ""), each.python, format_bytes(each.own_bytes),
         each.commit[:12], describe_changes(each.changes, 3))
        for each in site.releases[:_RELEASES]
    )  # fmt: skip
    yield Section("Releases", back, ("Release", "State", "Python", "Size", "Commit", "Changes"), releases)
    runs = tuple(
        (_format_time(each.ended_at), each.command, _name_result(each.result), format_seconds(each.seconds),
         each.headline)
        for each in _list_told(site.history)
    )  # fmt: skip
    yield Section(
        "Runs", ("Those without changes are left out.",), ("Ended", "Command", "Result", "Duration", "Headline"), runs
    )


def _show_audit(audit: Audit | None) -> Section:
    """Return the known vulnerabilities; `none` only if the service answered for every package."""
    if audit is None:
        return Section("Known vulnerabilities", ("Not known: nothing has asked about the live release.",))
    rows = tuple(
        (f"{each.name} {each.version}", each.link or each.id, ", ".join(each.fixes) or "no version yet", each.summary)
        for each in audit.advisories
    )
    notes = (f"{audit.headline} Asked at {_format_time(audit.at)}.",)
    return Section("Known vulnerabilities", notes, ("Package", "Vulnerability", "Fixed in", "About"), rows)


def _list_outdated(site: SiteReport) -> tuple[OutdatedRow, ...]:
    """Return the packages with a newer version: as the indexes say, or else as the last update decided."""
    if site.outdated and site.outdated.packages:
        return site.outdated.packages
    skipped = site.status.decision.skipped if site.status.decision else ()
    by = {hold.name: hold.by for hold in site.status.on_hold}
    rows = [row for release in site.releases[:1] for row in _list_tested(release)]
    for each in skipped:
        free = _free(each.holder, by.get(each.holder, "setting"))
        blocked = (Blocked(each.version, each.by, each.reason, free),)
        row = OutdatedRow(each.name, site.versions.get(each.name, ""), None, each.version, blocked)
        rows += [] if each.is_live else [row]
    return tuple(rows)


def _list_tested(release: ReleaseRow) -> Iterator[OutdatedRow]:
    """Yield the packages of the newest release that waits, or has failed."""
    allow = "`releaser update --force` tries again, `releaser hold NAME` goes without."
    for change in release.changes:
        if change.new and release.state == "ready":
            yield OutdatedRow(change.name, change.old or "", change.new, change.new)
        elif change.new and release.state == "failed":
            reason = f"is in release {release.id}, which failed"
            blocked = (Blocked(change.new, "failed", reason, allow),)
            yield OutdatedRow(change.name, change.old or "", None, change.new, blocked)


def _show_outdated(site: SiteReport) -> Section:
    """Return the packages with a newer version, what blocks each version, and how to allow it, each way once."""
    decision, packages = site.status.decision, _list_outdated(site)
    notes, ways = ["Not known: no update has looked yet."], dict[str, list[str]]()
    if site.outdated:
        notes = [site.outdated.headline]
    elif decision:
        notes = [f"As the update of {_format_time(decision.at)} decided. {end_sentence(decision.sentence)}"]
    if decision and decision.unpublished:
        notes.append(f"uv.lock is not committed: {end_sentence(decision.unpublished)}")
    for row in packages:
        for allow in dict.fromkeys(blocked.allow for blocked in row.blocked if blocked.allow):
            ways.setdefault(allow, []).append(row.name)
    notes += [f"To allow {join_few(names)}: {allow}" for allow, names in ways.items()]
    rows = tuple(
        (row.name, row.live, row.newest, row.tonight or "stays", _explain_blocked(row.blocked)) for row in packages
    )
    return Section("Outdated packages", tuple(notes), ("Package", "Live", "Newest", "Next update", "Blocked"), rows)


def _explain_blocked(versions: Sequence[Blocked]) -> str:
    return " ".join(f"{each.version} {end_sentence(clip(each.reason, _LONGEST))}" for each in versions)


def _free(name: str, by: str) -> str:
    """Return the command that frees what is on hold; empty where a setting or an index does."""
    return f"`releaser unhold {name}`" if name and by not in ("setting", "index") else ""


def _make_calendar(history: Sequence[Record], at: datetime) -> Calendar:
    """Return the runs of half a year by day."""
    today = at.astimezone(UTC).date()
    first = today - timedelta(days=today.weekday(), weeks=_WEEKS - 1)
    runs: dict[date, list[Record]] = {}
    results = Counter[str]()
    for record in history:
        day = record.ended_at.astimezone(UTC).date()
        if first <= day <= today and record.result in _RESULTS and find_command(record.command).takes_live:
            runs.setdefault(day, []).append(record)
            results[record.result] += 1
    dates = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    days = [_make_day(number, day, runs.get(day, [])) for number, day in enumerate(dates)]
    months = [((day - first).days // 7, f"{day:%b}") for day in dates if day.day == 1]
    legend = [(*_RESULTS[result], results[result], _name_result(result)) for result in _RESULTS if results[result]]
    words = ", ".join(f"{number} {word}" for _, _, number, word in legend)
    summary = f"Runs by day since {first}: {words or 'none'}."
    return Calendar(tuple(days), tuple(months), tuple(legend), summary)


def _make_day(number: int, day: date, runs: Sequence[Record]) -> Day:
    words = ", ".join(f"{record.command} {_name_result(record.result)}" for record in reversed(runs)) or "no run"
    order = [*_RESULTS]
    worst = min((record.result for record in runs), key=order.index, default=None)
    colour, mark = _RESULTS[worst] if worst else ("", "")
    return Day(number // 7, number % 7, colour, mark, f"{day}: {words}")


def _name_result(result: str) -> str:
    return result.replace("-not-", ", not ").replace("-", " ")


def _format_time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""


def _format_age(moment: datetime | None, at: datetime) -> str:
    """Return a day, and how many days ago it was."""
    if moment is None:
        return "never"
    days = (at.astimezone(UTC).date() - moment.astimezone(UTC).date()).days
    return f"{moment.astimezone(UTC):%Y-%m-%d}, " + (f"{count(days, 'day')} ago" if days > 0 else "today")
