"""Package changes in words: one line each, and below it what else there is to tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from releaser.links import web_link
from releaser.report.capping import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from releaser.locking.diff import Change

HEADINGS = ("PACKAGE", "OLD", "NEW", "BUMP", "AGE", "ASKED FOR BY")
_WIDEST = 96  # characters; a mail is read in 80 to 100 columns
_MOST_ASKERS = 2
_DAY = 86400


@dataclass(frozen=True, kw_only=True)
class ChangeRow:
    """One package change: the cells of its line, the notes below it, and where to read about it."""

    cells: tuple[str, ...]
    notes: tuple[str, ...]
    link: str
    bump: str

    @property
    def below(self) -> tuple[str, ...]:
        """The lines below the first one, as plain text has them."""
        return (*self.notes, *([self.link] if self.link else []))


@dataclass(frozen=True, kw_only=True)
class ChangesTable:
    """Package changes as a table; columns about which nothing is known of any package are left out."""

    header: tuple[str, ...]
    rows: tuple[ChangeRow, ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def aligned(self) -> Iterator[tuple[str, ChangeRow | None]]:
        """Give each line of the table padded to the widths of the columns, with its row; the heading has none."""
        widths = [max(map(len, column)) for column in zip(self.header, *(row.cells for row in self.rows), strict=True)]
        for row in (None, *self.rows):
            cells = row.cells if row else self.header
            yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip(), row

    @property
    def lines(self) -> list[str]:
        """The whole table as plain text."""
        found = []
        for line, row in self.aligned() if self.rows else ():
            found += [line, *(f"    {note}" for note in (row.below if row else ()))]
        return found


def changes_table(
    changes: Iterable[Change], *, now: datetime, headings: Sequence[str] = HEADINGS, widest: int = _WIDEST
) -> ChangesTable:
    """Lay package changes out, those that fix a vulnerability first; ages are those at `now`.

    What would make the table wider than `widest` characters goes below the lines.
    """
    ordered = sorted(changes, key=lambda change: not change.fixes)
    ages = any(change.released for change in ordered)
    askers = any(_asked_by(change) for change in ordered)
    table = _laid_out(ordered, now, headings, (ages, askers))
    if askers and any(len(line) > widest for line, _ in table.aligned()):
        table = _laid_out(ordered, now, headings, (ages, False))
    return table


def _laid_out(
    changes: Sequence[Change], now: datetime, headings: Sequence[str], shown: tuple[bool, bool]
) -> ChangesTable:
    columns = (True, True, True, True, *shown)

    def chosen(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(one_line(cell) for cell, wanted in zip(cells, columns, strict=True) if wanted)

    rows = tuple(
        ChangeRow(
            cells=chosen(
                (change.name, change.old or "-", change.new or "-", change.bump, age_of(change, now), _asked_by(change))
            ),
            notes=tuple(one_line(note) for note in _notes(change, names_askers=not shown[1])),
            link=web_link(change.link or "") or "",
            bump=change.bump,
        )
        for change in changes
    )
    return ChangesTable(header=chosen(headings), rows=rows)


def _asked_by(change: Change) -> str:
    if change.direct:
        return "the project"
    more = len(change.through) - _MOST_ASKERS
    return ", ".join(change.through[:_MOST_ASKERS]) + (f" and {more} more" if more > 0 else "")


def _notes(change: Change, *, names_askers: bool) -> Iterator[str]:
    if change.fixes:
        yield f"fixes {', '.join(change.fixes)}"
    if names_askers and (askers := _asked_by(change)):
        yield f"asked for by {askers}"
    if change.dragged_by:
        yield f"dragged along by {', '.join(change.dragged_by)}"


def age_of(change: Change, now: datetime) -> str:
    """Say how old the new version is at `now`; nothing if that is not known."""
    try:
        seconds = (now - datetime.fromisoformat(change.released or "")).total_seconds()
    except (TypeError, ValueError):
        return ""
    return age_in_words(seconds)


def age_in_words(seconds: float) -> str:
    """Say a length of time roughly: `5 hours`, `3 days`, `4 months`, `2 years`."""
    for unit, length, least in (("year", 365 * _DAY, 2), ("month", 30 * _DAY, 3), ("day", _DAY, 1)):
        if (count := int(seconds // length)) >= least:
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    hours = max(0, int(seconds // 3600))
    return f"{hours} hour" if hours == 1 else f"{hours} hours"
