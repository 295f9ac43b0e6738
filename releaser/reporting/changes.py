"""Package changes, commits and vulnerabilities as text, and the changes of uv.lock by a run as a diff."""

from __future__ import annotations

from datetime import datetime
from itertools import chain, compress
from typing import TYPE_CHECKING

from releaser.locks.versions import is_older
from releaser.locks.vulnerabilities import SecuritySection
from releaser.releases.store import store_of
from releaser.system.files import read_text
from releaser.system.frozen import Frozen, replace
from releaser.system.words import age, duration, first_few, one_line, one_lines, size, table, truncate, web_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.locks.changes import Change
    from releaser.locks.vulnerabilities import Vulnerability
    from releaser.releases.listing import InstalledPackage
    from releaser.report import RunReport
    from releaser.site.site import Site

HEADINGS = ("PACKAGE", "OLD", "NEW", "BUMP", "AGE", "REQUIRED BY")
_WIDEST = 96  # characters; a mail is read in 80 to 100 columns
_COMMITS = 20  # in a mail
_SHOWN = 2  # packages that require another one


DOWN = "↓"  # a downgrade


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Sort package changes: security fixes first, then packages that the project itself requires, then the others."""
    return sorted(changes, key=lambda change: (not change.fixes, not change.direct))


def arrow_of(change: Change) -> str:
    """Return the arrow from the old to the new version, which points down for a downgrade."""
    return DOWN if change.old and change.new and is_older(change.new, change.old) else "→"


def name_changes(changes: Iterable[Change]) -> str:
    """Name the first package change and the number of the others: `django 5.2.8 → 5.2.19 and 3 more`."""
    first, *others = in_order(changes)
    if first.old and first.new:
        named = f"{first.name} {first.old} {arrow_of(first)} {first.new}"
    else:
        named = f"{first.name} {first.new or first.old} ({'new' if first.new else 'removed'})"
    return named + (f" and {len(others)} more" if others else "")


class Row(Frozen):
    """A line of a table: its cells, the notes below it, and a link to more about it."""

    cells: tuple[str, ...]
    notes: tuple[str, ...] = ()
    link: str = ""
    #: The size of the step of a package change, such as `minor`.
    bump: str = ""

    @property
    def below(self) -> tuple[str, ...]:
        """The lines below the row in plain text."""
        return (*self.notes, *filter(None, (self.link,)))


class Table(Frozen):
    """Cells that are aligned in text, and a table in HTML; no cell has a line break."""

    title: str = ""
    header: tuple[str, ...]
    rows: tuple[Row, ...]

    @classmethod
    def of(cls, title: str, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
        """Make a table from cells with any text."""
        return cls(title=title, header=header, rows=tuple(Row(cells=one_lines(row)) for row in rows))

    def __bool__(self) -> bool:
        return bool(self.rows)

    def align(self) -> Iterator[tuple[str, Row | None]]:
        """Return each line of the table with its row; None for the heading."""
        return zip(table([self.header, *(row.cells for row in self.rows)]), (None, *self.rows), strict=True)

    @property
    def lines(self) -> list[str]:
        """The whole table as plain text; empty without rows."""
        below = ((line, *(f"    {note}" for note in (row.below if row else ()))) for line, row in self.align())
        return list(chain.from_iterable(below)) if self.rows else []


class Item(Frozen):
    """An item of a list in the mail: a text, a note below it, and a passage of a program's output."""

    text: str
    note: str = ""
    passage: str = ""


def changes_table(
    changes: Iterable[Change],
    *,
    now: datetime,
    title: str = "",
    headings: Sequence[str] = HEADINGS,
    widest: int = _WIDEST,
) -> Table:
    """Lay package changes out, as `in_order` sorts them; ages are those at `now`.

    Omits columns without any known value. If the parents would make a line longer than `widest` characters, they go
    below the lines.
    """
    ordered = in_order(changes)
    with_parents = any(map(required_by, ordered))
    columns = (True, True, True, True, any(change.released for change in ordered), with_parents)
    found = Table(
        title=title,
        header=tuple(compress(headings, columns)),
        rows=tuple(_row(change, now, columns) for change in ordered),
    )
    if not with_parents or all(len(line) <= widest for line, _ in found.align()):
        return found
    columns = (*columns[:-1], False)
    rows = tuple(_row(change, now, columns) for change in ordered)
    return replace(found, header=tuple(compress(headings, columns)), rows=rows)


def _row(change: Change, now: datetime, columns: Sequence[bool]) -> Row:
    step = f"{DOWN} {change.bump}" if arrow_of(change) == DOWN else change.bump
    cells = (change.name, change.old or "-", change.new or "-", step, age_of(change, now), required_by(change))
    return Row(
        cells=one_lines(compress(cells, columns)),
        notes=one_lines(_notes(change, names_parents=not columns[-1])),
        link=web_link(change.link or "") or "",
        bump=change.bump,
    )


def required_by(change: Change) -> str:
    """Name the project, or the first packages that require a package; empty if that is not known."""
    return "the project" if change.direct else first_few(change.through, _SHOWN)


def _notes(change: Change, *, names_parents: bool) -> Iterator[str]:
    if change.fixes:
        yield f"fixes {', '.join(change.fixes)}"
    if names_parents and (parents := required_by(change)):
        yield f"required by {parents}"
    if change.dragged_by:
        yield f"changed because of {', '.join(change.dragged_by)}"


def age_of(change: Change, now: datetime) -> str:
    """Return the age of the new version at `now`; empty if that is not known."""
    try:
        return duration((now - datetime.fromisoformat(change.released or "")).total_seconds())
    except (TypeError, ValueError):
        return ""


def package_lines(packages: Sequence[InstalledPackage]) -> list[str]:
    """Return the text of `packages` for people; `?` stands for an unknown value."""
    rows = [
        (
            one.name,
            one.version,
            "?" if one.age_seconds is None else age(one.age_seconds),
            "?" if one.newer is None else one.newer or "-",
            "?" if one.vulnerabilities is None else first_few(one.vulnerabilities, _SHOWN) or "-",
            "?" if one.size_bytes is None else size(one.size_bytes),
            first_few(one.asked_by, _SHOWN) or "-",
        )
        for one in packages
    ]
    return Table.of("", ("PACKAGE", "VERSION", "AGE", "NEWER", "VULNERABLE", "SIZE", "ASKED FOR BY"), rows).lines


COLUMNS = ("PACKAGE", "VERSION", "FIXED IN", "VULNERABILITY", "ABOUT")
_MOST = 30  # vulnerabilities in one list; an old lock may have hundreds


def first_commits(report: RunReport) -> list[str]:
    """Return a line for each of the first commits that a run has fetched, and one with the number of others."""
    found = [one_line(f"{one.id[:12]} {one.subject} ({one.author})") for one in report.commits[:_COMMITS]]
    count = max(len(report.commits), report.pulled.count if report.pulled else 0)
    return [*found, f"and {count - len(found)} more"] if count > len(found) else found


def security_lists(report: RunReport) -> list[tuple[str, list[str]]]:
    """Return titles with lines for people; empty without an audit, or without vulnerabilities."""
    lists, found = [], SecuritySection.of(report)
    if found.fixed:
        lists.append(("Known vulnerabilities fixed by this run", _cap(_line(one) for one in found.fixed)))
    if found.audit == "unknown" and not found.audit_told:
        reason = one_line(found.audit_reason, limit=150)
        lists.append(("Known vulnerabilities", [f"Not known: {reason}."]))
    if found.vulnerabilities:
        left = (_line(one, f"({_explain_open_vulnerability(one, report)})") for one in found.vulnerabilities)
        lists.append(("Known vulnerabilities of the live release", _cap(left)))
    return lists


def security_text(report: RunReport) -> list[str]:
    """Return the same as lines of plain text."""
    return [line for title, lines in security_lists(report) for line in (f"{title}:", *(f"  {one}" for one in lines))]


def vulnerability_rows(vulnerabilities: Iterable[Vulnerability]) -> list[list[str]]:
    """Return a row for each vulnerability."""
    return [
        [
            one_line(one.name),
            one_line(one.version),
            one.fix or "-",
            label(one),
            one_line(one.summary, limit=100) or "-",
        ]
        for one in vulnerabilities
    ]


def label(one: Vulnerability) -> str:
    """Return the id of a vulnerability, and its CVE alias if the id is no CVE."""
    cve = next((alias for alias in one.aliases if alias.upper().startswith("CVE-")), "")
    also = f" ({cve})" if cve and not one.id.upper().startswith("CVE-") else ""
    return one_line(f"{one.id}{also}", limit=100)


def _line(one: Vulnerability, remark: str = "") -> str:
    summary = f": {one_line(one.summary, limit=150)}" if one.summary else ""
    head = f"{label(one)} of {one.name} {one.version}{summary}"
    return " ".join(filter(None, [one_line(head), one_line(remark, limit=500), web_link(one.link)]))


def _explain_open_vulnerability(one: Vulnerability, report: RunReport) -> str:
    if one.fix is None:
        return "not fixed in any version yet"
    fixed = f"fixed in {one.fix}"
    came = [change.new for change in report.changes if change.name == one.name and change.new]
    if not report.live_changed and not all(replace(one, version=new).fix for new in came):
        return f"{fixed}, which this run could not make live"
    held = next((held for held in report.on_hold if held.name == one.name), None)
    if held is not None:
        return f"{fixed}; {held.version} is on hold: {held.reason}"
    return f"{fixed}; `releaser outdated` shows what blocks it"


def _cap(lines: Iterable[str]) -> list[str]:
    shown = list(lines)
    more = [f"and {len(shown) - _MOST} more; `releaser audit` lists them"] if len(shown) > _MOST else []
    return shown[:_MOST] + more


NAME = "uv.lock.diff"
_LONGEST = 200_000  # characters
_LARGEST = 100_000  # lines of a lock that are compared: some three seconds


def lock_diff(site: Site, report: RunReport) -> str:
    """Return the diff between the locks of the previous release and the release of the run; often empty."""
    store = store_of(site)
    try:
        old, new = store.get(report.previous), store.get(report.release)
        if old is None or new is None:
            return ""
        before, after = (read_text(one.lock, errors="replace").splitlines() for one in (old, new))
    except OSError:  # other checks report a damaged release
        return ""
    if len(before) + len(after) > _LARGEST:
        return ""
    from difflib import unified_diff  # slow to import

    lines = unified_diff(before, after, "a/uv.lock", "b/uv.lock", old.id, new.id, lineterm="")
    text = site.redactor.clean("\n".join(lines))
    return truncate(text, head_lines=_LONGEST, max_chars=_LONGEST) + "\n" if text else ""
