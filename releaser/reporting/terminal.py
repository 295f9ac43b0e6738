"""A run as a person at a terminal sees it: a spinner and the time of each step, tables, a last line."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich import markup
from rich.console import Console
from rich.table import Table

from releaser.reporting.changes import changes_table
from releaser.reporting.text import closing_lines, output_lines, step_line
from releaser.system.words import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.status import Status as Spinner

    from releaser.report import Outcome, RunReport
    from releaser.reporting.changes import Table as ChangesTable

_MARKS = {"ok": "[green]✓[/]", "failed": "[red]✗[/]", "skipped": "[dim]–[/]", "warning": "[yellow]![/]"}
_BUMPS = {"major": "red", "minor": "yellow", "patch": "green"}


def escape(text: str) -> str:
    """Make text harmless for rich, and for the terminal."""
    return markup.escape(strip_control(text))


class Live:
    """Shows each step while it is done. Rich omits colour for NO_COLOR."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._spinner: Spinner | None = None

    def started(self, step: str) -> None:
        """Let the spinner name the step."""
        self._stop()
        self._spinner = self._console.status(escape(step))
        self._spinner.start()

    def ended(self, outcome: Outcome) -> None:
        """Replace the spinner by a line that stays."""
        self._stop()
        detail = f"  [dim]{escape(outcome.detail)}[/]" if outcome.detail else ""
        self._console.print(f"{_MARKS[outcome.status]} {escape(outcome.step):<18} {outcome.seconds:6.1f} s{detail}")

    def _stop(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def track(paths: Sequence[str], release: str, stream: TextIO) -> Iterable[str]:
    """Yield the files of a release, and show how many have been; nothing of that stays."""
    from rich.progress import track as show  # which takes long to import

    return show(paths, escape(release), console=Console(file=stream, highlight=False), transient=True)


class Lines:
    """Writes a plain line a step: for `-v` without a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def started(self, step: str) -> None:
        """Wait for its end."""

    def ended(self, outcome: Outcome) -> None:
        """Write the line."""
        self._stream.write(strip_control(step_line(outcome)) + "\n")
        self._stream.flush()


def show_report(report: RunReport, stream: TextIO) -> None:
    """Show how a run ended; the last line says what happened."""
    console = Console(file=stream, highlight=False)
    show_changes(changes_table(report.changes, now=report.started_at), stream)
    for line in output_lines(report.output):
        console.print(escape(line), style="dim", soft_wrap=True)
    first, *others = closing_lines(report)
    for line in others:
        console.print(escape(line), soft_wrap=True)
    style = "bold green" if report.exit_code == 0 else "bold red"
    console.print(escape(first), style=style, soft_wrap=True)


def show_changes(table: ChangesTable, stream: TextIO) -> None:
    """Show package changes, bigger steps in warmer colours."""
    console = Console(file=stream, highlight=False)
    for line, row in table.aligned() if table else ():
        console.print(escape(line), style=_BUMPS.get(row.bump, "") if row else "bold", soft_wrap=True)
        for note in row.below if row else ():
            console.print(f"    {escape(note)}", style="dim", soft_wrap=True)


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO) -> None:
    """Show rows of plain words as a table."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(file=stream, highlight=False).print(table)
